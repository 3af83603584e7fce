"""Training sets as Parquet tables: examples or pairs, and the reference policy's log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dast_jax.metrics.flops import Flops
from dast_jax.records import Pool, PreferenceSet, TrainingSet
from dast_jax.store.durable import plain
from dast_jax.store.typed_json import from_json, to_json

__all__ = ["from_table", "reference_of", "reference_table", "to_table"]

_TEXTS = {"examples": ("text",), "pairs": ("chosen", "rejected")}
_FLAG = {"examples": "is_reference", "pairs": "chosen_is_reference"}
_REFERENCE = ("reference_chosen", "reference_rejected")


def to_table(pool: Pool, training_set: TrainingSet | PreferenceSet) -> pa.Table:
    """Return the set with the queries' ids and questions; metadata: `kind`, `shortfall` (JSON)."""
    kind = "pairs" if isinstance(training_set, PreferenceSet) else "examples"
    query = np.asarray(training_set.query, np.int32)
    columns = {
        "query": pa.array(query),
        "id": pa.array([pool.queries[q].id for q in query], pa.string()),
        "question": pa.array([pool.queries[q].question for q in query], pa.string()),
        **{
            name: pa.array([str(t) for t in getattr(training_set, name)], pa.string())
            for name in _TEXTS[kind]
        },
        _FLAG[kind]: pa.array(np.asarray(getattr(training_set, _FLAG[kind]), bool)),
    }
    shortfall = json.dumps(plain(training_set.shortfall))
    return pa.table(columns).replace_schema_metadata({"kind": kind, "shortfall": shortfall})


def from_table(table: pa.Table) -> TrainingSet | PreferenceSet:
    """Return what `to_table` was given."""
    metadata = table.schema.metadata or {}
    kind = metadata.get(b"kind", b"examples").decode()
    values = {
        "query": table.column("query").to_numpy(),
        **{name: _objects(table.column(name).to_pylist()) for name in _TEXTS[kind]},
        _FLAG[kind]: table.column(_FLAG[kind]).to_numpy(),
        "shortfall": json.loads(metadata.get(b"shortfall", b"{}")),
    }
    return PreferenceSet(**values) if kind == "pairs" else TrainingSet(**values)


def reference_table(logprobs: np.ndarray, flops: Flops) -> pa.Table:
    """Return the reference's log-probabilities of the pairs, float32 [n, 2], with their FLOPs as metadata."""
    columns = {
        name: pa.array(np.ascontiguousarray(logprobs[:, i], np.float32)) for i, name in enumerate(_REFERENCE)
    }
    return pa.table(columns).replace_schema_metadata({"reference_flops": json.dumps(to_json(flops))})


def reference_of(table: pa.Table) -> tuple[np.ndarray, Flops]:
    """Return what `reference_table` was given."""
    logprobs = np.stack([table.column(name).to_numpy() for name in _REFERENCE], axis=1)
    flops = from_json(Flops, json.loads(table.schema.metadata[b"reference_flops"]), "reference.parquet")
    return logprobs.astype(np.float32), flops


def _objects(values: Sequence[object]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
