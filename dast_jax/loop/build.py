"""The start of a round and its training set: the method's state, and its choice among the responses."""

from __future__ import annotations

import logging

from dast_jax.estimators.levels import DEFAULT_CUTS, level_shares
from dast_jax.loop.analysis import analyze
from dast_jax.loop.context import Context
from dast_jax.methods.base import Method, RoundStart, restore, state_of
from dast_jax.records import PreferenceSet, Responses, TrainingSet
from dast_jax.store.results import BuildResult, LevelShares, TrainedResult
from dast_jax.store.run_store import RunStore

__all__ = ["begin", "build"]

log = logging.getLogger(__name__)


def begin(context: Context, method: Method, round: int) -> Responses:
    """Put the method into the state in which `round` continues; return earlier responses that count in it.

    Where the round's training set is built already, the method is left as that stage left it, and nothing is
    carried.
    """
    store = context.store
    if store.is_done(f"{round:02d}/build"):
        restore(method, store.read_arrays(_state_path(round)))
        return Responses.none()
    if round:
        restore(method, store.read_arrays(_state_path(round - 1)))
    return method.begin(
        RoundStart(
            number=round,
            history=lambda earlier: store.response_log(earlier).responses(),
            accuracy=_training_accuracy(store, round - 1) if round else None,
        )
    )


def build(context: Context, method: Method, round: int, carried: Responses) -> BuildResult:
    """Let the method make the round's training set, and store it with the method's state."""
    store, pool = context.store, context.pool
    own = store.response_log(round).responses()
    responses = Responses.concatenate([carried, own])
    training_set = method.training_set(responses)
    if len(responses) and not responses.correct.any():
        log.warning(
            "round %d: none of %d responses was correct; the round trains on %s",
            round,
            len(responses),
            _what_is_left(training_set),
        )
    store.write_training_set(round, pool, training_set)
    store.write_arrays(_state_path(round), state_of(method))
    levels = method.levels
    table, analysis = analyze(
        pool,
        [store.read_difficulty(earlier) for earlier in range(round)],
        own,
        training_set,
        levels,
        cuts=getattr(method.options, "cuts", DEFAULT_CUTS),
        by_pass_rate=getattr(method.options, "estimator", "sampled") == "sampled",
        steps=context.config.verifier.steps,
    )
    store.write_difficulty(round, pool, table)
    shares = None
    if levels is not None:
        shares = LevelShares(before=level_shares(levels), after=level_shares(levels, training_set.query))
    return BuildResult(
        level_shares=shares,
        shortfall=dict(training_set.shortfall),
        method=dict(method.facts),
        analysis=analysis,
    )


def _training_accuracy(store: RunStore, round: int) -> float:
    """Return the share of response tokens predicted correctly in a round's training; 0 without any."""
    trained = store.result(f"{round:02d}/train", TrainedResult)
    return trained.training.accuracy or 0.0 if trained else 0.0


def _state_path(round: int) -> str:
    return f"rounds/{round:02d}/method.npz"


def _what_is_left(training_set: TrainingSet | PreferenceSet) -> str:
    """Return what a round without a correct response trains on, in words."""
    if not len(training_set):
        return "nothing"
    pairs = isinstance(training_set, PreferenceSet)
    return f"{'pairs with ' if pairs else ''}reference solutions alone"
