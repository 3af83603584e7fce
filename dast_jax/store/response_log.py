"""Verified responses of one round on disk: appended, written in whole Parquet parts, replayed on resume."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dast_jax.errors import UserError
from dast_jax.records import FinishReason, Responses, Rollout, SamplingStats, Verdict, VerdictKind
from dast_jax.store.durable import name_matches, write_named_parquet
from dast_jax.store.rollouts import ROLLOUT_FIELDS, rollout_columns, rollouts_of, writable

__all__ = ["ResponseLog"]

_SCHEMA = pa.schema(
    [
        *ROLLOUT_FIELDS,
        ("round", pa.int32()),
        ("length", pa.int32()),
        ("verdict", pa.string()),
        ("extracted", pa.string()),
        ("reason", pa.string()),
    ]
)
_STATS = b"sampling_stats"
"""Key of a part's metadata: what sampling its responses cost, as JSON."""

_VERDICTS = {str(kind): i for i, kind in enumerate(VerdictKind)}
_FINISHES = {str(reason): i for i, reason in enumerate(FinishReason)}


class ResponseLog:
    """The responses of one round with their verdicts, in `folder`/part-NUMBER-DIGEST.parquet.

    Appended responses are held until `flush_responses` of them, or `flush_seconds`, have gathered; then
    they become the next part, which is on disk whole or not at all. At most the held ones are lost
    when the process dies. As a context manager it writes what it holds, also when the block raises.

    Each part says what sampling cost since the part before it (`count`), so that the cost of a stage that was
    interrupted is the sum over its parts and what the last process adds.
    """

    def __init__(self, folder: Path, round: int, *, flush_responses: int = 256, flush_seconds: float = 30.0):
        self._folder = folder
        self._round = round
        self._flush_responses = flush_responses
        self._flush_seconds = flush_seconds
        self._held: list[tuple[Rollout, Verdict]] = []
        self._keys: set[tuple[int, int]] | None = None
        self._flushed_at = time.monotonic()
        self._whole: set[Path] = set()
        self._cost = self._cost_written = SamplingStats()

    def count(self, cost: SamplingStats) -> None:
        """Record what this process has spent on sampling so far, for the next part."""
        self._cost = cost

    def stored_cost(self) -> SamplingStats:
        """Return what sampling the responses on disk cost, over all processes that wrote them."""
        total = SamplingStats()
        for part in self._parts():
            metadata = pq.read_schema(part).metadata or {}
            if _STATS in metadata:
                total += SamplingStats(**json.loads(metadata[_STATS]))
        return total

    def append(self, rollout: Rollout, verdict: Verdict) -> None:
        """Add one response; a (query, trial) that is there already is a bug and raises `ValueError`."""
        if self._keys is None:
            table = self._table(["query", "trial"])
            self._keys = set(zip(_column(table, "query"), _column(table, "trial"), strict=True))
        key = (rollout.query, rollout.trial)
        if key in self._keys:
            raise ValueError(f"{self._folder}: trial {key[1]} of query {key[0]} is in the log already")
        self._keys.add(key)
        self._held.append((rollout, verdict))
        due = time.monotonic() - self._flushed_at >= self._flush_seconds
        if due or len(self._held) >= self._flush_responses:
            self.flush()

    def flush(self) -> None:
        """Write the held responses as the next part; nothing when there are none."""
        self._flushed_at = time.monotonic()
        if not self._held:
            return
        parts = self._parts()
        number = int(parts[-1].stem.split("-")[1]) + 1 if parts else 0
        spent = json.dumps(dataclasses.asdict(self._cost - self._cost_written))
        table = self._to_table(self._held).replace_schema_metadata({_STATS: spent})
        self._whole.add(write_named_parquet(self._folder, f"part-{number:06d}", table))
        self._held, self._cost_written = [], self._cost

    def __enter__(self) -> ResponseLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()

    def __len__(self) -> int:
        """Return the number of responses, the held ones included."""
        rows: int = sum(pq.read_metadata(p).num_rows for p in self._parts()) + len(self._held)
        return rows

    def stored(self) -> dict[tuple[int, int], tuple[Rollout, Verdict]]:
        """Return (query, trial) → response and verdict, as appended: all that is on disk or held."""
        table = self._table()
        columns = [_column(table, name) for name in ("verdict", "extracted", "reason")]
        verdicts = [Verdict(VerdictKind(kind), *rest) for kind, *rest in zip(*columns, strict=True)]
        return {(r.query, r.trial): (r, v) for r, v in zip(rollouts_of(table), verdicts, strict=True)}

    def responses(self) -> Responses:
        """Return all responses in columns, ordered by query and trial, whatever the order of arrival."""
        table = self._table([name for name in _SCHEMA.names if name != "tokens"])
        query, trial = _numbers(table, "query"), _numbers(table, "trial")
        order = np.lexsort((trial, query))
        # A signal between a part's rename and the emptying of the buffer leaves its rows in two parts.
        again = (np.diff(query[order], prepend=-1) == 0) & (np.diff(trial[order], prepend=-1) == 0)
        table = table.take(pa.array(order[~again]))
        return Responses(
            query=_numbers(table, "query"),
            round=_numbers(table, "round"),
            trial=_numbers(table, "trial"),
            kind=_numbers(table, "kind"),
            verdict=np.array([_VERDICTS[v] for v in _column(table, "verdict")], np.int8),
            length=_numbers(table, "length"),
            finish=np.array([_FINISHES[v] for v in _column(table, "finish_reason")], np.int8),
            text=_objects(_column(table, "text")),
            extracted=_objects(_column(table, "extracted")),
            logprob=_numbers(table, "logprob").astype(np.float32),
            entropy=_numbers(table, "entropy").astype(np.float32),
        )

    def _parts(self) -> list[Path]:
        """Return the parts in order, each found whole by the digest in its name."""
        parts = sorted(self._folder.glob("part-*.parquet"))
        for part in parts:
            if part not in self._whole and name_matches(part) is False:
                raise UserError(
                    f"{part}: damaged (its content is not what its name says); run the same command, which "
                    "says what to do"
                )
        self._whole.update(parts)
        return parts

    def _table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return what is on disk and held, as one table of `columns` (None: all)."""
        names = list(columns or _SCHEMA.names)
        schema = pa.schema([_SCHEMA.field(name) for name in names])
        tables = [schema.empty_table(), self._to_table(self._held).select(names)]
        for part in self._parts():
            try:
                tables.insert(-1, pq.read_table(part, columns=names, partitioning=None).cast(schema))
            except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
                raise UserError(
                    f"{part}: not a readable part of responses ({error}); delete it and run the same "
                    "command, which samples its responses again"
                ) from error
        return pa.concat_tables(tables)

    def _to_table(self, rows: Sequence[tuple[Rollout, Verdict]]) -> pa.Table:
        columns: dict[str, list[Any]] = {
            **rollout_columns([rollout for rollout, _ in rows]),
            "round": [self._round] * len(rows),
            "length": [len(r.tokens) for r, _ in rows],
            "verdict": [str(v.kind) for _, v in rows],
            "extracted": [None if v.extracted is None else writable(v.extracted) for _, v in rows],
            "reason": [writable(v.reason) for _, v in rows],
        }
        return pa.table(columns, schema=_SCHEMA)


def _column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = table.column(name).to_numpy()
    return values


def _objects(values: Sequence[object]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
