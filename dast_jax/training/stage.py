"""A training stage over packed rows, for any objective: deterministic, guarded, and resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from dast_jax.data.packing import Rows, batches, row_visits, steps_per_epoch
from dast_jax.distributed.group import decide
from dast_jax.errors import DivergedError, EndedError, InterruptedRunError
from dast_jax.models.llama import Graph, Params
from dast_jax.runtime import interruption
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.optimizer import learning_rate
from dast_jax.training.options import TrainingOptions
from dast_jax.training.step import Objective, init_optimizer, make_train_step, put_batch

__all__ = ["OnStep", "Progress", "TrainResult", "TrainStats", "common_stats", "train_rows"]

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(steps done, total steps, metrics): the objective's metrics and `learning_rate`."""


@dataclass(frozen=True, kw_only=True)
class TrainStats:
    """Statistics of a training stage.

    `examples` were trained on, `skipped` (indices) were longer than a row; `unseen` (indices) are in none of
    the `steps`, which are fewer than the `planned_steps` of all epochs where `max_steps` ended them. `tokens`
    counts input tokens over all steps, `padded_tokens` the same with padding, `response_tokens` those with
    weight.
    `final_loss` is the last step's loss and `mean_loss` the mean over all steps, in nats per response
    token (of pairs: per pair); `accuracy` is the share of response tokens (of pairs: of chosen ones)
    predicted correctly under teacher forcing, averaged over the steps (AdaSTaR's alpha, arXiv 2505.16322).
    `seconds` is wall time, `device_seconds` the part of it in the compiled steps.
    """

    examples: int
    skipped: tuple[int, ...]
    unseen: tuple[int, ...]
    rows: int
    steps: int
    planned_steps: int
    tokens: int
    padded_tokens: int
    response_tokens: int
    final_loss: float
    mean_loss: float
    accuracy: float
    seconds: float
    device_seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The trained parameters (sharded as before) and the stage's statistics."""

    params: Params
    stats: TrainStats


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Host-side state between steps, saved with the arrays.

    `sums` adds up each of the objective's metrics over the steps done.
    """

    step: int = 0
    iterator: dict[str, Any] | None = None
    final_loss: float = float("nan")
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    device_seconds: float = 0.0

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the steps done."""
        return self.sums[metric] / self.step


@runtime_checkable
class PackedSet(Rows, Protocol):
    """What a stage trains on: rows, and what they hold."""

    @property
    def skipped(self) -> tuple[int, ...]:
        """Indices of what does not fit into a row."""

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """Indices of what each row holds."""

    @property
    def sizes(self) -> Int[np.ndarray, "rows 2"]:
        """Input tokens of each row without padding, and those of them with weight."""


def train_rows(
    graphdef: Graph,
    params: Params,
    rows: Rows,
    *,
    objective: Objective,
    identity: str,
    options: TrainingOptions,
    seed: int,
    mesh: Mesh | None,
    checkpoints: TrainCheckpoints | None,
    on_step: OnStep | None,
    donate: bool,
    frozen: Params | None = None,
) -> tuple[Params, Progress]:
    """Train for `options.epochs` over `rows`, or `options.max_steps`, with a fresh optimizer and schedule.

    `identity` is a digest of what decides the batches and the objective: a checkpoint with another
    identity is not used. `params` stay valid unless `donate`. Weights kept in bfloat16 are trained in
    float32, where small updates are not lost, and rounded at the end. Where `params` are adapters, `frozen`
    are the model's other parameters: read, in the dtype they are kept in, and neither trained nor saved.
    Returns the new parameters and the progress. Raises as `trainer.train`.
    """

    with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
        dtypes = jax.tree.map(lambda x: x.dtype, params)
        params = jax.tree.map(lambda x: x.astype(jnp.float32), params)  # the same array where it is float32
        opt_state = init_optimizer(options, params, mesh)
        progress = Progress()
        restored = None if checkpoints is None else checkpoints.restore((params, opt_state))
        if restored is not None and restored[1]["identity"] == identity:
            params, opt_state = restored[0]
            progress = Progress(**restored[1]["progress"])
            log.info("training resumes after step %d", progress.step)
        else:
            if restored is not None:
                log.warning("the training checkpoint belongs to other examples or options: starting again")
                assert checkpoints is not None
                checkpoints.clear()  # its later steps would keep this training's first from being saved
            if not donate:
                params = jax.tree.map(jnp.copy, params)
        grace = checkpoints.grace_seconds if checkpoints is not None else 0.0
        after = _AfterStep(on_step, checkpoints)
        with interruption.deferred(grace or None), _Kept(checkpoints, identity) as saved:
            params, progress = _run(
                graphdef, (params, opt_state), progress, rows,
                objective=objective, options=options, seed=seed, mesh=mesh, kept=saved, after=after,
                frozen=frozen,
            )  # fmt: skip
        return jax.tree.map(lambda x, dtype: x.astype(dtype), params, dtypes), progress


def _planned_steps(rows: Rows, options: TrainingOptions) -> int:
    """Return the optimizer steps of all epochs."""
    return options.epochs * steps_per_epoch(rows, options.batch_size)


