"""Trials of one policy on disk, found again by their query, trial, prompt and temperature.

A response depends on its own name only (model, sampling options, seed, round, query, trial, prompt,
temperature), so a trial made in one run is the trial of every run that asks for the same. The file belongs to
one policy and one set of sampling options, which its owner identifies by the file's name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dast_jax.records import Rollout, SamplingStats
from dast_jax.store.durable import file_digest, set_aside, write_parquet, write_text
from dast_jax.store.rollouts import ROLLOUT_FIELDS, rollout_columns, rollouts_of

__all__ = ["CachedTrial", "TrialCache", "TrialKey", "trial_key"]

log = logging.getLogger(__name__)

TrialKey = tuple[int, int, str, float | None]
"""(query, trial, digest of the prompt, temperature or None for the configured one)"""

_SCHEMA = pa.schema(
    [*ROLLOUT_FIELDS, ("prompt", pa.string()), ("temperature", pa.float64()), ("batch", pa.int32())]
)
_COSTS = b"batch_costs"
"""Key of the file's metadata: what sampling each batch cost, as a JSON list."""


def trial_key(query: int, trial: int, prompt: Sequence[int], temperature: float | None) -> TrialKey:
    """Return the key of a trial, by the token ids of its prompt."""
    digest = hashlib.sha256(np.asarray(prompt, np.int32).tobytes()).hexdigest()
    return query, trial, digest, temperature


class CachedTrial(NamedTuple):
    """A trial, and the number of the batch that it was sampled with."""

    rollout: Rollout
    batch: int


class TrialCache:
    """Trials in memory and, after `save`, in the Parquet file `path`.

    Trials that were sampled together form a batch with its sampling cost. Of two trials with the same key the
    first one put is kept.
    """

    def __init__(self, path: Path):
        self._path = path
        self._trials: dict[TrialKey, CachedTrial] = {}
        self._costs: list[SamplingStats] = []
        self._tokens: list[int] = []  # of all trials in each batch
        self._changed = False
        if path.exists():
            self._load_whole()

    def __len__(self) -> int:
        return len(self._trials)

    def get(self, key: TrialKey) -> CachedTrial | None:
        """Return the trial, or None where it has not been sampled yet."""
        return self._trials.get(key)

    def put_batch(self, trials: Iterable[tuple[TrialKey, Rollout]], cost: SamplingStats) -> None:
        """Put trials that were sampled together at `cost`; in memory until `save`."""
        batch = len(self._costs)
        new = {key: CachedTrial(rollout, batch) for key, rollout in trials if key not in self._trials}
        if new:
            self._trials |= new
            self._costs.append(cost)
            self._tokens.append(sum(len(trial.rollout.tokens) for trial in new.values()))
            self._changed = True

    def cost_of(self, tokens: Mapping[int, int]) -> SamplingStats:
        """Return what sampling `tokens` response tokens of each batch cost: their share of its cost."""
        total = SamplingStats()
        for batch, count in tokens.items():
            total += _share(self._costs[batch], count, self._tokens[batch])
        return total

    def save(self) -> None:
        """Write all trials, atomically; write nothing where nothing is new."""
        if not self._changed:
            return
        columns = {
            **rollout_columns([trial.rollout for trial in self._trials.values()]),
            "prompt": [digest for _, _, digest, _ in self._trials],
            "temperature": [temperature for *_, temperature in self._trials],
            "batch": [trial.batch for trial in self._trials.values()],
        }
        costs = json.dumps([dataclasses.asdict(cost) for cost in self._costs])
        table = pa.table(columns, schema=_SCHEMA).replace_schema_metadata({_COSTS: costs})
        write_parquet(self._path, table)
        write_text(_digest_path(self._path), file_digest(self._path) + "\n")
        self._changed = False

    def _load_whole(self) -> None:
        """Load the file, unless it is damaged: then its trials are sampled again."""
        try:
            whole = _digest_path(self._path).read_text(encoding="utf-8").strip() == file_digest(self._path)
        except (OSError, UnicodeDecodeError):
            whole = False
        if whole:
            self._load()
        else:
            log.warning("%s: damaged; its trials are sampled again", self._path)
            set_aside(self._path)

    def _load(self) -> None:
        table = pq.read_table(self._path, partitioning=None)
        costs = json.loads((table.schema.metadata or {})[_COSTS])
        self._costs = [SamplingStats(**cost) for cost in costs]
        self._tokens = [0] * len(costs)
        columns = (table.column(name).to_pylist() for name in ("prompt", "temperature", "batch"))
        for rollout, digest, temperature, batch in zip(rollouts_of(table), *columns, strict=True):
            key = rollout.query, rollout.trial, digest, temperature
            self._trials[key] = CachedTrial(rollout, batch)
            self._tokens[batch] += len(rollout.tokens)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _share(cost: SamplingStats, part: int, whole: int) -> SamplingStats:
    """Return `part`/`whole` of the tokens, prompts, steps and time of `cost`, counts in whole numbers."""
    counts = (
        "prompts",
        "prompt_tokens",
        "padded_prompt_tokens",
        "generated_tokens",
        "slot_steps",
        "used_slot_steps",
        "decode_steps",
    )
    share = part / whole
    return SamplingStats(
        **{name: round(getattr(cost, name) * share) for name in counts},
        seconds=cost.seconds * share,
        device_seconds=cost.device_seconds * share,
    )
