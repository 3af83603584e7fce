"""The results of a study, from its run directories: `comparison.json` (docs/schemas.md). Pure numpy, no jax.

Accuracy is a mean over seeds with Student's t interval over them. Differences are paired by question and by
the seeds that both have, with a percentile bootstrap over seeds and questions. Work is the cost of
self-training, sampling and training from round 0 on; evaluation is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dast_jax.metrics import stats
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.comparison_results import (
    ComparedEntry,
    ComparedRound,
    Comparison,
    MatchedDifference,
    MissingRun,
    Reached,
    SeedAccuracy,
    SeedDifference,
    SetAccuracy,
    Target,
)
from dast_jax.store.evaluation_results import EvalEntry, EvalFile
from dast_jax.store.results import RoundResult, Summary
from dast_jax.store.typed_json import read_result

__all__ = ["RunResult", "compare", "load_result"]

T = TypeVar("T")

Scores = Mapping[str, float]
"""Question id → accuracy."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One finished run. `scores[round][set]` are its questions' accuracies; round None is M_0."""

    label: str
    seed: int
    summary: Summary
    scores: Mapping[int | None, Mapping[str, Scores]]

    @property
    def rounds(self) -> tuple[RoundResult, ...]:
        """The rounds' results."""
        return self.summary.rounds

    @property
    def evaluated(self) -> list[int]:
        """Rounds whose policy was evaluated, in order."""
        return [r for r in self.scores if r is not None]

    def scores_of(self, round: int | None, name: str) -> Scores:
        """Return the accuracies of a set's questions after a round; empty where it was not evaluated."""
        return self.scores[round][name] if round in self.scores and name in self.scores[round] else {}


def load_result(directory: Path, label: str, seed: int) -> RunResult | None:
    """Return the run in `directory`, or None where it has not finished.

    Raises `UserError` where its files are of another version.
    """
    path = directory / "summary.json"
    if not path.exists():
        return None
    summary = read_result(Summary, path)
    if summary.status != "finished":
        return None
    scores: dict[int | None, dict[str, Scores]] = {}
    for round in (None, *(entry.round for entry in summary.rounds)):
        name = "base" if round is None else f"{round:02d}"
        file = directory / "rounds" / name / "eval.json"
        if file.exists():
            sets = read_result(EvalFile, file).sets
            scores[round] = {name: entry.scores for name, entry in sets.items()}
    return RunResult(label=label, seed=seed, summary=summary, scores=scores)


def compare(
    results: Sequence[RunResult],
    *,
    name: str,
    labels: Sequence[str],
    seeds: Sequence[int],
    baselines: Sequence[str],
    diverged: Mapping[tuple[str, int], str] | None = None,
) -> Comparison:
    """Return the comparison of the runs that have finished.

    `diverged` has, by (label, seed), the reason why some never will.
    """
    runs = {label: found for label in labels if (found := [r for r in results if r.label == label])}
    missing = _missing(results, labels, seeds, diverged or {})
    baselines = [label for label in baselines if label in runs]
    entries = {label: _entry(found) for label, found in runs.items()}
    sets = list(dict.fromkeys(s for r in results for by_set in r.scores.values() for s in by_set))
    targets = {s: target for s in sets if (target := _target(entries, baselines, s))}
    first = results[0].summary if results else None
    return Comparison(
        status="running" if any(m.why == _NOT_FINISHED for m in missing) else "finished",
        name=name,
        seeds=tuple(seeds),
        sets=tuple(sets),
        baselines=tuple(baselines),
        model=first.model if first else "",
        parameters=first.parameters if first else 0,
        device=first.device if first else "",
        versions=first.versions if first else {},
        base={s: _accuracy(_one_per_seed(results), None, s) for s in sets},
        entries=entries,
        targets=targets,
        to_target={
            s: {label: _first_reaching(entry, s, target.accuracy) for label, entry in entries.items()}
            for s, target in targets.items()
        },
        differences=_against(runs, baselines, sets, _final_difference),
        matched=_against(runs, baselines, sets, _matched_difference),
        over_base={
            label: {s: d for s in sets if (d := _over_base(found, s)) is not None}
            for label, found in runs.items()
        },
        best={s: best for s in sets if (best := _best(runs, entries, s))},
        identical=_identical(runs),
        missing=missing,
    )


_NOT_FINISHED = "not finished"


def _missing(
    results: Sequence[RunResult],
    labels: Sequence[str],
    seeds: Sequence[int],
    diverged: Mapping[tuple[str, int], str],
) -> tuple[MissingRun, ...]:
    found = {(r.label, r.seed) for r in results}
    lacking = [(label, seed) for label in labels for seed in seeds if (label, seed) not in found]
    return tuple(
        MissingRun(label=label, seed=seed, why=diverged.get((label, seed), _NOT_FINISHED))
        for label, seed in lacking
    )


