"""What a study found, from its run directories: `comparison.json` (docs/schemas.md). Pure numpy, no jax.

Accuracy is a mean over seeds with Student's t interval over them. Differences are paired by question and by
the seeds that both have, with a percentile bootstrap over seeds and questions. Work is what self-training
took, sampling and training from round 0 on; measuring (evaluation) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dast_jax.metrics import stats
from dast_jax.metrics.flops import with_cumulative
from dast_jax.store import durable

__all__ = ["SCHEMA", "RunResult", "compare", "load_result"]

SCHEMA = "dast_jax.study.results/1"

Scores = Mapping[str, float]
"""Question id → accuracy."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One finished run. `scores[round][set]` are its questions' accuracies; round None is M_0."""

    label: str
    seed: int
    summary: Mapping[str, Any]
    scores: Mapping[int | None, Mapping[str, Scores]]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The rounds' entries with their cumulative work."""
        return with_cumulative(self.summary.get("rounds") or [])

    @property
    def evaluated(self) -> list[int]:
        """Rounds whose policy was evaluated, in order."""
        return [r for r in self.scores if r is not None]


def load_result(directory: Path, label: str, seed: int) -> RunResult | None:
    """The run in `directory`, or None where it has not finished."""
    path = directory / "summary.json"
    if not path.exists():
        return None
    summary = durable.read_json(path)
    if summary.get("status") != "finished":
        return None
    scores: dict[int | None, dict[str, Scores]] = {}
    for round in (None, *(int(entry["round"]) for entry in summary["rounds"])):
        name = "base" if round is None else f"{round:02d}"
        file = directory / "rounds" / name / "eval.json"
        if file.exists():
            sets = durable.read_json(file)["sets"]
            scores[round] = {name: _scores(entry) for name, entry in sets.items()}
    return RunResult(label=label, seed=seed, summary=summary, scores=scores)


def _scores(entry: Mapping[str, Any]) -> Scores:
    trials = entry.get("trials") or 1
    return {str(i): c / trials for i, c in zip(entry["ids"], entry["correct"], strict=True)}


def compare(
    results: Sequence[RunResult],
    *,
    name: str,
    labels: Sequence[str],
    seeds: Sequence[int],
    baselines: Sequence[str],
    diverged: Mapping[tuple[str, int], str] | None = None,
) -> dict[str, Any]:
    """The content of `comparison.json`, from the runs that have finished.

    `diverged` says, by (label, seed), why some never will.
    """
    runs = {label: [r for r in results if r.label == label] for label in labels}
    have = {(r.label, r.seed) for r in results}
    missing = [
        {"label": label, "seed": seed, "why": (diverged or {}).get((label, seed), "not finished")}
        for label in labels
        for seed in seeds
        if (label, seed) not in have
    ]
    runs = {label: found for label, found in runs.items() if found}
    baselines = [label for label in baselines if label in runs]
    entries = {label: _entry(found) for label, found in runs.items()}
    sets = list(dict.fromkeys(s for r in results for by_set in r.scores.values() for s in by_set))
    first = results[0].summary if results else {}
    targets = {s: target for s in sets if (target := _target(entries, baselines, s))}
    return {
        "schema": SCHEMA,
        "status": "finished" if not any(m["why"] == "not finished" for m in missing) else "running",
        "name": name,
        "seeds": list(seeds),
        "sets": sets,
        "baselines": baselines,
        **{key: first.get(key) for key in ("model", "parameters", "device", "versions")},
        "base": {s: _accuracy(_one_per_seed(results), None, s) for s in sets},
        "entries": entries,
        "targets": targets,
        "to_target": {
            s: {label: _first_reaching(entry, s, target["accuracy"]) for label, entry in entries.items()}
            for s, target in targets.items()
        },
        "differences": _against(runs, baselines, sets, _final_difference),
        "matched": _against(runs, baselines, sets, _matched_difference),
        "missing": missing,
    }


# --- one entry --------------------------------------------------------------------------------------


