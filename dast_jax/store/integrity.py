"""Digests of the files that later stages read, and what to do where one no longer matches.

A stage's record in the manifest has the SHA-256 of every file that it left. All of them are checked when a
run is opened, before anything is computed. A damaged evaluation, or a stage of the round in progress, is done
again from what is whole; earlier rounds are repeated only when asked for, as that costs hours.

A folder of many files, such as a checkpoint, has an index next to it, `NAME.sha256`, in the format of
sha256sum: `cd NAME && sha256sum -c ../NAME.sha256` checks it by hand.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dast_jax.errors import UserError
from dast_jax.store import durable
from dast_jax.store.results import StageRecord

__all__ = [
    "LOGS",
    "Damage",
    "check_folder",
    "damaged_logs",
    "find_damage",
    "folder_index",
    "forget_unfinished",
    "rewind",
    "seal_folder",
    "set_aside_parts",
    "stage_digests",
]

log = logging.getLogger(__name__)

_FILES = {
    "annotate": ("annotations.parquet",),
    "sample": ("rounds/{0}/responses/part-*.parquet",),
    "build": ("rounds/{0}/train.parquet", "rounds/{0}/method.npz", "rounds/{0}/difficulty.parquet"),
    "train": ("rounds/{0}/reference-*.parquet", "checkpoints/round_{0}/*.sha256"),
    "evaluate": ("rounds/{0}/eval.json", "rounds/{0}/levels_*.json"),
}
"""Kind of stage → patterns of the files that it leaves, in a run's folder; {0} is the round."""

LOGS = ("metrics.jsonl", "log.txt")
"""Files that only grow: a stage's record has the digest and length of what they held, as SHA-256:BYTES."""

_ORDER = ("sample", "build", "train", "evaluate")


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a finished stage that is not what the stage left."""

    stage: str
    file: str
    problem: str


# --- digests ------------------------------------------------------------------------------------------


def stage_digests(folder: Path, stage: str) -> dict[str, str]:
    """Return the path in the run's folder → SHA-256 of every file that a stage has left."""
    round, _, kind = stage.partition("/")
    files = [p for pattern in _FILES.get(kind, ()) for p in sorted(folder.glob(pattern.format(round)))]
    found = {str(file.relative_to(folder)): durable.file_digest(file) for file in files}
    for name in LOGS:
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            found[name] = f"{hashlib.sha256(content).hexdigest()}:{len(content)}"
    return found


def folder_index(folder: Path) -> Path:
    """Return the path of the index of a folder's files."""
    return folder.with_name(folder.name + ".sha256")


def seal_folder(folder: Path) -> None:
    """Write the index of a folder whose files are complete."""
    lines = [f"{durable.file_digest(folder / name)}  {name}\n" for name in _names(folder)]
    durable.write_text(folder_index(folder), "".join(lines))


_checked: set[object] = set()
"""Folders that this process has found whole and not read since: a large one is read once between two uses."""


def check_folder(folder: Path) -> str | None:
    """Return what is wrong with a folder by its index, or None where every file is as it was sealed."""
    try:
        names = _names(folder)
        key = str(folder.absolute()), tuple(_state(path) for path in _with_index(folder, names))
        if key in _checked:
            _checked.discard(key)
            return None
        lines = folder_index(folder).read_text(encoding="utf-8").splitlines()
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if set(names) != expected.keys() or not names:
            odd = sorted(set(names) ^ expected.keys()) or ["every file"]
            return f"{odd[0]} is missing or does not belong there"
        for name, digest in expected.items():
            if durable.file_digest(folder / name) != digest:
                return f"{name} was changed"
    except (OSError, UnicodeDecodeError) as error:
        return f"it cannot be read ({getattr(error, 'strerror', None) or 'its index is not text'})"
    _checked.add(key)
    return None