# --- one entry --------------------------------------------------------------------------------------


def _entry(runs: Sequence[RunResult]) -> ComparedEntry:
    """Return the results of one label's runs, means over their seeds."""
    return ComparedEntry(
        method=runs[0].summary.method,
        seeds=tuple(r.seed for r in runs),
        rounds=tuple(_round(runs, number) for number in _common_rounds(runs)),
        seconds=float(np.mean([r.summary.total.seconds for r in runs])),
    )


def _common_rounds(runs: Sequence[RunResult]) -> list[int]:
    return [r for r in runs[0].evaluated if all(r in run.evaluated for run in runs)]


def _round(runs: Sequence[RunResult], number: int) -> ComparedRound:
    found = [run.rounds[number] for run in runs]
    shares = [entry.level_shares for entry in found]
    return ComparedRound(
        round=number,
        evaluation={s: _accuracy(runs, number, s) for s in runs[0].scores[number]},
        level_shares=_mean_of(shares),
        flops=_mean_of([entry.flops for entry in found]),
        cumulative=_mean_of([entry.cumulative for entry in found]),
    )


def _accuracy(runs: Sequence[RunResult], round: int | None, name: str) -> SetAccuracy:
    """Return the accuracy of a set after a round, over seeds, and by level."""
    entries = [entry for run in runs if (entry := _evaluation(run, round, name)) is not None]
    per_question = _by_question([run.scores_of(round, name) for run in runs])
    interval = stats.bootstrap_mean_interval(list(per_question.values())) if per_question else None
    by_level = {}
    for level in stats.sorted_levels([level for e in entries for level in e.by_level]):
        cells = [e.by_level[level] for e in entries if level in e.by_level]
        by_level[level] = _over_seeds(cells, cells[0].interval if len(cells) == 1 else None)
    overall = _over_seeds(entries, interval)
    return SetAccuracy(**vars(overall), by_level=by_level)


def _evaluation(run: RunResult, round: int | None, name: str) -> EvalEntry | None:
    source = run.summary.base if round is None else run.rounds[round]
    evaluation = source.evaluation if source else {}
    return evaluation[name] if name in evaluation and run.scores_of(round, name) else None


def _over_seeds(
    cells: Sequence[EvalEntry | LevelAccuracy], over_questions: stats.Interval | None
) -> SeedAccuracy:
    values = [cell.accuracy for cell in cells]
    return SeedAccuracy(
        accuracy=float(np.mean(values)) if values else None,
        interval=stats.seed_interval(values),
        interval_questions=over_questions,
        by_seed=tuple(values),
        n=cells[0].n if cells else 0,
        mean_length=float(np.mean([cell.mean_length for cell in cells])) if cells else None,
    )


def _one_per_seed(results: Sequence[RunResult]) -> list[RunResult]:
    """Return one run of each seed: they share M_0."""
    return list({r.seed: r for r in reversed(results)}.values())[::-1]


# --- reaching a target ------------------------------------------------------------------------------


def _target(entries: Mapping[str, ComparedEntry], baselines: Sequence[str], name: str) -> Target | None:
    """Return the strongest baseline's best round: the highest mean accuracy of any round of any of them."""
    best: Target | None = None
    for label in baselines:
        for entry in entries[label].rounds:
            accuracy = entry.accuracy(name)
            if accuracy is not None and (best is None or accuracy > best.accuracy):
                best = Target(baseline=label, round=entry.round, accuracy=accuracy)
    return best


def _first_reaching(entry: ComparedEntry, name: str, accuracy: float) -> Reached | None:
    """Return the work up to the first round whose mean accuracy is at least `accuracy`, or None."""
    for round in entry.rounds:
        found = round.accuracy(name)
        if found is not None and found >= accuracy:
            return Reached(round=round.round, **vars(round.cumulative))
    return None


# --- differences ------------------------------------------------------------------------------------

Pairs = Sequence[tuple[RunResult, RunResult]]
Chosen = Sequence[tuple[tuple[RunResult, int], tuple[RunResult, int | None]]]


def _against(
    runs: Mapping[str, Sequence[RunResult]],
    baselines: Sequence[str],
    sets: Sequence[str],
    difference: Callable[[Pairs, str], T | None],
) -> dict[str, dict[str, dict[str, T]]]:
    """Return baseline → label → set → the `difference` of their runs with the same seeds."""
    found: dict[str, dict[str, dict[str, T]]] = {}
    for baseline in baselines:
        found[baseline] = {}
        theirs = {r.seed: r for r in runs[baseline]}
        for label, mine in runs.items():
            pairs = [(r, theirs[r.seed]) for r in mine if r.seed in theirs]
            if label != baseline and pairs:
                found[baseline][label] = {s: d for s in sets if (d := difference(pairs, s)) is not None}
    return found


