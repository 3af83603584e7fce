"""Reads a run directory, finished or under way, into what the report shows."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dast_jax.errors import UserError
from dast_jax.metrics.flops import Flops
from dast_jax.metrics.speed import Speed
from dast_jax.metrics.stats import PairedDifference
from dast_jax.records import LEVELS, VerdictKind
from dast_jax.store.analysis_results import ProbeResult
from dast_jax.store.evaluation_results import EvalEntry, EvalFile
from dast_jax.store.integrity import damaged_logs, find_damage
from dast_jax.store.results import (
    BaseResult,
    DataFacts,
    Manifest,
    RoundFlops,
    RoundResult,
    RoundSeconds,
    Summary,
    Total,
    TrainingSource,
)
from dast_jax.store.typed_json import read_result

log = logging.getLogger(__name__)

__all__ = ["Point", "RunData", "load_run", "load_runs", "points_of", "speeds_of", "use_cells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluated policy: M_0 (`round` None) or the policy after a round."""

    round: int | None
    evaluation: Mapping[str, EvalEntry]
    paired: Mapping[str, PairedDifference]
    length_ratio: float | None
    probe: ProbeResult | None
    seconds: RoundSeconds
    flops: RoundFlops

    @property
    def name(self) -> str:
        return "base" if self.round is None else f"round {self.round}"

    @property
    def short(self) -> str:
        return "base" if self.round is None else str(self.round)

    @property
    def directory(self) -> str:
        return "base" if self.round is None else f"{self.round:02d}"


def speeds_of(entry: RoundResult) -> list[tuple[str, Speed]]:
    """Return the stages of a round whose speed is known, by name."""
    trained = entry.training
    stages = ("sample", entry.sampling.speed), ("train", trained.speed if trained else None)
    return [(name, speed) for name, speed in stages if speed is not None]


def use_cells(speed: Speed) -> tuple[str, str]:
    """Return the seconds of compilation and the memory in use on a device, as cells."""
    seconds, memory = speed.compile_seconds, speed.device_memory
    return (
        "–" if seconds is None else f"{seconds:.1f} s",
        "–" if memory is None else f"{memory / 2**30:.1f} GiB",
    )


def points_of(summary: Summary) -> list[Point]:
    """Return M_0 and every round that has begun, in order."""
    base = [_base_point(summary.base)] if summary.base else []
    return base + [_round_point(entry) for entry in summary.rounds]


def _base_point(base: BaseResult) -> Point:
    return Point(
        round=None,
        evaluation=base.evaluation,
        paired={},
        length_ratio=base.length_ratio,
        probe=base.probe,
        seconds=RoundSeconds(sample=None, build=None, train=None, evaluate=base.seconds),
        flops=RoundFlops(sample=None, train=None, evaluate=base.flops),
    )


