"""What the runs of a study share: trials of the base model, its evaluation, and compiled samplers.

A response depends on its own name only: model, sampling options, seed, round, query, trial, prompt and
temperature. So a trial that one run made of M_0 in round 0 is the trial of every run that asks for the same,
whatever its method; what is shared changes no result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dast_jax.config import RunConfig, config_dict
from dast_jax.records import FinishReason, Rollout, Verdict, VerdictKind
from dast_jax.store import durable

__all__ = ["Shared", "SharedTrials", "base_fingerprint"]

_OF_ONE_METHOD = ("run", "method", "training", "logging", "profile")
"""Sections that have no influence on what M_0 does, but for `run.seed`."""


def base_fingerprint(config: RunConfig) -> str:
    """Equal for two configs only where the base model's trials and evaluation are the same for both."""
    plain = {name: value for name, value in config_dict(config).items() if name not in _OF_ONE_METHOD}
    text = json.dumps([config.run.seed, durable.plain(plain)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is handed from run to run in one process; `engines` is the session's own book."""

    trials: SharedTrials
    engines: dict[Any, Any] = field(default_factory=dict)


class SharedTrials:
    """Verified trials of M_0 in round 0, in memory and, after `save`, in the Parquet file `path`.

    Of a (query, trial) with the same prompt and temperature the first one kept stays.
    """

    def __init__(self, path: Path):
        self._path = path
        self._found: dict[tuple[int, int, str, float | None], tuple[Rollout, Verdict]] = {}
        self._unsaved = False
        if path.exists():
            self._load()

    def __len__(self) -> int:
        return len(self._found)

    def find(
        self, query: int, trial: int, prompt: Sequence[int], temperature: float | None
    ) -> tuple[Rollout, Verdict] | None:
        """The trial and its verdict, or None where nobody has made it yet."""
        if not self._found:
            return None
        return self._found.get((query, trial, _digest(prompt), temperature))

    def keep(
        self, rollout: Rollout, verdict: Verdict, prompt: Sequence[int], temperature: float | None
    ) -> None:
        """Keep a trial for the runs to come; in memory until `save`."""
        key = (rollout.query, rollout.trial, _digest(prompt), temperature)
        if key not in self._found:
            self._found[key] = (rollout, verdict)
            self._unsaved = True

    def save(self) -> None:
        """Write everything kept, atomically; nothing where nothing is new."""
        if not self._unsaved:
            return
        rows = [
            {
                "prompt": digest,
                "temperature": temperature,
                **{f.name: getattr(rollout, f.name) for f in dataclasses.fields(Rollout)},
                "finish_reason": str(rollout.finish_reason),
                "tokens": list(rollout.tokens),
                "verdict": str(verdict.kind),
                "extracted": verdict.extracted,
                "reason": verdict.reason,
            }
            for (_, _, digest, temperature), (rollout, verdict) in self._found.items()
        ]
        durable.write_parquet(self._path, pa.Table.from_pylist(rows, schema=_SCHEMA))
        self._unsaved = False

    def _load(self) -> None:
        for row in pq.read_table(self._path, partitioning=None).to_pylist():
            verdict = Verdict(VerdictKind(row.pop("verdict")), row.pop("extracted"), row.pop("reason"))
            digest, temperature = row.pop("prompt"), row.pop("temperature")
            row["tokens"] = tuple(row["tokens"])
            row["finish_reason"] = FinishReason(row["finish_reason"])
            rollout = Rollout(**row)
            self._found[rollout.query, rollout.trial, digest, temperature] = (rollout, verdict)


_SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("temperature", pa.float64()),
        ("query", pa.int32()),
        ("trial", pa.int32()),
        ("kind", pa.int8()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("logprob", pa.float64()),
        ("entropy", pa.float64()),
        ("finish_reason", pa.string()),
        ("verdict", pa.string()),
        ("extracted", pa.string()),
        ("reason", pa.string()),
    ]
)


def _digest(prompt: Sequence[int]) -> str:
    return hashlib.sha256(np.asarray(prompt, np.int32).tobytes()).hexdigest()