def common_stats(
    rows: PackedSet, progress: Progress, options: TrainingOptions, seed: int, examples: int
) -> dict[str, Any]:
    """Return the fields of `TrainStats` for a stage that was given this seed and number of examples."""
    visits = row_visits(len(rows), batch_size=options.batch_size, seed=seed, steps=progress.step)
    unseen = tuple(sorted(i for row in np.flatnonzero(visits == 0) for i in rows.members[row]))
    tokens, response_tokens = (visits @ rows.sizes).tolist()
    return {
        "examples": examples - len(rows.skipped) - len(unseen),
        "skipped": rows.skipped,
        "unseen": unseen,
        "rows": len(rows),
        "steps": progress.step,
        "planned_steps": _planned_steps(rows, options),
        "tokens": tokens,
        "padded_tokens": progress.step * options.batch_size * options.sequence_length,
        "response_tokens": response_tokens,
        "final_loss": progress.final_loss,
        "mean_loss": progress.mean("loss"),
        "accuracy": progress.mean("accuracy"),
        "seconds": progress.seconds,
        "device_seconds": progress.device_seconds,
    }


def _run(
    graphdef: Graph,
    state: tuple[Params, Any],
    progress: Progress,
    rows: Rows,
    *,
    objective: Objective,
    options: TrainingOptions,
    seed: int,
    mesh: Mesh | None,
    kept: _Kept,
    after: _AfterStep,
    frozen: Params | None,
) -> tuple[Params, Progress]:
    """Run the remaining steps; `after` says after each whether to save the state, and to stop.

    Returns, or raises, when the last save is durable.
    """
    planned = _planned_steps(rows, options)
    total = min(options.max_steps or planned, planned)
    iterator = batches(rows, batch_size=options.batch_size, epochs=options.epochs, seed=seed)
    if progress.iterator is not None:
        iterator.set_state(progress.iterator)
    step = make_train_step(graphdef, options, mesh, objective)
    started = time.monotonic() - progress.seconds
    for index in range(progress.step, total):
        batch = put_batch(next(iterator), options, mesh)
        rate = learning_rate(options, index, total)
        begun = time.monotonic()
        *new, metrics = step(*state, batch, np.float32(rate), frozen)
        state = (new[0], new[1])
        values = {name: value.item() for name, value in jax.device_get(metrics)._asdict().items()}
        device_seconds = progress.device_seconds + time.monotonic() - begun
        if not values.pop("finite"):
            kept.save(state, progress)
            kept.finish()
            raise DivergedError(
                f"training diverged at step {index + 1} of {total}: loss {values['loss']}, gradient norm "
                f"{values['grad_norm']}; the policy before that step is kept. Lower training.learning_rate, "
                "or for pairs training.preference_learning_rate"
            )
        progress = Progress(
            step=index + 1,
            iterator=iterator.get_state(),
            final_loss=values["loss"],
            sums={name: progress.sums.get(name, 0.0) + value for name, value in values.items()},
            seconds=time.monotonic() - started,
            device_seconds=device_seconds,
        )
        kept.check()
        saves, stops = decide(functools.partial(after, index + 1, total, {**values, "learning_rate": rate}))
        if saves:
            kept.save(state, progress)
        if stops:
            kept.finish()
            interruption.settle()
            after.stop()
    kept.finish()
    return state[0], progress


class _Kept:
    """The checkpoints of one training, if there are any: states with their progress."""

    def __init__(self, checkpoints: TrainCheckpoints | None, identity: str):
        self._checkpoints = checkpoints
        self._identity = identity

    def __enter__(self) -> _Kept:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the save that was begun before an error, unless it may need a process that is gone."""
        if error is not None and jax.process_count() == 1:
            try:
                self.finish()
            except Exception as failure:
                log.error("%s", failure)

    def save(self, state: tuple[Any, Any], progress: Progress) -> None:
        """Begin to save a state, which may then be donated."""
        if self._checkpoints is not None:
            meta = {"identity": self._identity, "progress": dataclasses.asdict(progress)}
            self._checkpoints.save(progress.step, state, meta)

    def check(self) -> None:
        """Raise the error of a save that has failed in the background."""
        if self._checkpoints is not None:
            self._checkpoints.check()

    def finish(self) -> None:
        """Wait until what is being saved is durable."""
        if self._checkpoints is not None:
            self._checkpoints.finish()


class _AfterStep:
    """What follows a step: its report, and whether the state is saved and the training stops."""

    def __init__(self, on_step: OnStep | None, checkpoints: TrainCheckpoints | None):
        self._on_step = on_step
        self._checkpoints = checkpoints
        self._error: BaseException = EndedError(InterruptedRunError.exit_code, "process 0 has stopped")

    def __call__(self, step: int, total: int, metrics: Mapping[str, float]) -> tuple[bool, bool]:
        """Report the step; return whether to save, and whether to stop."""
        waited = interruption.waited() if interruption.pending() else 0.0
        try:
            if self._on_step is not None:
                self._on_step(step, total, metrics)
            interruption.check()
        except (InterruptedRunError, KeyboardInterrupt) as error:
            self._error = error
            return self._in_time(waited, step), True
        return self._checkpoints is not None and self._checkpoints.due(), False

    def stop(self) -> NoReturn:
        """Raise what stops the training."""
        raise self._error

    def _in_time(self, waited: float, step: int) -> bool:
        """Return whether a save, which takes as long as the last one did, fits into the grace period."""
        checkpoints = self._checkpoints
        if checkpoints is None or not checkpoints.grace_seconds:
            return True
        expected = checkpoints.expected_seconds()
        if waited + expected <= checkpoints.grace_seconds:
            return True
        log.warning(
            "stopped after step %d without saving it: a checkpoint takes %.1f s, and %.1f s of "
            "run.grace_seconds=%g have passed; the same command continues from the last checkpoint",
            step,
            expected,
            waited,
            checkpoints.grace_seconds,
        )
        return False
