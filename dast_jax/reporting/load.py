"""Reads a run directory, finished or under way, into what the report shows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.records import LEVELS, VerdictKind

__all__ = ["SUMMARY_SCHEMA", "Point", "RunData", "load_run", "load_runs"]

SUMMARY_SCHEMA = "dast_jax.store.summary/1"

_CORRECT = tuple(VerdictKind).index(VerdictKind.CORRECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluated policy: M_0 (`round` None) or the policy after a round, with its summary entry."""

    round: int | None
    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        return "base" if self.round is None else f"round {self.round}"

    @property
    def short(self) -> str:
        return "base" if self.round is None else str(self.round)

    @property
    def directory(self) -> str:
        return "base" if self.round is None else f"{self.round:02d}"

    @property
    def evaluation(self) -> Mapping[str, Any]:
        return self.entry.get("evaluation") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What one run left behind so far.

    `evals` holds each point's eval.json by directory name; `losses[round]` (step, loss) pairs;
    `efficiency[round][level]` (correct, trials) of the round's responses; `config` the YAML text.
    """

    path: Path
    label: str
    summary: Mapping[str, Any]
    evals: Mapping[str, Mapping[str, Any]]
    losses: Mapping[int, Sequence[tuple[int, float]]]
    efficiency: Mapping[int, Mapping[str, tuple[int, int]]]
    config: str

    @property
    def points(self) -> list[Point]:
        """M_0 and every round that has begun, in order."""
        base = self.summary.get("base")
        points = [Point(round=None, entry=base)] if base else []
        return points + [Point(round=int(r["round"]), entry=r) for r in self.summary.get("rounds") or []]

    @property
    def rounds(self) -> list[Point]:
        return [p for p in self.points if p.round is not None]

    @property
    def sets(self) -> list[str]:
        """Names of the evaluation sets, in order of first appearance."""
        return list(dict.fromkeys(name for p in self.points for name in p.evaluation))

    def evaluated(self, name: str) -> list[Point]:
        """The points that have an evaluation of set `name`."""
        return [p for p in self.points if name in p.evaluation]

    @property
    def finished(self) -> bool:
        return self.summary.get("status") == "finished"

    def scores(self, point: Point, name: str) -> dict[str, float]:
        """{query id: accuracy} of a point on a set, from its eval.json; empty where that is missing."""
        entry = (self.evals.get(point.directory, {}).get("sets") or {}).get(name) or {}
        trials = entry.get("trials") or 1
        return {
            str(i): c / trials
            for i, c in zip(entry.get("ids") or (), entry.get("correct") or (), strict=False)
        }


def load_runs(run_dirs: Sequence[Path]) -> list[RunData]:
    """Every run, with labels that tell them apart. Raises `UserError` as `load_run` does, or for none."""
    if not run_dirs:
        raise UserError("no run directory given: name one with --run DIR.")
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
        raise UserError(f"{path}: no such run directory; give the directory that `run.dir` named.")
    if not any((path / name).exists() for name in ("summary.json", "manifest.json")):
        raise UserError(
            f"{path}: not a run directory (neither summary.json nor manifest.json in it); "
            "give the directory that `run.dir` named."
        )
    summary = _read_summary(path / "summary.json")
    evals = {
        file.parent.name: data
        for file in sorted(path.glob("rounds/*/eval.json"))
        if isinstance(data := _read_json(file), dict)
    }
    config = path / "config.yaml"
    return RunData(
        path=path,
        label=str(summary.get("name") or path.resolve().name),
        summary=summary,
        evals=evals,
        losses=_read_losses(path / "metrics.jsonl"),
        efficiency=_read_efficiency(path),
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
    )


def _read_summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"schema": SUMMARY_SCHEMA, "status": "running", "rounds": []}
    summary = _read_json(path)
    if not isinstance(summary, dict):
        raise UserError(
            f"{path}: not readable as a JSON object; run the training command again to rewrite it."
        )
    if summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(
            f"{path}: its schema is {summary.get('schema')!r} and this version reads {SUMMARY_SCHEMA!r}; "
            "use the version of dast_jax that wrote it."
        )
    return summary


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_losses(path: Path) -> dict[int, list[tuple[int, float]]]:
    """Training losses by round. A resumed stage logs some steps again: the last entry of a step counts."""
    by_round: dict[int, dict[int, float]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    key, step, loss = int(row["round"]), int(row["step"]), float(row["loss"])
                except (ValueError, KeyError, TypeError):
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
    levels = np.array([_level_name(v) for v in levels_table["level"].to_pylist()], dtype=object)
    query, correct = [], []
    for part in parts:
        table = pq.read_table(part, columns=["query", "verdict"])
        query.append(table["query"].to_numpy())
        verdict = table["verdict"].to_pylist()
        correct.append(np.array([v in (_CORRECT, VerdictKind.CORRECT.value) for v in verdict], bool))
    level_of = levels[np.concatenate(query)]
    right = np.concatenate(correct)
    present = [level for level in LEVELS if (level_of == level).any()]
    return {v: (int(right[level_of == v].sum()), int((level_of == v).sum())) for v in present}


def _level_name(value: Any) -> str:
    return LEVELS[value] if isinstance(value, int) else str(value)
