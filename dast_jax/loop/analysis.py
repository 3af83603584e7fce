"""What a round did for the queries: reach by level, levels that move, origins, frequency, wrong steps.

Pure functions of the round's responses and training set and of the query tables of the rounds before.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from dast_jax.estimators.levels import DEFAULT_CUTS, HARD, Cuts
from dast_jax.estimators.reliability import UNKNOWN, Reliability, known_levels, split_half, transitions
from dast_jax.records import LEVELS, Origin, Pool, PreferenceSet, PromptKind, Responses, TrainingSet
from dast_jax.store.analysis_results import LevelProgress, LevelSource, OriginCount, RoundAnalysis, StepCounts
from dast_jax.store.query_table import QueryTable, query_table
from dast_jax.verifiers.steps import steps_checker, value_of

__all__ = ["analyze"]

_MOST_LABELS = 12
"""The data's own labels are reported separately if there are at most this many."""


def analyze(
    pool: Pool,
    earlier: Sequence[QueryTable],
    own: Responses,
    training_set: TrainingSet | PreferenceSet,
    levels: np.ndarray | None,
    *,
    cuts: Cuts = DEFAULT_CUTS,
    by_pass_rate: bool = True,
    steps: str = "count",
) -> tuple[QueryTable, RoundAnalysis]:
    """Return the round's query table and analysis.

    `earlier` are the tables of the rounds before, in order; `own` the round's own responses, which M_t
    sampled; `levels` int8 [n] those of the method, or None. `cuts` are its cut points. Its levels have a
    reliability only `by_pass_rate`. `steps` is the option `verifier.steps`.
    """
    n = len(pool)
    table = query_table(levels, own, training_set, n)
    if levels is None:
        table = _with_levels_of_trials(table, earlier, cuts)
    tables = [*earlier, table]
    before, first = _first_levels(earlier, n), _first_levels(tables, n)
    groups = {name: first == i for i, name in enumerate(LEVELS)} | {"unknown": first == UNKNOWN}
    return table, RoundAnalysis(
        levels_from=table.levels_from,
        progress=_progress(tables, {name: mask for name, mask in groups.items() if mask.any()}),
        by_label=_progress(tables, _labels(pool)),
        newly_solved_hard=int((_newly_solved(tables) & (before >= HARD)).sum()),
        transitions=transitions(before, known_levels(table.plain_correct, table.plain_trials, cuts)),
        reliability=_reliability(table, earlier, own, cuts) if by_pass_rate else None,
        origin=_origins(training_set),
        frequency=_frequency(tables),
        steps={} if steps == "ignore" else _steps(pool, own, first, refused=steps == "refuse"),
    )


# --- levels -------------------------------------------------------------------------------------------


def _with_levels_of_trials(table: QueryTable, earlier: Sequence[QueryTable], cuts: Cuts) -> QueryTable:
    """Return the table with the level of each query by its first trials, as soon as these are enough."""
    trials = sum((t.plain_trials for t in earlier), table.plain_trials)
    correct = sum((t.plain_correct for t in earlier), table.plain_correct)
    level = known_levels(correct, trials, cuts)
    if earlier:
        level = np.where(earlier[-1].level != UNKNOWN, earlier[-1].level, level)
    source: LevelSource = "trials" if (level != UNKNOWN).any() else "none"
    return dataclasses.replace(table, level=level, levels_from=source)


def _first_levels(tables: Sequence[QueryTable], n: int) -> np.ndarray:
    """Return the level of each query in the first of the tables that has one, int8 [n]."""
    first = np.full(n, UNKNOWN, np.int8)
    for table in tables:
        first = np.where(first == UNKNOWN, table.level, first)
    return first


def _reliability(
    table: QueryTable, earlier: Sequence[QueryTable], own: Responses, cuts: Cuts
) -> Reliability | None:
    """Return the reliability of the levels, where this round's trials changed them."""
    before = earlier[-1].level if earlier else np.full_like(table.level, UNKNOWN)
    if not (table.level != before).any():
        return None
    return split_half(own, own.kind != PromptKind.RATIONALIZED, len(table.level), cuts)


# --- reach --------------------------------------------------------------------------------------------


def _labels(pool: Pool) -> Mapping[str, np.ndarray]:
    """Return which queries have each of the data's own labels, where these are few."""
    names = sorted({query.level for query in pool.queries if query.level is not None})
    if len(names) > _MOST_LABELS:
        return {}
    label = np.array([query.level for query in pool.queries], object)
    return {name: label == name for name in names}