def _entry(runs: Sequence[RunResult]) -> dict[str, Any]:
    """What the runs of one label found, means over their seeds."""
    numbers = _common_rounds(runs)
    rounds = [_round(runs, number) for number in numbers]
    return {
        "method": runs[0].summary.get("method"),
        "seeds": [r.seed for r in runs],
        "final": numbers[-1] if numbers else None,
        "rounds": rounds,
        "seconds": _mean([(r.summary.get("total") or {}).get("seconds", 0.0) for r in runs]),
    }


def _common_rounds(runs: Sequence[RunResult]) -> list[int]:
    return [r for r in runs[0].evaluated if all(r in run.evaluated for run in runs)]


def _round(runs: Sequence[RunResult], number: int) -> dict[str, Any]:
    found = [run.rounds[number] for run in runs]
    return {
        "round": number,
        "evaluation": {s: _accuracy(runs, number, s) for s in runs[0].scores[number]},
        "level_shares": _mean_trees([entry.get("level_shares") for entry in found]),
        "flops": _mean_trees([entry.get("flops") for entry in found]),
        "cumulative": _mean_trees([entry["cumulative"] for entry in found]),
    }


def _accuracy(runs: Sequence[RunResult], round: int | None, name: str) -> dict[str, Any]:
    """Accuracy of a set after a round, over seeds and, by level, too."""
    runs = [run for run in runs if name in run.scores.get(round, {})]
    entries = [_evaluation(run, round, name) for run in runs]
    per_question = _by_question([run.scores[round][name] for run in runs])
    by_level = {}
    for level in stats.sorted_levels([level for e in entries for level in e.get("by_level") or {}]):
        cells = [e["by_level"][level] for e in entries if level in (e.get("by_level") or {})]
        single = cells[0]["interval"] if len(cells) == 1 else None
        by_level[level] = _over_seeds(cells, single)
    interval = stats.bootstrap_mean_interval(list(per_question.values())) if per_question else None
    return {**_over_seeds(entries, interval), "by_level": by_level}


def _evaluation(run: RunResult, round: int | None, name: str) -> Mapping[str, Any]:
    source = run.summary["base"] if round is None else run.rounds[round]
    return source["evaluation"][name]


def _over_seeds(cells: Sequence[Mapping[str, Any]], over_questions: Sequence[float] | None) -> dict[str, Any]:
    values = [cell["accuracy"] for cell in cells]
    return {
        "accuracy": _mean(values),
        "interval": stats.seed_interval(values),
        "interval_questions": over_questions,
        "by_seed": values,
        "n": cells[0]["n"] if cells else 0,
    }


def _one_per_seed(results: Sequence[RunResult]) -> list[RunResult]:
    """One run of each seed: they share M_0."""
    return list({r.seed: r for r in reversed(results)}.values())[::-1]


# --- reaching a target ------------------------------------------------------------------------------


def _target(
    entries: Mapping[str, Mapping[str, Any]], baselines: Sequence[str], name: str
) -> dict[str, Any] | None:
    """The strongest baseline's best round: the highest mean accuracy of any round of any of them."""
    best: dict[str, Any] | None = None
    for label in baselines:
        for entry in entries[label]["rounds"]:
            accuracy = (entry["evaluation"].get(name) or {}).get("accuracy")
            if accuracy is not None and (best is None or accuracy > best["accuracy"]):
                best = {"baseline": label, "round": entry["round"], "accuracy": accuracy}
    return best


def _first_reaching(entry: Mapping[str, Any], name: str, accuracy: float) -> dict[str, Any] | None:
    """Work up to the first round whose mean accuracy is at least `accuracy`, or None."""
    for round in entry["rounds"]:
        found = (round["evaluation"].get(name) or {}).get("accuracy")
        if found is not None and found >= accuracy:
            return {"round": round["round"], **round["cumulative"]}
    return None


# --- differences ------------------------------------------------------------------------------------