def _with_index(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder_index(folder), *(folder / name for name in names)]


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _names(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, sorted."""
    if not folder.is_dir():
        raise NotADirectoryError(20, "it is missing or not a folder", str(folder))
    return sorted(
        str(Path(root, name).relative_to(folder)) for root, _, names in os.walk(folder) for name in names
    )


# --- damage -------------------------------------------------------------------------------------------


def find_damage(folder: Path, stages: Sequence[StageRecord], *, policies: bool = True) -> list[Damage]:
    """Return what is damaged among the files of the finished stages.

    Of the policies only the newest is read whole, since the run continues from it; an older one is checked
    when it is read. Without `policies`, none of their files is checked.
    """
    found = []
    newest = max((record.name for record in stages if record.name.endswith("/train")), default=None)
    for record in stages:
        for name, digest in record.files.items():
            if name in LOGS or (not policies and name.startswith("checkpoints/")):
                continue
            if problem := _file_problem(folder / name, digest):
                found.append(Damage(record.name, name, problem))
            elif record.name == newest and name.endswith(".sha256"):
                sealed = name.removesuffix(".sha256")
                if problem := check_folder(folder / sealed):
                    found.append(Damage(record.name, sealed, problem))
    return found


def damaged_logs(folder: Path, stages: Sequence[StageRecord]) -> list[Damage]:
    """Return which of the files that only grow are not what they were after the last stage."""
    found = []
    for record in stages[-1:]:
        for name in set(LOGS) & record.files.keys():
            digest, _, length = record.files[name].partition(":")
            try:
                with open(folder / name, "rb") as file:
                    whole = hashlib.sha256(file.read(int(length))).hexdigest() == digest
                problem = None if whole else "it was changed"
            except FileNotFoundError:
                problem = "it is missing"
            except OSError as error:
                problem = f"it cannot be read ({error.strerror})"
            if problem is not None:
                found.append(Damage(record.name, name, problem))
    return found


def _file_problem(path: Path, digest: str) -> str | None:
    try:
        return None if durable.file_digest(path) == digest else "it was changed"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


# --- going back ---------------------------------------------------------------------------------------


def rewind(
    folder: Path, stages: Sequence[StageRecord], damage: Sequence[Damage], *, repair: bool
) -> tuple[StageRecord, ...]:
    """Return the stages that count as done in spite of `damage`, and set aside what the others have left.

    Raises `UserError` where stages of a finished round would have to be repeated, unless `repair`.
    """
    stages = tuple(stages)
    evaluations = {d.stage for d in damage if d.stage.endswith("/evaluate")}
    others = [d for d in damage if d.stage not in evaluations]
    if others:
        _refuse_unless(repair, folder, stages, others)
    for d in damage:
        log.warning("%s: %s: stage %s is repeated", folder / d.file, d.problem, d.stage)
        durable.set_aside(folder / d.file)
    first = min((_place(d.stage) for d in others), default=None)
    kept = tuple(
        record
        for record in stages
        if record.name not in evaluations and (first is None or _place(record.name) < first)
    )
    if first is not None:
        repeated = [record.name for record in stages if record not in kept]
        log.warning("%s: repeated from %s on: %s", folder, repeated[0], ", ".join(repeated))
        _clear_after(folder, first)
    return kept


def _refuse_unless(
    repair: bool, folder: Path, stages: Sequence[StageRecord], damage: Sequence[Damage]
) -> None:
    """Raise `UserError` where damage lies in a round that is finished, or before the first one."""
    done = {record.name for record in stages}
    rounds = [int(name[:2]) for name in done if name[:2].isdigit()]
    for d in damage:
        unfinished = f"{max(rounds):02d}" if rounds else "base"
        if d.stage.partition("/")[0] == unfinished and f"{unfinished}/evaluate" not in done:
            continue
        if not repair:
            more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
            raise UserError(
                f"{folder / d.file}: {d.problem}{more}, though stage {d.stage} is done; restore it from a "
                f"copy, or set run.repair=true to repeat the run from that stage on"
            )


def _place(stage: str) -> tuple[int, int]:
    """Return where a stage comes in a run."""
    round, _, kind = stage.partition("/")
    if round == "base":
        return -1, ("annotate", "evaluate").index(kind)
    return int(round), _ORDER.index(kind)


def _clear_after(folder: Path, first: tuple[int, int]) -> None:
    """Remove what was made from the results of the first repeated stage, so that nothing stale is used.

    Responses of its own round stay: they depend on nothing that is repeated.
    """
    for path in [*folder.glob("rounds/*"), *folder.glob("checkpoints/round_*")]:
        number = path.name.removeprefix("round_")
        if not number.isdigit():
            continue
        policy = path.parent.name == "checkpoints"
        if int(number) > first[0] or (int(number) == first[0] and policy):
            shutil.rmtree(path, ignore_errors=True)
    if first[0] < 0:
        shutil.rmtree(folder / "rounds" / "base", ignore_errors=True)


def set_aside_parts(folder: Path, done: Iterable[str]) -> None:
    """Set aside damaged parts of responses of rounds that are still being sampled: they are sampled again."""
    done = set(done)
    for path in sorted(folder.glob("rounds/*/responses/part-*.parquet")):
        if f"{path.parts[-3]}/sample" not in done and durable.name_matches(path) is False:
            log.warning("%s: damaged; its responses are sampled again", path)
            durable.set_aside(path)


def forget_unfinished(folder: Path) -> None:
    """Remove what a run that has finished no stage has written for one: other settings may be used now."""
    for name in ("rounds", "checkpoints"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    (folder / "annotations.parquet").unlink(missing_ok=True)
