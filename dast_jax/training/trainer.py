"""Train a policy on a round's examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from dast_jax.data.packing import PackedRows, pack
from dast_jax.errors import UserError
from dast_jax.models.llama import Graph, Params
from dast_jax.records import SFTExample
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.options import TrainingOptions
from dast_jax.training.stage import OnStep, TrainResult, TrainStats, common_stats, train_rows
from dast_jax.training.step import SFTObjective

__all__ = ["OnStep", "TrainResult", "TrainStats", "train"]


def train(
    graphdef: Graph,
    params: Params,
    examples: Sequence[SFTExample],
    *,
    options: TrainingOptions,
    seed: int,
    pad_id: int,
    mesh: Mesh | None = None,
    checkpoints: TrainCheckpoints | None = None,
    on_step: OnStep | None = None,
    donate: bool = False,
    frozen: Params | None = None,
) -> TrainResult:
    """Fine-tune `params` on `examples` for `options.epochs`, at most `max_steps`; return the new parameters.

    A deterministic function of its arguments: the same examples and seed give the same batches, with a
    fresh optimizer state and schedule. With `checkpoints`, an interrupted stage resumes from its
    last checkpoint and ends with the same bits; the caller removes them once the result is safe. `params`
    stay valid unless `donate`. Where they are adapters, `frozen` are the model's other parameters.

    Raises `UserError` when there is nothing to train on; `DivergedError` when a loss or gradient is not
    finite, with the state before that step as the last checkpoint. An `InterruptedRunError` raised by
    `on_step` propagates after a checkpoint.
    """
    rows = pack(examples, options.sequence_length, pad_id=pad_id, seed=seed)
    if not len(rows):
        raise UserError(
            f"there is nothing to train on: {len(examples)} examples, {len(rows.skipped)} of them longer "
            f"than training.sequence_length={options.sequence_length}"
        )
    params, progress = train_rows(
        graphdef,
        params,
        rows,
        objective=SFTObjective(head_chunk=options.head_chunk),
        identity=_identity(rows, options, seed),
        options=options,
        seed=seed,
        mesh=mesh,
        checkpoints=checkpoints,
        on_step=on_step,
        donate=donate,
        frozen=frozen,
    )
    return TrainResult(
        params=params, stats=TrainStats(**common_stats(rows, progress, options, seed, len(examples)))
    )


def _identity(rows: PackedRows, options: TrainingOptions, seed: int) -> str:
    """Return a digest of what decides the batches: checkpoints of another stage do not match it."""
    digest = hashlib.sha256()
    shape = [
        "sft",
        seed,
        options.epochs,
        options.max_steps,
        options.batch_size,
        options.sequence_length,
        rows.pad_id,
        len(rows.examples),
    ]
    digest.update(json.dumps(shape).encode())
    for example in rows.examples:
        digest.update(np.array([len(example.prompt), *example.prompt, *example.response], np.int32).tobytes())
    return digest.hexdigest()