def _final_difference(pairs: Pairs, name: str) -> SeedDifference | None:
    """Compare the last evaluated round of each."""
    return _difference([((a, a.evaluated[-1]), (b, b.evaluated[-1])) for a, b in pairs], name)


def _over_base(runs: Sequence[RunResult], name: str) -> SeedDifference | None:
    """Compare the last evaluated round of each run with its own M_0."""
    return _difference([((run, run.evaluated[-1]), (run, None)) for run in runs if run.evaluated], name)


def _best(
    runs: Mapping[str, Sequence[RunResult]], entries: Mapping[str, ComparedEntry], name: str
) -> tuple[str, ...]:
    """Return the label with the highest accuracy after the last round, and those tied with it."""
    finals = {
        label: accuracy
        for label, entry in entries.items()
        if entry.last is not None and (accuracy := entry.last.accuracy(name)) is not None
    }
    if not finals:
        return ()
    best = max(finals, key=finals.__getitem__)
    theirs = {run.seed: run for run in runs[best]}
    ties = []
    for label in finals:
        pairs = [(theirs[run.seed], run) for run in runs[label] if run.seed in theirs]
        found = _final_difference(pairs, name) if pairs else None
        if label != best and (found is None or found.interval[0] <= 0):
            ties.append(label)
    return (best, *ties)


def _identical(runs: Mapping[str, Sequence[RunResult]]) -> tuple[tuple[str, ...], ...]:
    """Return the labels whose runs have the same seeds and, with each, the same results."""
    groups: list[tuple[list[str], Mapping[int, tuple[object, ...]]]] = []
    for label, found in runs.items():
        results = {run.seed: _final_results(run) for run in found if run.evaluated}
        same = next((labels for labels, theirs in groups if results and theirs == results), None)
        if same is None:
            groups.append(([label], results))
        else:
            same.append(label)
    return tuple(tuple(labels) for labels, _ in groups if len(labels) > 1)


def _final_results(run: RunResult) -> tuple[object, ...]:
    """Return the tokens that a run trained on, and its last evaluation with the score of every question."""
    last = run.rounds[-1]
    return last.cumulative.trained_tokens, last.evaluation, run.scores[run.evaluated[-1]]


def _matched_difference(pairs: Pairs, name: str) -> MatchedDifference | None:
    """Compare the rounds up to which both had trained on a similar number of tokens.

    Per seed, the budget is the total of the one that trained on fewer tokens; for each, the round is taken
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
    rounds = tuple((ra, rb) for (_, ra), (_, rb) in chosen)
    return MatchedDifference(**vars(found), rounds=rounds, trained_tokens=(mine, theirs))


_CLOSE = 1.5
"""The largest ratio of token counts that still counts as matched."""


def _trained(run: RunResult, round: int) -> float:
    return run.rounds[round].cumulative.trained_tokens


def _nearest(run: RunResult, budget: float) -> int:
    return min(run.evaluated, key=lambda round: (abs(_trained(run, round) - budget), round))


def _difference(chosen: Chosen, name: str) -> SeedDifference | None:
    """Return first minus second, paired by question and seed, with bootstrap intervals."""
    by_seed: list[Scores] = []
    for (a, round_a), (b, round_b) in chosen:
        mine, theirs = a.scores_of(round_a, name), b.scores_of(round_b, name)
        by_seed.append({i: mine[i] - theirs[i] for i in mine if i in theirs})
    shared = [i for i in by_seed[0] if all(i in scores for scores in by_seed)]
    if not shared:
        return None
    values = np.array([[scores[i] for i in shared] for scores in by_seed])
    return SeedDifference(
        difference=float(values.mean()),
        interval=stats.crossed_interval(values),
        interval_questions=stats.bootstrap_mean_interval(values.mean(axis=0)),
        by_seed=tuple(values.mean(axis=1).tolist()),
        n=len(shared),
    )


def _by_question(scores: Iterable[Scores]) -> dict[str, float]:
    """Return question → its mean over the seeds that have it."""
    gathered: dict[str, list[float]] = {}
    for one in scores:
        for question, value in one.items():
            gathered.setdefault(question, []).append(value)
    return {question: float(np.mean(values)) for question, values in gathered.items()}


# --- means ------------------------------------------------------------------------------------------


def _mean_of(results: Sequence[T]) -> T:
    """Return the mean of results of one type, number by number; None where one of them is None."""
    found: T = _mean_of_trees(results)
    return found


def _mean_of_trees(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if any(tree is None for tree in trees):
        return None
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [f.name for f in dataclasses.fields(first)]
        means = {name: _mean_of_trees([getattr(tree, name) for tree in trees]) for name in names}
        return type(first)(**means)
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for tree in trees for key in tree)
        return {key: _mean_of_trees([tree[key] for tree in trees if key in tree]) for key in keys}
    return float(np.mean(trees))
