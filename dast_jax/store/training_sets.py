"""Training sets as Parquet tables: examples or pairs, and the reference policy's log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dast_jax.metrics.flops import Flops
from dast_jax.records import Origin, Pool, PreferenceSet, PromptKind, TrainingSet
from dast_jax.store.durable import plain
from dast_jax.store.typed_json import from_json, to_json

__all__ = ["from_table", "reference_of", "reference_table", "to_table"]

_TEXTS = {"examples": ("text",), "pairs": ("chosen", "rejected")}
_ORIGINS = {"examples": {"origin": ""}, "pairs": {"chosen_origin": "chosen_", "rejected_origin": "rejected_"}}
"""Kind of set → its fields that say where texts come from → the beginning of their columns' names."""

_FLAG = {"examples": "is_reference", "pairs": "chosen_is_reference"}
_REFERENCE = ("reference_chosen", "reference_rejected")


def to_table(pool: Pool, training_set: TrainingSet | PreferenceSet) -> pa.Table:
    """Return the set with the queries' ids and questions; metadata: `kind`, `shortfall`, `origin` (JSON).

    `origin` says whether the method said where the texts come from (columns round, policy, prompt, trial).
    """
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
    for field, prefix in _ORIGINS[kind].items():
        columns |= _origin_columns(getattr(training_set, field), prefix, len(query))
    shortfall = json.dumps(plain(training_set.shortfall))
    known = all(getattr(training_set, field) is not None for field in _ORIGINS[kind])
    metadata = {"kind": kind, "shortfall": shortfall, "origin": json.dumps(known)}
    return pa.table(columns).replace_schema_metadata(metadata)


def from_table(table: pa.Table) -> TrainingSet | PreferenceSet:
    """Return what `to_table` was given."""
    metadata = table.schema.metadata or {}
    kind = metadata.get(b"kind", b"examples").decode()
    values = {
        "query": table.column("query").to_numpy(),
        **{name: _objects(table.column(name).to_pylist()) for name in _TEXTS[kind]},
        _FLAG[kind]: table.column(_FLAG[kind]).to_numpy(),
        "shortfall": json.loads(metadata.get(b"shortfall", b"{}")),
        **{field: _origin_of(table, prefix) for field, prefix in _ORIGINS[kind].items()},
    }
    return PreferenceSet(**values) if kind == "pairs" else TrainingSet(**values)


def _origin_columns(origin: Origin | None, prefix: str, n: int) -> Mapping[str, pa.Array]:
    """Return the columns of an origin; null for reference solutions, and where the method does not say."""
    absent = np.ones(n, bool) if origin is None else origin.round < 0
    if origin is None:
        origin = Origin.references(n)
    names: list[Any] = [None if kind < 0 else PromptKind(kind).name.lower() for kind in origin.kind.tolist()]
    policies: list[Any] = [None if round < 0 else f"M_{round}" for round in origin.round.tolist()]
    return {
        f"{prefix}round": pa.array(origin.round, pa.int32(), mask=absent),
        f"{prefix}policy": pa.array(policies, pa.string()),
        f"{prefix}prompt": pa.array(names, pa.string()),
        f"{prefix}trial": pa.array(origin.trial, pa.int32(), mask=absent),
    }


def _origin_of(table: pa.Table, prefix: str) -> Origin | None:
    """Return what `_origin_columns` was given, or None where the method did not say."""
    if not json.loads((table.schema.metadata or {}).get(b"origin", b"false")):
        return None
    kinds = {kind.name.lower(): int(kind) for kind in PromptKind}
    prompts = table.column(f"{prefix}prompt").to_pylist()
    return Origin(
        round=table.column(f"{prefix}round").fill_null(-1).to_numpy().astype(np.int32),
        trial=table.column(f"{prefix}trial").fill_null(-1).to_numpy().astype(np.int32),
        kind=np.array([-1 if name is None else kinds[name] for name in prompts], np.int8),
    )


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
