"""`difficulty.parquet`: what a round did with each training query, one row a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from dast_jax.records import LEVELS, Pool, PreferenceSet, PromptKind, Responses, TrainingSet
from dast_jax.store.analysis_results import LevelSource

__all__ = ["QueryTable", "from_table", "query_table", "to_table"]

_COUNTS = ("trials", "correct", "plain_trials", "plain_correct", "own_rows", "reference_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTable:
    """Columns of n queries: `level` int8 (−1 unknown), counts int32.

    `trials` and `correct` are of the round's own responses, `plain_…` of those without a hint; `own_rows` are
    the rows that the round trains on with a response of the model (for a pair the chosen one),
    `reference_rows` those with a reference solution. `levels_from` is the source of the levels.
    """

    level: np.ndarray
    trials: np.ndarray
    correct: np.ndarray
    plain_trials: np.ndarray
    plain_correct: np.ndarray
    own_rows: np.ndarray
    reference_rows: np.ndarray
    levels_from: LevelSource


def query_table(
    levels: np.ndarray | None, own: Responses, training_set: TrainingSet | PreferenceSet, n: int
) -> QueryTable:
    """Return the counts of a round, with the method's `levels`, int8 [n], or none of them known."""
    plain = own.kind != PromptKind.RATIONALIZED
    if isinstance(training_set, PreferenceSet):
        is_reference = training_set.chosen_is_reference
    else:
        is_reference = training_set.is_reference

    def count(query: np.ndarray) -> np.ndarray:
        return np.bincount(query, minlength=n).astype(np.int32)

    return QueryTable(
        level=np.full(n, -1, np.int8) if levels is None else levels.astype(np.int8),
        trials=count(own.query),
        correct=count(own.query[own.correct]),
        plain_trials=count(own.query[plain]),
        plain_correct=count(own.query[plain & own.correct]),
        own_rows=count(training_set.query[~is_reference]),
        reference_rows=count(training_set.query[is_reference]),
        levels_from="none" if levels is None else "method",
    )


def to_table(pool: Pool, rows: QueryTable) -> pa.Table:
    """Return the rows with the queries' ids and labels; metadata: `levels_from`."""
    columns = {
        "query": pa.array(np.arange(len(pool), dtype=np.int32)),
        "id": pa.array([query.id for query in pool.queries], pa.string()),
        "level": pa.array([None if i < 0 else LEVELS[i] for i in rows.level.tolist()], pa.string()),
        "data_level": pa.array([query.level for query in pool.queries], pa.string()),
        **{name: pa.array(getattr(rows, name).astype(np.int32)) for name in _COUNTS},
    }
    return pa.table(columns).replace_schema_metadata({"levels_from": rows.levels_from})


def from_table(table: pa.Table) -> QueryTable:
    """Return what `to_table` was given."""
    names = table.column("level").to_pylist()
    source = (table.schema.metadata or {}).get(b"levels_from", b"none").decode()
    return QueryTable(
        level=np.array([-1 if name is None else LEVELS.index(name) for name in names], np.int8),
        **{name: table.column(name).to_numpy().astype(np.int32) for name in _COUNTS},
        levels_from=cast(LevelSource, source),
    )