def _round_point(entry: RoundResult) -> Point:
    return Point(
        round=entry.round,
        evaluation=entry.evaluation,
        paired=entry.paired,
        length_ratio=entry.length_ratio,
        probe=entry.probe,
        seconds=entry.seconds,
        flops=entry.flops,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What one run has written so far.

    `evals` holds each point's eval.json by directory name; `losses[round]` (step, loss) pairs;
    `efficiency[round][level]` (correct, trials) of the round's responses; `config` the YAML text.
    """

    path: Path
    label: str
    summary: Summary
    evals: Mapping[str, EvalFile]
    losses: Mapping[int, Sequence[tuple[int, float]]]
    efficiency: Mapping[int, Mapping[str, tuple[int, int]]]
    config: str

    @property
    def points(self) -> list[Point]:
        """M_0 and every round that has begun, in order."""
        return points_of(self.summary)

    @property
    def rounds(self) -> tuple[RoundResult, ...]:
        """Every round that has begun, in order."""
        return self.summary.rounds

    @property
    def sets(self) -> list[str]:
        """Names of the evaluation sets, in order of first appearance."""
        return list(dict.fromkeys(name for p in self.points for name in p.evaluation))

    def evaluated(self, name: str) -> list[Point]:
        """Return the points that have an evaluation of set `name`."""
        return [p for p in self.points if name in p.evaluation]

    @property
    def finished(self) -> bool:
        return self.summary.status == "finished"

    def scores(self, point: Point, name: str) -> dict[str, float]:
        """Return question id → accuracy of a point on a set; empty where its eval.json is missing."""
        if point.directory not in self.evals or name not in self.evals[point.directory].sets:
            return {}
        return self.evals[point.directory].sets[name].scores


def load_runs(run_dirs: Sequence[Path]) -> list[RunData]:
    """Return every run, each with a unique label. Raises `UserError` as `load_run` does, or for none."""
    if not run_dirs:
        raise UserError("no run directory given: name one with --run DIR")
    runs = [load_run(Path(d)) for d in run_dirs]
    seen = Counter(run.label for run in runs)
    if max(seen.values()) > 1:
        seen = Counter(run.path.name for run in runs)
        names = [r.path.name if seen[r.path.name] == 1 else str(r.path) for r in runs]
        names = [f"{n} ({i + 1})" if names.count(n) > 1 else n for i, n in enumerate(names)]
        runs = [replace(run, label=name) for run, name in zip(runs, names, strict=True)]
    return runs


def load_run(path: Path) -> RunData:
    """Read the run directory `path`. What a run under way has not written yet is simply left empty.

    Raises `UserError` when it is missing, is no run directory, or its summary cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such run directory; give the directory that `run.dir` named")
    if not any((path / name).exists() for name in ("summary.json", "manifest.json")):
        raise UserError(
            f"{path}: not a run directory (neither summary.json nor manifest.json in it); "
            "give the directory that `run.dir` named"
        )
    manifest = read_result(Manifest, file) if (file := path / "manifest.json").exists() else None
    if manifest is not None:
        _check_files(path, manifest)
        if manifest.stages and not (path / "summary.json").exists():
            raise UserError(
                f"{path}: summary.json is missing, though stages are done; run the train command again, "
                "which writes it"
            )
    no_losses = manifest is not None and _metrics_damaged(path, manifest)
    summary = read_result(Summary, file) if (file := path / "summary.json").exists() else _nothing_yet(path)
    evals = {
        file.parent.name: read_result(EvalFile, file)
        for file in sorted(path.glob("rounds/*/eval.json"))
        if _whole(file)
    }
    return RunData(
        path=path,
        label=summary.name or path.resolve().name,
        summary=summary,
        evals=evals,
        losses={} if no_losses else _read_losses(path / "metrics.jsonl"),
        efficiency=_read_efficiency(path),
        config=_config_text(path, manifest),
    )


def _config_text(path: Path, manifest: Manifest | None) -> str:
    """Return the run's config from its manifest, which is checked; else from its `config.yaml`."""
    if manifest is not None and manifest.config:
        return manifest.config
    file = path / "config.yaml"
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _check_files(path: Path, manifest: Manifest) -> None:
    """Raise `UserError` where a file of a finished stage that a report shows is not what the stage left."""
    for damage in find_damage(path, manifest.stages, policies=False):
        raise UserError(
            f"{path / damage.file}: {damage.problem}, though stage {damage.stage} is done; restore it from a "
            "copy, or run the train command again, which repeats what it can"
        )


def _metrics_damaged(path: Path, manifest: Manifest) -> bool:
    """Return whether the losses must be left out, and log that."""
    for damage in damaged_logs(path, manifest.stages):
        if damage.file == "metrics.jsonl":
            log.warning("%s: %s; the curves of the loss are left out", path / damage.file, damage.problem)
            return True
    return False


def _nothing_yet(path: Path) -> Summary:
    """Return the summary of a run that has written none."""
    manifest = read_result(Manifest, path / "manifest.json")
    return Summary(
        status="running",
        name=path.resolve().name,
        method={},
        seed=0,
        model="",
        parameters=0,
        mesh={},
        data=DataFacts(train=TrainingSource(source="", queries=0, skipped=(), digest=""), evaluation={}),
        versions=manifest.sessions[-1].versions,
        device="",
        base=None,
        rounds=(),
        total=Total(seconds=0.0, flops=Flops(), peak_memory_gib=0.0),
        warnings=(),
    )


def _whole(path: Path) -> bool:
    """Return whether a JSON file is readable; the report leaves out what a damaged one would show."""
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _read_losses(path: Path) -> dict[int, list[tuple[int, float]]]:
    """Training losses by round. A resumed stage logs some steps again: the last entry of a step counts."""
    by_round: dict[int, dict[int, float]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    key, step, loss = int(row["round"]), int(row["step"]), float(row["loss"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # another kind of row, or the half-written last line of a running run
                if math.isfinite(loss):
                    by_round.setdefault(key, {})[step] = loss
    return {key: sorted(steps.items()) for key, steps in sorted(by_round.items())}


def _read_efficiency(path: Path) -> dict[int, dict[str, tuple[int, int]]]:
    """(correct, trials) by level for every round whose responses and levels are on disk."""
    found = {}
    for directory in sorted(path.glob("rounds/[0-9]*")):
        if not re.fullmatch(r"\d+", directory.name):
            continue
        try:
            counts = _round_efficiency(directory)
        except Exception:  # a part being written, or columns of another version: the plot is left out
            continue
        if counts:
            found[int(directory.name)] = counts
    return found


def _round_efficiency(directory: Path) -> dict[str, tuple[int, int]]:
    parts = sorted(directory.glob("responses/part-*.parquet"))
    levels_file = directory / "difficulty.parquet"
    if not parts or not levels_file.exists():
        return {}
    import pyarrow.parquet as pq

    levels_table = pq.read_table(levels_file, columns=["level"])
    if (levels_table.schema.metadata or {}).get(b"levels_from") in (b"trials", b"none"):
        return {}  # these levels are the trials' own outcomes
    levels = np.array(levels_table["level"].to_pylist(), dtype=object)
    query, correct = [], []
    for part in parts:
        table = pq.read_table(part, columns=["query", "verdict"])
        query.append(table["query"].to_numpy())
        verdict = np.array(table["verdict"].to_pylist(), dtype=object)
        correct.append(verdict == VerdictKind.CORRECT.value)
    level_of = levels[np.concatenate(query)]
    is_correct = np.concatenate(correct)
    present = [level for level in LEVELS if (level_of == level).any()]
    return {v: (int(is_correct[level_of == v].sum()), int((level_of == v).sum())) for v in present}
