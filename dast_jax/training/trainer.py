"""Trains a policy on a round's examples."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dast_jax.data.packing import PackedRows, batches, pack, steps_per_epoch
from dast_jax.errors import DivergedError, InterruptedRunError, UserError
from dast_jax.records import SFTExample
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.optimizer import learning_rate
from dast_jax.training.options import TrainingOptions
from dast_jax.training.step import init_optimizer, make_train_step, put_batch

__all__ = ["OnStep", "TrainResult", "TrainStats", "train"]

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, steps in all, metrics): loss, accuracy, tokens, grad_norm, learning_rate."""


@dataclass(frozen=True, kw_only=True)
class TrainStats:
    """What a training stage did.

    `examples` were trained on, `skipped` (indices) were longer than a row; `tokens` counts input
    tokens over all epochs, `padded_tokens` the same with padding, `response_tokens` those with weight.
    `final_loss` is the last step's loss and `mean_loss` the mean over all steps, in nats per response
    token; `accuracy` is the share of response tokens predicted right under teacher forcing, averaged
    over the steps (AdaSTaR's alpha, arXiv 2505.16322).
    """

    examples: int
    skipped: tuple[int, ...]
    rows: int
    steps: int
    tokens: int
    padded_tokens: int
    response_tokens: int
    final_loss: float
    mean_loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The trained parameters (sharded as they came) and the stage's statistics."""

    params: Any
    stats: TrainStats


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """Host-side state between steps; saved beside the arrays."""

    step: int = 0
    iterator: dict[str, Any] | None = None
    final_loss: float = float("nan")
    loss_sum: float = 0.0
    accuracy_sum: float = 0.0
    seconds: float = 0.0


def train(
    graphdef: nnx.GraphDef,
    params: Any,
    examples: Sequence[SFTExample],
    *,
    options: TrainingOptions,
    seed: int,
    pad_id: int,
    mesh: Mesh | None = None,
    checkpoints: TrainCheckpoints | None = None,
    on_step: OnStep | None = None,
    donate: bool = False,
) -> TrainResult:
    """Fine-tunes `params` on `examples` for `options.epochs` and returns the new parameters.

    A deterministic function of its arguments: the same examples and seed give the same batches, with a
    fresh optimizer state and schedule. With `checkpoints`, a stage that was cut short goes on from its
    last checkpoint and ends in the same bits; the caller removes them once the result is safe. `params`
    stay valid unless `donate`.

    Raises UserError when there is nothing to train on; DivergedError when a loss or gradient is not
    finite, with the state before that step as the last checkpoint. An InterruptedRunError raised by
    `on_step` passes through after a checkpoint.
    """
    rows = pack(examples, options.sequence_length, pad_id=pad_id, seed=seed)
    if not len(rows):
        raise UserError(
            f"there is nothing to train on: {len(examples)} examples, {len(rows.skipped)} of them longer "
            f"than training.sequence_length={options.sequence_length}."
        )
    identity = _identity(rows, options, seed)

    def save(state: tuple[Any, Any], progress: _Progress, now: bool) -> None:
        if checkpoints is not None and (now or checkpoints.due()):
            checkpoints.save(progress.step, state, {"identity": identity, "progress": asdict(progress)})

    with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
        opt_state = init_optimizer(options, params, mesh)
        progress = _Progress()
        restored = None if checkpoints is None else checkpoints.restore((params, opt_state))
        if restored is not None and restored[1]["identity"] == identity:
            params, opt_state = restored[0]
            progress = _Progress(**restored[1]["progress"])
            log.info("training goes on after step %d", progress.step)
        else:
            if restored is not None:
                log.warning("the training checkpoint belongs to other examples or options: starting afresh")
            if not donate:
                params = jax.tree.map(jnp.copy, params)
        params, progress = _run(
            graphdef, (params, opt_state), progress, rows,
            options=options, seed=seed, mesh=mesh, save=save, on_step=on_step,
        )  # fmt: skip
    steps = progress.step
    stats = TrainStats(
        examples=len(examples) - len(rows.skipped),
        skipped=rows.skipped,
        rows=len(rows),
        steps=steps,
        tokens=options.epochs * rows.tokens,
        padded_tokens=steps * options.batch_size * options.sequence_length,
        response_tokens=options.epochs * rows.response_tokens,
        final_loss=progress.final_loss,
        mean_loss=progress.loss_sum / steps,
        accuracy=progress.accuracy_sum / steps,
        seconds=progress.seconds,
    )
    return TrainResult(params=params, stats=stats)


def _identity(rows: PackedRows, options: TrainingOptions, seed: int) -> str:
    """A digest of what decides the sequence of batches: checkpoints of another stage do not match it."""
    digest = hashlib.sha256()
    shape = [
        seed,
        options.epochs,
        options.batch_size,
        options.sequence_length,
        rows.pad_id,
        len(rows.examples),
    ]
    digest.update(json.dumps(shape).encode())
    for example in rows.examples:
        digest.update(np.array([len(example.prompt), *example.prompt, *example.response], np.int32).tobytes())
    return digest.hexdigest()


def _run(
    graphdef: nnx.GraphDef,
    state: tuple[Any, Any],
    progress: _Progress,
    rows: PackedRows,
    *,
    options: TrainingOptions,
    seed: int,
    mesh: Mesh | None,
    save: Callable[[tuple[Any, Any], _Progress, bool], None],
    on_step: OnStep | None,
) -> tuple[Any, _Progress]:
    """The steps that are left. `save` is offered the state after each, and told when it must keep it."""
    total = options.epochs * steps_per_epoch(rows, options.batch_size)
    iterator = batches(rows, batch_size=options.batch_size, epochs=options.epochs, seed=seed)
    if progress.iterator is not None:
        iterator.set_state(progress.iterator)
    step = make_train_step(graphdef, options, mesh)
    started = time.monotonic() - progress.seconds
    for index in range(progress.step, total):
        batch = put_batch(next(iterator), options, mesh)
        rate = learning_rate(options, index, total)
        *new, metrics = step(*state, batch, np.float32(rate))
        state = (new[0], new[1])
        values = {name: value.item() for name, value in jax.device_get(metrics)._asdict().items()}
        if not values.pop("finite"):
            save(state, progress, True)
            raise DivergedError(
                f"training diverged at step {index + 1} of {total}: loss {values['loss']}, gradient norm "
                f"{values['grad_norm']}; the policy before that step is kept. Lower training.learning_rate."
            )
        progress = _Progress(
            step=index + 1,
            iterator=iterator.get_state(),
            final_loss=values["loss"],
            loss_sum=progress.loss_sum + values["loss"],
            accuracy_sum=progress.accuracy_sum + values["accuracy"],
            seconds=time.monotonic() - started,
        )
        try:
            if on_step is not None:
                on_step(index + 1, total, {**values, "learning_rate": rate})
        except InterruptedRunError:
            save(state, progress, True)
            raise
        save(state, progress, False)
    return state[0], progress
