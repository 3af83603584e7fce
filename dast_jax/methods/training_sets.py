"""From verified responses to a training set with a quota per query. Pure functions on columns."""

from __future__ import annotations

import numpy as np

from dast_jax.estimators.distinct import Distinct, usable
from dast_jax.records import LEVELS, Origin, Pool, Responses, TrainingSet

__all__ = [
    "build_training_set",
    "distinct_rows",
    "first_distinct",
    "first_rows",
    "rank_within",
    "reference_set",
    "text_set",
    "trials_used",
    "union",
    "usable_rows",
]


def reference_set(pool: Pool) -> TrainingSet:
    """Return D_o: the reference solution of every query that has one."""
    query = np.flatnonzero([bool(q.solution) for q in pool.queries]).astype(np.int32)
    text = np.array([pool.queries[i].solution for i in query], dtype=object)
    return TrainingSet(
        query=query, text=text, is_reference=np.ones(len(query), bool), origin=Origin.references(len(query))
    )


def text_set(responses: Responses, rows: np.ndarray, shortfall: dict[str, int] | None = None) -> TrainingSet:
    """Return the responses in `rows`, to be trained on as they are."""
    return TrainingSet(
        query=responses.query[rows].astype(np.int32),
        text=responses.text[rows],
        is_reference=np.zeros(len(rows), bool),
        shortfall=shortfall or {},
        origin=Origin.of(responses, rows),
    )


def union(first: TrainingSet, second: TrainingSet) -> TrainingSet:
    """Return both, ordered by query, with the second one's shortfall; the origin is known if both are."""
    query = np.concatenate([first.query, second.query])
    order = np.argsort(query, kind="stable")
    return TrainingSet(
        query=query[order],
        text=np.concatenate([first.text, second.text])[order],
        is_reference=np.concatenate([first.is_reference, second.is_reference])[order],
        shortfall=second.shortfall,
        origin=None
        if first.origin is None or second.origin is None
        else Origin.concatenate([first.origin, second.origin]).take(order),
    )


def usable_rows(responses: Responses) -> np.ndarray:
    """Return the row numbers int64 [m] of the usable responses, ordered by (query, round, trial)."""
    rows = np.flatnonzero(usable(responses))
    return rows[np.lexsort((responses.trial[rows], responses.round[rows], responses.query[rows]))]


def distinct_rows(
    responses: Responses,
    distinct: Distinct,
    rows: np.ndarray | None = None,
    *,
    references_of: Pool | None = None,
) -> np.ndarray:
    """Return those of `rows`, by default the usable ones, that are new for their query, int64 [m].

    Of responses that are not `distinct` the first by (round, trial) is taken; the rows come ordered by
    (query, round, trial), whatever the order of `responses`. With `references_of`, the reference solutions of
    that pool are trained on too, and a response that does not differ from its query's is not new.
    """
    rows = np.flatnonzero(usable(responses)) if rows is None else rows
    key = distinct.keys_of(responses, rows)
    if references_of is not None and not distinct.never_equal:
        references = reference_set(references_of)
        has, own = np.zeros(len(references_of), bool), np.zeros(len(references_of), np.uint64)
        has[references.query], own[references.query] = True, distinct.keys(references.query, references.text)
        query = responses.query[rows]
        new = ~(has[query] & (own[query] == key))
        rows, key = rows[new], key[new]
    if not len(rows):
        return rows
    query, round, trial = responses.query[rows], responses.round[rows], responses.trial[rows]
    order = np.lexsort((trial, round, key, query))
    same = (np.diff(query[order]) == 0) & (key[order][1:] == key[order][:-1])
    first = order[np.concatenate([[True], ~same])]
    kept: np.ndarray = rows[first[np.lexsort((trial[first], round[first], query[first]))]]
    return kept


def first_distinct(
    responses: Responses, distinct: Distinct, need: np.ndarray, *, references_of: Pool | None = None
) -> np.ndarray:
    """Return the first `need` (int [n]) rows of `distinct_rows` of each query: row numbers int64 [m]."""
    return first_rows(responses, distinct_rows(responses, distinct, references_of=references_of), need)


def first_rows(responses: Responses, rows: np.ndarray, need: np.ndarray) -> np.ndarray:
    """Return the first `need` (int [n]) of each query among `rows`, ordered by query: int64 [m]."""
    query = responses.query[rows]
    kept: np.ndarray = rows[rank_within(query) < need[query]]
    return kept


def trials_used(responses: Responses, rows: np.ndarray, need: np.ndarray, max_trials: int) -> np.ndarray:
    """Return each query's trials up to the last of `rows` where `need` was met, else `max_trials`: int32 [n].

    How many trials were sampled beyond that depends on what was in flight, so they are never used.
    """
    query = responses.query[rows]
    used = np.zeros(len(need), np.int32)
    np.maximum.at(used, query, responses.trial[rows] + 1)
    met = np.bincount(query, minlength=len(need)) >= need
    return np.where(met, used, max_trials).astype(np.int32)


def build_training_set(
    pool: Pool,
    responses: Responses,
    rows: np.ndarray,
    quotas: np.ndarray,
    levels: np.ndarray,
    max_repeats: int,
) -> TrainingSet:
    """Return D_a ∪ D_o with `quotas` examples per query, int [n]; `levels` int [n] for the shortfall's names.

    A query gives its reference solution and its responses in `rows` (from `first_distinct`). What is
    short of the quota is filled by repeating those responses evenly, then the reference solution, until
    each text appears `max_repeats` times; the rest is reported as shortfall. Ordered by query.
    """
    references = reference_set(pool)
    has_reference = np.zeros(len(pool), np.int64)
    has_reference[references.query] = 1

    own = responses.query[rows]
    rank = rank_within(own)
    count = np.bincount(own, minlength=len(pool))
    short = quotas - has_reference - count
    repeat_own = np.clip(short, 0, count * (max_repeats - 1))
    short = short - repeat_own
    repeat_reference = np.clip(short, 0, has_reference * (max_repeats - 1))
    short = np.maximum(short - repeat_reference, 0)

    per_text, extra = np.divmod(repeat_own, np.maximum(count, 1))
    own_times = 1 + per_text[own] + (rank < extra[own])
    reference_times = 1 + repeat_reference[references.query]

    query = np.concatenate([np.repeat(references.query, reference_times), np.repeat(own, own_times)])
    text = np.concatenate(
        [np.repeat(references.text, reference_times), np.repeat(responses.text[rows], own_times)]
    )
    is_reference = np.arange(len(query)) < reference_times.sum()
    origin = Origin.concatenate(
        [Origin.references(int(reference_times.sum())), Origin.of(responses, np.repeat(rows, own_times))]
    )
    order = np.argsort(query, kind="stable")
    return TrainingSet(
        query=query[order].astype(np.int32),
        text=text[order],
        is_reference=is_reference[order],
        shortfall={name: int(short[levels == i].sum()) for i, name in enumerate(LEVELS)},
        origin=origin.take(order),
    )


def rank_within(query: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, … within each run of equal values of the sorted `query`, int64 [m]."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(query) != 0])) if len(query) else query
    rank: np.ndarray = np.arange(len(query)) - np.repeat(starts, np.diff(np.append(starts, len(query))))
    return rank
