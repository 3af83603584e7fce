"""What process 0 of a run on several says to the others, and what they make of it (`loop.follow`).

Every call here does nothing where there is one process.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from dast_jax.config import RunConfig, config_dict
from dast_jax.distributed.group import current, everywhere, tell
from dast_jax.distributed.messages import joined, split
from dast_jax.models.llama import Params
from dast_jax.models.options import ModelOptions
from dast_jax.options import to_dict
from dast_jax.records import PreferencePair, SFTExample, StageKey
from dast_jax.sampling.engine import Engine, TickOutput
from dast_jax.training.options import TrainingOptions

__all__ = [
    "LeadingEngine",
    "agree_on_folder",
    "examples_of",
    "pairs_of",
    "same_keys",
    "sees_mark",
    "tell_embedding",
    "tell_open",
    "tell_scoring",
    "tell_training",
    "training_folder",
]

log = logging.getLogger(__name__)

_OWN = ("distributed", "logging", "verifier", "profile")
"""Sections that may differ between processes, besides `run` but for its seed: each process has its own."""

_MARK = ".process0"
"""Beside the run's lock: by it the others see whether their `run.dir` is that of process 0."""


def same_keys(config: RunConfig) -> dict[str, str]:
    """Return the keys of a config that must be the same on every process, and their values as JSON."""
    keys: dict[str, str] = {}
    plain = config_dict(config)
    for section, values in {**plain, "run": {"seed": plain["run"]["seed"]}}.items():
        if section not in _OWN:
            keys |= {f"{section}.{key}": json.dumps(value, sort_keys=True) for key, value in values.items()}
    return keys


def tell_open(keys: Mapping[str, str], model: ModelOptions, run: Path) -> None:
    """Have the others open the same model, if their config has these keys; ask if they see this folder."""
    if current() is None:
        return
    mark = secrets.token_hex(16)
    (run / _MARK).write_text(mark)
    tell("open", keys=keys, model=to_dict(model), mark=mark)
    if not agree_on_folder(True):
        log.info(
            "the other processes do not see %s: checkpoints go through process 0, whose host needs memory "
            "for a whole state",
            run,
        )


def agree_on_folder(sees: bool) -> bool:
    """Note whether every process sees the folder of process 0; all of them have to call it."""
    group, shares = current(), everywhere(sees)
    if group is not None:
        group.shares_folder = shares
    return shares


def sees_mark(run: Path, mark: str) -> bool:
    """Return whether this process sees the file that process 0 has written into the run's folder."""
    path = run / _MARK
    return path.is_file() and path.read_text() == mark


def training_folder(run: Path) -> Path:
    """Return where the state of a training stage is kept."""
    return run / "checkpoints" / "training"


# --- sampling -----------------------------------------------------------------------------------------


class LeadingEngine(Engine):
    """An engine whose calls the same engine of the other processes repeats."""

    _made = 0

    def __init__(self, *arguments: Any, **keywords: Any):
        """As `Engine`; the others get the options with what was chosen."""
        super().__init__(*arguments, **keywords)
        self._number = LeadingEngine._made
        LeadingEngine._made += 1
        tell("engine", engine=self._number, options=to_dict(self.options))

    def set_params(self, params: Params | None) -> None:
        """As `Engine.set_params`; the others take what `Policy.for_sampling` returned last."""
        tell("set_params", engine=self._number, given=params is not None)
        super().set_params(params)

    def release(self) -> None:
        """As `Engine.release`."""
        tell("release", engine=self._number)
        super().release()

    def start(self, key: StageKey) -> None:
        """As `Engine.start`."""
        tell("start", engine=self._number, key=dataclasses.asdict(key))
        super().start(key)

    def prefill(
        self,
        bucket: int,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        parts: Sequence[int] | None = None,
    ) -> None:
        """As `Engine.prefill`."""
        tokens, lengths = joined(prompts)
        where = {"rows": [int(row) for row in rows], "parts": None if parts is None else [*map(int, parts)]}
        tell("prefill", engine=self._number, bucket=bucket, tokens=tokens, lengths=lengths, **where)
        super().prefill(bucket, prompts, rows, parts)

    def insert(
        self,
        slots: Sequence[int],
        rows: Sequence[int],
        queries: Sequence[int],
        trials: Sequence[int],
        temperatures: Sequence[float | None] | None = None,
    ) -> None:
        """As `Engine.insert`."""
        columns = np.array([slots, rows, queries, trials], np.int32)
        wanted = None if temperatures is None else list(temperatures)
        tell("insert", engine=self._number, columns=columns, temperatures=wanted)
        super().insert(slots, rows, queries, trials, temperatures)

    def decode(self, live: Bool[np.ndarray, " S"]) -> TickOutput:
        """As `Engine.decode`."""
        tell("decode", engine=self._number, live=live)
        return super().decode(live)


# --- training, scoring, embedding ---------------------------------------------------------------------


def tell_training(
    rows: Sequence[SFTExample] | Sequence[PreferencePair],
    reference: np.ndarray | None,
    options: TrainingOptions,
    seed: int,
) -> None:
    """Have the others train what `Policy.take` returned last with these arguments."""
    arguments: dict[str, Any] = {"options": to_dict(options), "seed": seed}
    if reference is not None:
        arguments["reference"] = reference
    tell("train", **arguments, **_columns(rows))


def tell_scoring(pairs: Sequence[PreferencePair], options: TrainingOptions) -> None:
    """Have the others score pairs under what `Policy.after` returned last."""
    tell("score", options=to_dict(options), **_columns(pairs))


def tell_embedding(texts: Sequence[Sequence[int]]) -> None:
    """Have the others embed texts, given as tokens."""
    tokens, lengths = joined(texts)
    tell("embed", tokens=tokens, lengths=lengths)


def _columns(rows: Sequence[SFTExample] | Sequence[PreferencePair]) -> dict[str, Any]:
    columns: dict[str, Any] = {"query": np.array([row.query for row in rows], np.int32)}
    pairs = bool(rows) and isinstance(rows[0], PreferencePair)
    for part in ("prompt", "chosen", "rejected") if pairs else ("prompt", "response"):
        tokens, lengths = joined([getattr(row, part) for row in rows])
        columns |= {part: tokens, f"{part}_lengths": lengths}
    return columns


def _parts(columns: dict[str, Any], *parts: str) -> zip[Any]:
    texts = [split(columns[part], columns[f"{part}_lengths"]) for part in parts]
    return zip(columns["query"].tolist(), *texts, strict=True)


def examples_of(columns: dict[str, Any]) -> list[SFTExample]:
    """Return the examples of a "train" message."""
    return [
        SFTExample(query=query, prompt=prompt, response=response)
        for query, prompt, response in _parts(columns, "prompt", "response")
    ]


def pairs_of(columns: dict[str, Any]) -> list[PreferencePair]:
    """Return the pairs of a "train" or "score" message."""
    return [
        PreferencePair(query=query, prompt=prompt, chosen=chosen, rejected=rejected)
        for query, prompt, chosen, rejected in _parts(columns, "prompt", "chosen", "rejected")
    ]