def _progress(tables: Sequence[QueryTable], groups: Mapping[str, np.ndarray]) -> dict[str, LevelProgress]:
    """Return the reach of the last of the tables, by group of queries (bool [n])."""
    now, new = tables[-1], _newly_solved(tables)
    solved = np.any([t.plain_correct > 0 for t in tables], axis=0)
    covered_so_far = np.any([t.own_rows > 0 for t in tables], axis=0)
    return {
        name: LevelProgress(
            queries=int(mask.sum()),
            sampled=int((now.trials > 0)[mask].sum()),
            solved=int(solved[mask].sum()),
            newly_solved=int(new[mask].sum()),
            covered=int((now.own_rows > 0)[mask].sum()),
            covered_so_far=int(covered_so_far[mask].sum()),
            rows=int((now.own_rows + now.reference_rows)[mask].sum()),
        )
        for name, mask in groups.items()
    }


def _newly_solved(tables: Sequence[QueryTable]) -> np.ndarray:
    """Return which queries have their first correct response without a hint in the last table, bool [n]."""
    new: np.ndarray = tables[-1].plain_correct > 0
    for table in tables[:-1]:
        new &= table.plain_correct == 0
    return new


def _frequency(tables: Sequence[QueryTable]) -> dict[str, int]:
    """Return how many queries have 0, 1, 2, 3-4, 5-8, … rows in what the rounds trained on."""
    rows = sum(
        (t.own_rows + t.reference_rows for t in tables[1:]), tables[0].own_rows + tables[0].reference_rows
    )
    # Group 0 has no row, group 1 one, group i > 1 from 2^(i−2) + 1 to 2^(i−1) of them.
    group = np.where(rows > 0, np.ceil(np.log2(np.maximum(rows, 1))).astype(np.int64) + 1, 0)
    counts = np.bincount(group).tolist()
    names = ["0", "1", "2", *(f"{2**i + 1}-{2 ** (i + 1)}" for i in range(1, len(counts)))]
    return dict(zip(names, counts, strict=False))


# --- training rows and steps --------------------------------------------------------------------------


def _origins(training_set: TrainingSet | PreferenceSet) -> tuple[OriginCount, ...]:
    if isinstance(training_set, PreferenceSet):
        sides = {"chosen": training_set.chosen_origin, "rejected": training_set.rejected_origin}
    else:
        sides = {"example": training_set.origin}
    found = []
    for part, origin in sides.items():
        counts = {(None, None): len(training_set)} if origin is None else _origin_counts(origin)
        found += [
            OriginCount(part=part, policy=policy, prompt=prompt, rows=rows)  # type: ignore[arg-type]
            for (policy, prompt), rows in counts.items()
            if rows
        ]
    return tuple(found)


def _origin_counts(origin: Origin) -> Mapping[tuple[str | None, str | None], int]:
    """Return (policy, prompt) → rows, reference solutions first, then by round and prompt."""
    counts = Counter(zip(origin.round.tolist(), origin.kind.tolist(), strict=True))
    return {
        (None, "reference") if round < 0 else (f"M_{round}", PromptKind(kind).name.lower()): counts[
            round, kind
        ]
        for round, kind in sorted(counts)
    }


def _steps(pool: Pool, own: Responses, levels: np.ndarray, *, refused: bool) -> dict[str, StepCounts]:
    """Return the step counts of the round's correct responses, by level; `refused` ones where some may be."""
    asked = {int(q): pool.queries[q].question for q in np.unique(own.query)}
    checkers = {q: steps_checker(question) for q, question in asked.items()}
    answers = {q: value_of(question) if refused else None for q, question in asked.items()}
    found: dict[str, Counter[str]] = {}
    for row in range(len(own)):
        query = int(own.query[row])
        check = checkers[query]
        right = answers[query]
        if check is None or not (
            own.correct[row] or (right is not None and _number(own.extracted[row]) == right)
        ):
            continue
        of_level = found.setdefault("unknown" if levels[query] < 0 else LEVELS[levels[query]], Counter())
        if not own.correct[row]:
            of_level["refused"] += 1
            continue
        steps = check(str(own.text[row]))
        of_level["correct"] += 1
        of_level["unreadable"] += steps.unreadable > 0
        if steps.steps and not steps.unreadable:
            of_level["checked"] += 1
            of_level["false_positives"] += steps.wrong > 0
    names = ("correct", "checked", "false_positives", "unreadable", "refused")
    return {
        level: StepCounts(**{name: found[level][name] for name in names})
        for level in (*LEVELS, "unknown")
        if level in found
    }


def _number(text: str | None) -> Fraction | None:
    """Return the number that an extracted answer is, or None where it is no plain one."""
    try:
        return Fraction((text or "").replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