def _against(
    runs: Mapping[str, Sequence[RunResult]], baselines: Sequence[str], sets: Sequence[str], difference: Any
) -> dict[str, Any]:
    """baseline → label → set → what `difference` says of their runs with the same seeds."""
    found: dict[str, Any] = {}
    for baseline in baselines:
        found[baseline] = {}
        for label, mine in runs.items():
            theirs = {r.seed: r for r in runs[baseline]}
            pairs = [(r, theirs[r.seed]) for r in mine if r.seed in theirs]
            if label != baseline and pairs:
                found[baseline][label] = {s: d for s in sets if (d := difference(pairs, s)) is not None}
    return found


Pairs = Sequence[tuple[RunResult, RunResult]]


def _final_difference(pairs: Pairs, name: str) -> dict[str, Any] | None:
    """Last evaluated round of each."""
    return _difference([((a, a.evaluated[-1]), (b, b.evaluated[-1])) for a, b in pairs], name)


def _matched_difference(pairs: Pairs, name: str) -> dict[str, Any] | None:
    """The rounds up to which both had trained on about as many tokens.

    Per seed, the budget is what the one that trained on less has trained on in all; of each, the round
    whose cumulative trained tokens are nearest to it (of equally near ones the earlier). None where even
    those differ by more than `_CLOSE`.
    """
    chosen = []
    for a, b in pairs:
        budget = min(_trained(a, a.evaluated[-1]), _trained(b, b.evaluated[-1]))
        chosen.append(((a, _nearest(a, budget)), (b, _nearest(b, budget))))
    mine = float(np.mean([_trained(*a) for a, _ in chosen]))
    theirs = float(np.mean([_trained(*b) for _, b in chosen]))
    found = _difference(chosen, name)
    if found is None or max(mine, theirs) > _CLOSE * min(mine, theirs):
        return None
    return {
        **found,
        "rounds": [[ra, rb] for (_, ra), (_, rb) in chosen],
        "trained_tokens": [mine, theirs],
    }


_CLOSE = 1.5
"""How many times as many tokens still count as about as many."""


def _trained(run: RunResult, round: int) -> int:
    return run.rounds[round]["cumulative"]["trained_tokens"]


def _nearest(run: RunResult, budget: int) -> int:
    return min(run.evaluated, key=lambda round: (abs(_trained(run, round) - budget), round))


def _difference(
    chosen: Sequence[tuple[tuple[RunResult, int], tuple[RunResult, int]]], name: str
) -> dict[str, Any] | None:
    """First minus second, paired by question and seed, with bootstrap intervals."""
    by_seed: list[Scores] = []
    for (a, round_a), (b, round_b) in chosen:
        mine, theirs = a.scores[round_a].get(name, {}), b.scores[round_b].get(name, {})
        by_seed.append({i: mine[i] - theirs[i] for i in mine if i in theirs})
    shared = [i for i in by_seed[0] if all(i in scores for scores in by_seed)]
    if not shared:
        return None
    values = np.array([[scores[i] for i in shared] for scores in by_seed])
    return {
        "difference": float(values.mean()),
        "interval": list(stats.crossed_interval(values)),
        "interval_questions": list(stats.bootstrap_mean_interval(values.mean(axis=0))),
        "by_seed": values.mean(axis=1).tolist(),
        "n": len(shared),
    }


def _by_question(scores: Iterable[Scores]) -> dict[str, float]:
    """Question → its mean over the seeds that have it."""
    gathered: dict[str, list[float]] = {}
    for one in scores:
        for question, value in one.items():
            gathered.setdefault(question, []).append(value)
    return {question: float(np.mean(values)) for question, values in gathered.items()}


# --- means ------------------------------------------------------------------------------------------


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _mean_trees(trees: Sequence[Any]) -> Any:
    """The mean of nested mappings of numbers, key by key; None where one of them is missing."""
    if any(tree is None for tree in trees):
        return None
    if isinstance(trees[0], Mapping):
        keys = list(dict.fromkeys(key for tree in trees for key in tree))
        return {key: _mean_trees([tree.get(key) for tree in trees]) for key in keys}
    return _mean(trees)
