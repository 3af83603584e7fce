"""The run directory: durable, resumable, one writer at a time.

    runs/NAME/
      config.yaml  manifest.json  summary.json  metrics.jsonl  report.html  log.txt
      rounds/00/  responses/part-*.parquet  difficulty.parquet  train.parquet  eval.json
      checkpoints/  export/

A stage that is in the manifest is not repeated, unless what it left is damaged (`store.integrity`); a stage
that is not is redone from the responses and checkpoints that are there, with the same result.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dast_jax.errors import InterruptedRunError, UserError, disk_full
from dast_jax.metrics.flops import Flops
from dast_jax.options.yaml_text import dump_yaml, parse_yaml
from dast_jax.records import Pool, PreferenceSet, TrainingSet
from dast_jax.store import durable, integrity, query_table, training_sets
from dast_jax.store.evaluation_results import SampleRow
from dast_jax.store.metrics_log import MetricsLog
from dast_jax.store.mirror import Mirror
from dast_jax.store.query_table import QueryTable
from dast_jax.store.response_log import ResponseLog
from dast_jax.store.results import Manifest, RunFacts, RunSession, StageRecord
from dast_jax.store.run_log import RunLog
from dast_jax.store.settings import RunSettings, with_values
from dast_jax.store.typed_json import from_json, read_result, to_json, write_result
from dast_jax.version import installed_versions

__all__ = ["RunStore"]

T = TypeVar("T")

_ANNOTATIONS = "annotations.parquet"

log = logging.getLogger(__name__)


class RunStore:
    """A run's folder. `open` makes or resumes one for writing, `read` looks at one."""

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        manifest: Manifest,
        *,
        settings: RunSettings | None = None,
        lock: durable.FolderLock | None = None,
        mirror: Mirror | None = None,
    ):
        """Use `open` or `read`; `config` is the run's config as nested plain values."""
        self.path = path
        self.config = config
        self._manifest = manifest
        self._settings = settings
        self._lock = lock
        self._mirror = mirror
        self._metrics: MetricsLog | None = None
        self._log: RunLog | None = None

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def open(cls, settings: RunSettings) -> RunStore:
        """Make a run in `settings.folder`, or resume the one that is there.

        Raises `UserError` when the folder holds something else, another process is working in it, or a
        key that changes the result is not what the run was started with (each is named, old → new).
        """
        path = settings.folder
        _make_folder(path)
        mirror = Mirror(settings.mirror, path) if settings.mirror else None
        lock = durable.FolderLock(path)
        store = cls(path, settings.config, _begin(settings), settings=settings, lock=lock, mirror=mirror)
        try:
            durable.remove_leftovers(path)
            for name in integrity.LOGS:
                if (path / name).is_dir():
                    durable.set_aside(path / name)
            if mirror is not None:
                mirror.restore()
            store._log = RunLog(path)  # before the checks, so that it has what they find
            if (path / "manifest.json").exists():
                store._manifest = _resume(path, settings)
                store.config = _config_of(path, store._manifest)
            store._write_manifest()
            durable.write_text(path / "config.yaml", store._manifest.config)
        except BaseException:
            store.close()
            raise
        if mirror is not None:
            mirror.start()
        return store

    @classmethod
    def read(cls, folder: str | Path) -> RunStore:
        """Return the run in `folder`, for reading only (it may be running); raise `UserError` for none."""
        path = Path(folder).expanduser()
        manifest = _read_manifest(path)
        config = _config_of(path, manifest)
        config["run"] = {**config.get("run", {}), "dir": str(path)}  # it may have been moved
        return cls(path, config, manifest)

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            log.error("stopped: %s: %s", type(error).__name__, error, extra={"file_only": True})
        try:
            self.close()
        except InterruptedRunError as failure:  # of the mirror
            if error is None:
                raise
            log.warning("%s", failure)

    def close(self) -> None:
        """Close the log, bring the mirror up to date and release the folder.

        Raises `InterruptedRunError` where the mirror cannot be updated.
        """
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._log is not None:
            self._log.close()
            self._log = None
        try:
            if self._mirror is not None:
                self._mirror.stop()
        finally:
            self._mirror = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    # -- stages ----------------------------------------------------------------------------------

    @property
    def stages(self) -> dict[str, StageRecord]:
        """Name → record of the stages that are done, in the order in which they finished."""
        return {record.name: record for record in self._manifest.stages}

    @property
    def facts(self) -> RunFacts | None:
        """What is known of the whole run; None until the model and the data are loaded."""
        return self._manifest.facts

    @property
    def versions(self) -> dict[str, str]:
        """Package → version, of the process that last worked on the run."""
        return self._manifest.sessions[-1].versions

    def choose(self, values: Mapping[str, Any]) -> None:
        """Write to the run's config what was chosen for the dotted keys that were left open."""
        self.config = with_values(self.config, values)
        self._manifest = dataclasses.replace(self._manifest, config=dump_yaml(self.config))
        self._write_manifest()
        durable.write_text(self.path / "config.yaml", self._manifest.config)

    def is_done(self, stage: str) -> bool:
        """Return whether `mark_done` was called for this stage."""
        return stage in self.stages

    def result(self, stage: str, cls: type[T]) -> T | None:
        """Return the result that `mark_done` was given for this stage, or None where it is not done."""
        record = self.stages.get(stage)
        where = f"{self.path / 'manifest.json'}: stage {stage}"
        return None if record is None else from_json(cls, record.result, where)

    def mark_done(
        self, stage: str, result: Any, *, seconds: float = 0.0, shared_from: str | None = None
    ) -> None:
        """Record durably that a stage is done, with its result (a dataclass of `store.results`)."""
        if self.is_done(stage):
            raise ValueError(f"stage {stage} is done already")
        content = to_json(result)
        assert isinstance(content, dict)
        record = StageRecord(
            name=stage,
            finished=_now(),
            seconds=seconds,
            shared_from=shared_from,
            result=content,
            files=integrity.stage_digests(self.path, stage),
        )
        self._manifest = dataclasses.replace(self._manifest, stages=(*self._manifest.stages, record))
        self._write_manifest()

    def damage(self, stage: str) -> list[integrity.Damage]:
        """Return what is damaged among the files that a finished stage has left."""
        return integrity.find_damage(self.path, [self.stages[stage]])

    def check(self, stage: str) -> None:
        """Raise `UserError` where a file that a finished stage has left is damaged."""
        for damage in self.damage(stage):
            raise UserError(
                f"{self.path / damage.file}: {damage.problem}, though stage {stage} is done; restore it from "
                "a copy, or run the train command again, which says what it can repeat"
            )

    def annotate(self, facts: RunFacts) -> None:
        """Store what is known of the whole run before its first stage."""
        self._manifest = dataclasses.replace(self._manifest, facts=facts)
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_result(self.path / "manifest.json", self._manifest)
        if self._mirror is not None:
            self._mirror.wake()

    # -- files -----------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        """Whether the file `name`, relative to the run's folder, is there."""
        return (self.path / name).exists()

    def write_result(self, name: str, result: Any) -> None:
        """Write a result (a dataclass of `store.results`) as JSON, atomically."""
        write_result(self.path / name, result)

    def read_result(self, cls: type[T], name: str) -> T:
        """Return what `write_result` wrote; `UserError` where it is missing or of another version."""
        return read_result(cls, self.path / name)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        durable.write_arrays(self.path / name, arrays)

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        return durable.read_arrays(self.path / name)

    def round_path(self, round: int) -> Path:
        """Return the folder of a round's files; it need not exist."""
        return self.path / "rounds" / f"{round:02d}"

    def response_log(self, round: int) -> ResponseLog:
        """Return the log of a round's responses."""
        folder = self.round_path(round) / "responses"
        if self._settings is None:
            return ResponseLog(folder, round)
        return ResponseLog(
            folder,
            round,
            flush_responses=self._settings.flush_responses,
            flush_seconds=self._settings.flush_seconds,
        )

    def write_training_set(self, round: int, pool: Pool, training_set: TrainingSet | PreferenceSet) -> None:
        """Write `train.parquet`: examples (query, id, question, text, is_reference) or pairs of texts."""
        for stale in self._references(round):  # of another set
            stale.unlink()
        durable.write_parquet(self._training_path(round), training_sets.to_table(pool, training_set))

    def read_training_set(self, round: int) -> TrainingSet | PreferenceSet:
        """Return what `write_training_set` wrote."""
        return training_sets.from_table(_read_parquet(self._training_path(round)))

    def write_reference(self, round: int, logprobs: np.ndarray, flops: Flops) -> None:
        """Write the reference policy's log-probabilities of the pairs, float32 [n, 2], and their cost."""
        table = training_sets.reference_table(logprobs, flops)
        durable.write_named_parquet(self.round_path(round), "reference", table)

    def read_reference(self, round: int) -> tuple[np.ndarray, Flops] | None:
        """Return what `write_reference` wrote, or None; a damaged one is reported and not used."""
        for path in self._references(round):
            if durable.name_matches(path):
                return training_sets.reference_of(_read_parquet(path))
            log.warning("%s: damaged; computed again", path)
            durable.set_aside(path)
        return None

    def _references(self, round: int) -> list[Path]:
        return sorted(self.round_path(round).glob("reference-*.parquet"))

    def _training_path(self, round: int) -> Path:
        return self.round_path(round) / "train.parquet"

    def write_annotations(self, pool: Pool, columns: Mapping[str, np.ndarray]) -> None:
        """Write `annotations.parquet`: the id of each query and its annotations, by column."""
        ids = pa.array([query.id for query in pool.queries], pa.string())
        table = pa.table({"id": ids, **{name: pa.array(column) for name, column in columns.items()}})
        durable.write_parquet(self.path / _ANNOTATIONS, table)

    def read_annotations(self, pool: Pool) -> dict[str, np.ndarray]:
        """Return the columns that `write_annotations` wrote.

        Raises `UserError` where they belong to other queries than those of `pool`.
        """
        table = _read_parquet(self.path / _ANNOTATIONS)
        if table.column("id").to_pylist() != [query.id for query in pool.queries]:
            raise UserError(
                f"{self.path / _ANNOTATIONS}: belongs to other queries than those of data.train; restore the "
                "data, or start a new run in another run.dir"
            )
        return {name: table.column(name).to_numpy() for name in table.column_names if name != "id"}

    def write_difficulty(self, round: int, pool: Pool, rows: QueryTable) -> None:
        """Write `difficulty.parquet`: per query its level, and what the round did with it."""
        table = query_table.to_table(pool, rows)
        durable.write_parquet(self.round_path(round) / "difficulty.parquet", table)

    def read_difficulty(self, round: int) -> QueryTable:
        """Return what `write_difficulty` wrote."""
        return query_table.from_table(_read_parquet(self.round_path(round) / "difficulty.parquet"))

    # -- metrics ---------------------------------------------------------------------------------

    def log_metrics(self, stage: str, **values: Any) -> None:
        """Add a line to `metrics.jsonl`, and to TensorBoard and W&B where the config asks for them.

        `round`, `step` and `set` among `values` say where the numbers belong.
        """
        if self._settings is None:
            raise ValueError(f"{self.path}: opened for reading only")
        step = values.get("step")
        if step is not None and step % self._settings.logging.log_every and step != 1:
            return
        self._opened_log(self._settings).write(stage, values)

    def log_samples(self, round: int, rows: Sequence[SampleRow]) -> None:
        """Add tables of sample responses to TensorBoard and W&B where the config asks for them."""
        if self._settings is None:
            raise ValueError(f"{self.path}: opened for reading only")
        self._opened_log(self._settings).write_samples(round, rows)

    def _opened_log(self, settings: RunSettings) -> MetricsLog:
        if self._metrics is None:
            self._metrics = MetricsLog(self.path, settings.logging, self.config)
        return self._metrics


