"""Rollouts as columns of a Parquet table, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dast_jax.records import FinishReason, Rollout

__all__ = ["ROLLOUT_FIELDS", "rollout_columns", "rollouts_of", "writable"]

ROLLOUT_FIELDS = (
    pa.field("query", pa.int32()),
    pa.field("trial", pa.int32()),
    pa.field("kind", pa.int8()),
    pa.field("finish_reason", pa.string()),
    pa.field("text", pa.string()),
    pa.field("logprob", pa.float64()),
    pa.field("entropy", pa.float64()),
    pa.field("tokens", pa.list_(pa.int32())),
)
"""The columns of a rollout."""


def rollout_columns(rollouts: Sequence[Rollout]) -> dict[str, list[Any]]:
    """Return the columns of `ROLLOUT_FIELDS` by name."""
    return {
        "query": [r.query for r in rollouts],
        "trial": [r.trial for r in rollouts],
        "kind": [int(r.kind) for r in rollouts],
        "finish_reason": [str(r.finish_reason) for r in rollouts],
        "text": [writable(r.text) for r in rollouts],
        "logprob": [float(r.logprob) for r in rollouts],
        "entropy": [float(r.entropy) for r in rollouts],
        "tokens": [[int(t) for t in r.tokens] for r in rollouts],
    }


def rollouts_of(table: pa.Table) -> list[Rollout]:
    """Return the rows of a table that has the columns of `ROLLOUT_FIELDS`, as they were written."""
    rows = table.select([field.name for field in ROLLOUT_FIELDS]).to_pylist()
    return [
        Rollout(
            **{
                **row,
                "tokens": tuple(row["tokens"]),
                "finish_reason": FinishReason(row["finish_reason"]),
            }
        )
        for row in rows
    ]


def writable(text: str) -> str:
    """Return `text` without lone surrogates, which no file of text can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
