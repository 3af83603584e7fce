"""The training stage of a round: from a method's training set, of either kind, to the next policy."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import jax
import numpy as np

from dast_jax.data.fitting import named_ids
from dast_jax.data.prompts import PromptBuilder
from dast_jax.loop.context import Context
from dast_jax.loop.device_use import measure_use
from dast_jax.loop.lead import tell_scoring, tell_training, training_folder
from dast_jax.loop.policy import BASE, Policy
from dast_jax.loop.stages import Written
from dast_jax.methods.base import Method
from dast_jax.methods.lookup import trains_on
from dast_jax.metrics.flops import Flops, scoring_flops, training_flops
from dast_jax.metrics.speed import Speed, training_speed
from dast_jax.models.target import compiles_ahead
from dast_jax.records import PreferencePair, PreferenceSet, SFTExample, TrainingSet
from dast_jax.runtime.ahead import wait_for
from dast_jax.runtime.progress import progress_of
from dast_jax.store.results import PreferenceResult, TrainedResult, TrainingResult
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import (
    PreferenceStats,
    needs_reference,
    reference_logprobs,
    train_preferences,
)
from dast_jax.training.stage import TrainStats
from dast_jax.training.step import batch_shapes, make_train_step, optimizer_shapes
from dast_jax.training.trainer import train as train_examples

__all__ = ["compile_ahead", "train", "written"]

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, Mapping[str, float]], None]


def train(context: Context, method: Method, round: int) -> TrainedResult:
    """Train on the round's set, from the last policy or from M_0, and keep the result.

    It is durable when `Policy.wait` has returned.
    """
    training_set = context.store.read_training_set(round)
    if not len(training_set):
        log.warning("round %d: nothing to train on; the policy is unchanged", round)
        context.policy.put(context.policy.trained(round - 1), round)
        return TrainedResult(training=TrainingResult(), flops=Flops())
    options = _options(context.config.training, method)
    start = BASE if options.start == "restart" else round - 1
    with progress_of(context.on_progress, f"round {round}: training") as update:

        def on_step(step: int, total: int, metrics: Mapping[str, float]) -> None:
            update(step, total=total, info=f"loss {metrics['loss']:.3f}")
            context.store.log_metrics("train", round=round, step=step, **metrics)
            if context.profile:
                context.profile.step("train")

        update(0, info="compiling")  # until the first step has run
        trained = _learn(context, options, round, training_set, start, on_step)
    if context.profile:
        context.profile.close()
    return trained


def compile_ahead(context: Context, method: Method, executor: Executor) -> None:
    """Have the step of SFT compiled by `executor`, where rounds train on examples, before there are any.

    Not that of preferences, whose rows depend on the lengths of the pairs; nor where an engine would not
    compile ahead.
    """
    policy, options = context.policy, _options(context.config.training, method)
    mesh = policy.mesh
    if not (trains_on(method.options)[0] and compiles_ahead(mesh)):
        return

    def shapes(tree: Any, dtype: Any = None) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype, sharding=x.sharding), tree
        )

    params, frozen = shapes(policy.shapes, np.float32), shapes(policy.frozen)

    def compile_step() -> None:
        with jax.set_mesh(mesh):
            step: Any = make_train_step(policy.graphdef, options, mesh)
            state, batch = optimizer_shapes(options, params, mesh), batch_shapes(options, mesh, pairs=False)
            step.trace(params, state, batch, np.float32(0), frozen).lower().compile()

    context.compiling["step"] = executor.submit(compile_step)


def written(context: Context) -> Written:
    """Return what follows when the policy of a training is durable: its checkpoints are removed."""
    checkpoints = TrainCheckpoints(training_folder(context.store.path))
    return Written(context.policy.wait, checkpoints.clear, context.policy.finish)


def _options(given: TrainingOptions, method: Method) -> TrainingOptions:
    """Return the training options with the method's own choices where the config leaves them to it."""
    return dataclasses.replace(
        given,
        start=method.start if given.start == "method" else given.start,
        preference_loss=method.preference_loss
        if given.preference_loss == "method"
        else given.preference_loss,
    )


def _learn(
    context: Context,
    options: TrainingOptions,
    round: int,
    training_set: TrainingSet | PreferenceSet,
    start: int,
    on_step: OnStep,
) -> TrainedResult:
    """Train the policy after round `start` on the set, and keep it as that of `round`."""
    used = measure_use(context.policy.mesh)
    policy = context.policy
    checkpoints = TrainCheckpoints(
        training_folder(context.store.path),
        seconds=options.checkpoint_seconds,
        grace_seconds=context.config.run.grace_seconds,
    )
    common: dict[str, Any] = {
        "options": options,
        "seed": context.config.run.seed * 1000 + round,
        "pad_id": policy.tokenizer.pad_id,
        "mesh": policy.mesh,
        "checkpoints": checkpoints,
        "on_step": on_step,
        "donate": True,
        "frozen": policy.frozen,
    }
    scoring = Flops()
    if isinstance(training_set, PreferenceSet):
        pairs = _pairs(context, training_set)
        reference, scoring = _reference(context, options, round, pairs, start)
        params = policy.take(start)
        tell_training(pairs, reference, options, common["seed"])
        result = train_preferences(policy.graphdef, params, pairs, reference, **common)
        is_reference = training_set.chosen_is_reference
    else:
        examples = _examples(context, training_set)
        if "step" in context.compiling:
            wait_for(context.compiling.pop("step"))
        params = policy.take(start)
        tell_training(examples, None, options, common["seed"])
        result = train_examples(policy.graphdef, params, examples, **common)
        is_reference = training_set.is_reference
    _warn_of_skipped(context, round, training_set, result.stats.skipped)
    _warn_of_cut(context, round, training_set, result.stats)
    policy.put(result.params, round)
    flops, stats = _flops(policy, result.stats), result.stats
    speed = training_speed(stats, stats.seconds, stats.device_seconds, flops, policy.peak, used())
    return TrainedResult(training=_training_result(stats, is_reference, speed), flops=flops + scoring)


