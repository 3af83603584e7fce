"""Responses of a model to prompts."""

from __future__ import annotations

from collections.abc import Sequence

from dast_jax.errors import UserError
from dast_jax.inference.open_model import open_model
from dast_jax.inference.options import SampleOptions
from dast_jax.inference.prompt_files import too_long
from dast_jax.inference.prompts import Messages, Prompt, SampledResponse, SampledResponses, prompts_of
from dast_jax.models.tokenizer import Tokenizer
from dast_jax.records import Rollout, StageKey
from dast_jax.runtime.progress import OnProgress, progress_of, silent
from dast_jax.sampling.scheduler import StaticRequests, sample

__all__ = ["sample_prompts"]


def sample_prompts(
    prompts: Sequence[str | Messages | Prompt],
    options: SampleOptions,
    *,
    source: str = "prompts",
    on_progress: OnProgress = silent,
) -> SampledResponses:
    """Sample `options.sampling.trials` responses to every prompt that fits.

    A prompt is a text to continue, chat messages, or a `Prompt`. A response's noise follows from its prompt's
    position among all prompts, so skipped ones do not change the others' responses. `source` names the
    prompts in messages. Raises `UserError` for a model that cannot be used, for chat messages without a chat
    template, and where no prompt fits.
    """
    rows = prompts_of(prompts)
    with open_model(options.model, options.mesh, options.sampling) as model:
        encoded = [_encode(prompt, model.tokenizer, source) for prompt in rows]
        fits = [0 < len(tokens) <= model.engine.max_prompt_length for tokens in encoded]
        skipped = tuple(prompt for prompt, fit in zip(rows, fits, strict=True) if not fit)
        kept = [i for i, fit in enumerate(fits) if fit]
        if not kept:
            raise UserError(f"{source}: no prompt is left; {too_long(skipped)}")
        trials = options.sampling.trials
        requests = StaticRequests([encoded[i] for i in kept], trials=trials, queries=kept)
        with progress_of(on_progress, "sampling", total=len(kept) * trials) as update:
            model.engine.on_compile = lambda text: update(0, info=text)
            stats = sample(
                model.engine,
                requests,
                key=StageKey(options.seed, 0),
                progress=lambda stats: update(stats.trials, info=""),
            )
    return SampledResponses(
        responses=tuple(
            _response(rows[i], rollout)
            for i, rollouts in zip(kept, requests.rollouts, strict=True)
            for rollout in rollouts
        ),
        skipped=skipped,
        new_tokens=stats.generated_tokens,
        seconds=stats.seconds,
    )


def _encode(prompt: Prompt, tokenizer: Tokenizer, source: str) -> tuple[int, ...]:
    if isinstance(prompt.content, str):
        bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
        return (*bos, *tokenizer.encode(prompt.content))
    try:
        return tuple(tokenizer.chat(prompt.content))
    except UserError as error:
        raise UserError(f"{source} row {prompt.row}: {error}") from None


def _response(prompt: Prompt, rollout: Rollout) -> SampledResponse:
    return SampledResponse(
        id=prompt.id,
        trial=rollout.trial,
        text=rollout.text,
        tokens=tuple(rollout.tokens),
        logprob=rollout.logprob,
        finish_reason=str(rollout.finish_reason),
    )