# --- making and checking ------------------------------------------------------------------------------


def _make_folder(path: Path) -> None:
    """Create the folder, or check that what is there is a run or empty."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {p.name for p in path.iterdir()}
    except OSError as error:
        if disk_full(error) is not None:
            raise InterruptedRunError(
                f"disk full (making {path}); free space and run the same command"
            ) from error
        raise UserError(f"run.dir: {path} cannot be used ({error.strerror}); name another folder") from error
    strange = {name for name in names if not name.startswith(".")} - {"config.yaml", "log.txt"}
    if "manifest.json" not in names and strange & {"rounds", "checkpoints"}:
        raise UserError(
            f"run.dir: {path / 'manifest.json'} is missing, though the folder holds a run; restore that file "
            "from a copy, or name a new folder"
        )
    if strange and "manifest.json" not in names:
        raise UserError(f"run.dir: {path} holds other files but no run; name a new folder")


def _begin(settings: RunSettings) -> Manifest:
    return Manifest(
        created=_now(), config=dump_yaml(settings.config), sessions=(_session(),), facts=None, stages=()
    )


def _resume(path: Path, settings: RunSettings) -> Manifest:
    """Return the manifest of the run at `path`, after checking its files and that `settings` continue it.

    A run that has finished no stage is not bound to its settings.
    """
    manifest = _read_manifest(path)
    stages = manifest.stages
    if stages:
        _check_settings(path, manifest, settings)
        if damage := integrity.find_damage(path, stages):
            stages = integrity.rewind(path, stages, damage, repair=settings.repair)
        integrity.set_aside_parts(path, (record.name for record in stages))
        for found in integrity.damaged_logs(path, manifest.stages):
            log.warning("%s: %s; what it said so far may be lost", path / found.file, found.problem)
    else:
        integrity.forget_unfinished(path)
    last, session = manifest.sessions[-1].versions, _session()
    for name, version in session.versions.items():
        if last.get(name) not in (None, version):
            log.warning("%s: %s was %s and is now %s; results may differ", path, name, last[name], version)
    return dataclasses.replace(
        manifest,
        config=dump_yaml(settings.kept(_config_of(path, manifest))),
        sessions=(*manifest.sessions, session),
        stages=stages,
    )


def _check_settings(path: Path, manifest: Manifest, settings: RunSettings) -> None:
    """Raise `UserError` where a key that changes the result is not what the run was started with."""
    copy = path / "config.yaml"
    if not copy.is_file() or copy.read_text(encoding="utf-8", errors="replace") != manifest.config:
        log.warning("%s: not what the run wrote; written again, from manifest.json", copy)
        if copy.is_dir():
            durable.set_aside(copy)
    if changes := _changes(_config_of(path, manifest), settings):
        raise UserError(
            f"{path}: this run was started with other settings ({'; '.join(changes)}); "
            "set them back, or start a new run in another run.dir"
        )


def _config_of(path: Path, manifest: Manifest) -> dict[str, Any]:
    config: dict[str, Any] = parse_yaml(manifest.config, where=f"{path / 'manifest.json'}: config") or {}
    return config


def _changes(old: Mapping[str, Any], settings: RunSettings) -> list[str]:
    """ "key: old → new" for every key that keeps `settings` from resuming the run whose config was `old`."""
    new_keys = {key: value for key, value in settings.fixed.items() if key not in settings.automatic}
    old_method = (old.get("method") or {}).get("name")
    if old_method != settings.method:  # its other keys are bound to differ, and say nothing
        new_keys = {k: v for k, v in new_keys.items() if not k.startswith("method.") or k == "method.name"}
    changes = []
    for key, new in new_keys.items():
        before = _lookup(old, key)
        if before is not _ABSENT and before != new:
            changes.append(f"{key}: {_short(before)} → {_short(new)}")
    rounds = _lookup(old, "run.rounds")
    if isinstance(rounds, int) and settings.rounds < rounds:
        changes.append(f"run.rounds: {rounds} → {settings.rounds}, which may only grow")
    return changes


_ABSENT = object()


def _lookup(mapping: Any, key: str) -> Any:
    """Return the value at a dotted key; absent where an older version of the package had no such key."""
    for part in key.split("."):
        if not isinstance(mapping, Mapping) or part not in mapping:
            return _ABSENT
        mapping = mapping[part]
    return mapping


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _read_manifest(path: Path) -> Manifest:
    if not (path / "manifest.json").exists():
        raise UserError(f"{path}: is not a run (it has no manifest.json)")
    return read_result(Manifest, path / "manifest.json")


def _session() -> RunSession:
    return RunSession(started=_now(), versions=installed_versions())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}); restore it from a copy") from error
