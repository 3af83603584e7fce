"""The sampling stage of a round: a method's requests are sampled, verified and logged."""

from __future__ import annotations

import logging

import numpy as np

from dast_jax.loop.context import COLLECT, Context, rest, stage_key
from dast_jax.loop.device_use import measure_use
from dast_jax.loop.round_requests import RoundRequests
from dast_jax.methods.base import Method
from dast_jax.metrics.flops import sampling_flops
from dast_jax.metrics.speed import Speed, sampling_speed
from dast_jax.metrics.stats import mean_entropy
from dast_jax.records import LEVELS, FinishReason, Responses, SamplingStats, VerdictKind
from dast_jax.runtime.progress import progress_of
from dast_jax.store.results import SampledResult, SamplingResult

__all__ = ["collect"]

log = logging.getLogger(__name__)


def collect(context: Context, method: Method, round: int, carried: Responses) -> SampledResult:
    """Collect the round's verified responses, sampled from the previous round's policy."""
    shortened_before = context.prompts.shortened
    used = measure_use(context.policy.sampling_mesh)
    requests, cost = _sample(context, method, round, carried)
    shortened = context.prompts.shortened - shortened_before
    _warn(context, round, shortened, requests)
    responses = context.store.response_log(round).responses()
    notes = {"shortened_prompts": shortened, "hints_left_out": requests.hints_left_out}
    flops = sampling_flops(context.policy.parameters, cost)
    speed = sampling_speed(cost, flops, context.policy.sampling_bytes, context.policy.peak, used())
    return SampledResult(sampling=_sampling_result(responses, method.levels, notes, speed), flops=flops)


def _sample(
    context: Context, method: Method, round: int, carried: Responses
) -> tuple[RoundRequests, SamplingStats]:
    """Serve the method's requests; return them and what sampling cost, before an interruption included."""
    context.sampler.set_params(context.policy.for_sampling(round - 1))
    with (
        context.store.response_log(round) as responses,
        progress_of(context.on_progress, f"round {round}: sampling") as update,
    ):
        before = responses.stored_cost()
        requests = RoundRequests(
            method=method,
            pool=context.pool,
            carried=carried,
            build_prompt=context.prompts.build,
            own_exemplars=context.exemplars,
            verifier=context.verifier,
            log=responses,
            round=round,
        )

        def on_tick(cost: SamplingStats) -> None:
            responses.count(cost)
            requested, finished, correct = requests.counts
            update(finished, total=requested, info=f"{correct} correct")
            if context.profile:
                context.profile.step("sample")

        context.sampler.on_compile = lambda text: update(requests.counts[1], info=text)
        key = stage_key(context.config.run.seed, round, COLLECT)
        cost = context.sample(context.sampler, requests, key=key, progress=on_tick)
        context.sampler.on_compile = None
        requested, finished, correct = requests.counts
        update(finished, total=requested, info=f"{correct} correct")
    if context.profile:
        context.profile.close()
    rest(context.sampler)
    return requests, before + cost


def _warn(context: Context, round: int, shortened: int, requests: RoundRequests) -> None:
    if shortened:
        log.warning(
            "round %d: %d prompts show fewer exemplars than configured, to fit sampling.prompt_buckets",
            round,
            shortened,
        )
    if requests.hints_left_out:
        message = "round %d: %d hints omitted, to fit sampling.prompt_buckets"
        log.warning(message, round, requests.hints_left_out)
    if requests.short_of_exemplars:
        log.warning(
            "round %d: %d prompts show fewer exemplars than method.exemplars, as %s no more solved problems",
            round,
            requests.short_of_exemplars,
            "prompts.exemplars has" if context.exemplars else "the data have",
        )


def _sampling_result(
    responses: Responses, levels: np.ndarray | None, notes: dict[str, int], speed: Speed
) -> SamplingResult:
    by_verdict = np.bincount(responses.verdict, minlength=len(VerdictKind)).tolist()
    mean_length: dict[str, float | None] = {}
    if levels is not None:
        of_level = levels[responses.query]
        mean_length = {
            name: float(responses.length[of_level == i].mean()) if (of_level == i).any() else None
            for i, name in enumerate(LEVELS)
        }
    return SamplingResult(
        trials=len(responses),
        **dict(zip(map(str, VerdictKind), by_verdict, strict=True)),
        truncated=int((responses.finish == tuple(FinishReason).index(FinishReason.LENGTH)).sum()),
        tokens=int(responses.length.sum()),
        mean_length_by_level=mean_length,
        mean_entropy=mean_entropy(responses.entropy),
        notes=notes,
        speed=speed,
    )