def _flops(policy: Policy, stats: TrainStats) -> Flops:
    return training_flops(policy.trained_parameters, stats, frozen=policy.frozen_parameters)


def _warn_of_skipped(
    context: Context, round: int, training_set: TrainingSet | PreferenceSet, skipped: tuple[int, ...]
) -> None:
    """Name the queries of what was too long to be trained on."""
    if not skipped:
        return
    log.warning(
        "round %d: %d of %d %s left out of training, with more tokens than training.sequence_length=%d; "
        "raise it to train on them: %s",
        round,
        len(skipped),
        len(training_set),
        "pairs" if isinstance(training_set, PreferenceSet) else "examples",
        context.config.training.sequence_length,
        named_ids(context.pool.queries[training_set.query[i]].id for i in skipped),
    )


def _warn_of_cut(
    context: Context, round: int, training_set: TrainingSet | PreferenceSet, stats: TrainStats
) -> None:
    """Log that `training.max_steps` ended the training, and name the queries of what no step used."""
    if stats.steps == stats.planned_steps:
        return
    cut = f"round {round}: training.max_steps={stats.steps} ended the training before its "
    cut += f"{stats.planned_steps} steps"
    if not stats.unseen:
        log.info("%s; each example was used at least once", cut)
        return
    log.warning(
        "%s; %d of %d %s were never used: %s",
        cut,
        len(stats.unseen),
        len(training_set),
        "pairs" if isinstance(training_set, PreferenceSet) else "examples",
        named_ids(context.pool.queries[training_set.query[i]].id for i in stats.unseen),
    )


def _examples(context: Context, training_set: TrainingSet) -> list[SFTExample]:
    """Return the set as tokens: with zero-shot prompts, regardless of the prompts used in sampling."""
    prompts, tokens = _prompts_of(context, training_set.query), context.prompts.response_tokens
    return [
        SFTExample(query=int(q), prompt=prompts[int(q)], response=tokens(text))
        for q, text in zip(training_set.query, training_set.text, strict=True)
    ]


def _pairs(context: Context, training_set: PreferenceSet) -> list[PreferencePair]:
    """Return the pairs as tokens, zero-shot like the examples."""
    prompts, tokens = _prompts_of(context, training_set.query), context.prompts.response_tokens
    columns = training_set.query, training_set.chosen, training_set.rejected
    return [
        PreferencePair(query=int(q), prompt=prompts[int(q)], chosen=tokens(c), rejected=tokens(r))
        for q, c, r in zip(*columns, strict=True)
    ]


def _prompts_of(context: Context, queries: np.ndarray) -> dict[int, tuple[int, ...]]:
    build: PromptBuilder = context.prompts
    return {int(q): build.build(context.pool.queries[q].question, ()) for q in np.unique(queries)}


def _reference(
    context: Context, options: TrainingOptions, round: int, pairs: list[PreferencePair], start: int
) -> tuple[np.ndarray | None, Flops]:
    """Return the log-probabilities of the pairs under the reference policy, and the FLOPs.

    It is the policy that training starts from, or M_0, as `training.reference` says.

    Computed once, stored with the pairs, and read from there when the stage is resumed.
    """
    if not needs_reference(options):
        return None, Flops()
    kept = context.store.read_reference(round)
    if kept is None:
        policy = context.policy
        params = policy.after(BASE if options.reference == "base" else start)
        tell_scoring(pairs, options)
        logprobs, scores = reference_logprobs(
            policy.graphdef,
            params,
            pairs,
            options=options,
            pad_id=policy.tokenizer.pad_id,
            mesh=policy.mesh,
        )
        kept = logprobs, scoring_flops(policy.parameters, scores)
        context.store.write_reference(round, *kept)
    return kept


def _training_result(stats: TrainStats, is_reference: np.ndarray, speed: Speed) -> TrainingResult:
    """Return the statistics as they are stored; `is_reference` bool [m] says what the set's rows are."""
    trained = np.ones(len(is_reference), bool)
    trained[[*stats.skipped, *stats.unseen]] = False
    preference = None
    if isinstance(stats, PreferenceStats):
        preference = PreferenceResult(
            reward_margin=stats.reward_margin,
            reward_accuracy=stats.reward_accuracy,
            chosen_logprob=stats.chosen_logprob,
            rejected_logprob=stats.rejected_logprob,
            kl=stats.kl,
        )
    return TrainingResult(
        examples=stats.examples,
        reference_examples=int(is_reference[trained].sum()),
        skipped=len(stats.skipped),
        unseen=len(stats.unseen),
        rows=stats.rows,
        steps=stats.steps,
        planned_steps=stats.planned_steps,
        tokens=stats.tokens,
        padded_tokens=stats.padded_tokens,
        response_tokens=stats.response_tokens,
        final_loss=stats.final_loss,
        mean_loss=stats.mean_loss,
        accuracy=stats.accuracy,
        seconds=stats.seconds,
        preference=preference,
        speed=speed,
    )
