"""Responses of a model to prompts, by the package's sampler."""

from __future__ import annotations

from collections.abc import Sequence

from dast_jax.records import Rollout, StageKey
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import StaticRequests, sample

__all__ = ["Decoder"]


class Decoder:
    """Samples up to 160 tokens behind prompts of up to 896; a response ends at a blank line."""

    def __init__(self, graphdef, params, tokenizer, *, temperature: float = 0.0, slots: int = 64):
        self.tokenizer = tokenizer
        options = SamplingOptions(
            temperature=temperature,
            max_new_tokens=160,
            stop=("\n\n",),
            prompt_buckets=(64, 640, 896),
            slots=slots,
            tick_steps=16,
            prefill_batch=8,
        )
        self.engine = Engine(graphdef, params, tokenizer=tokenizer, options=options)

    def __call__(self, prompts: Sequence[str], *, trials: int = 1, seed: int = 0) -> list[list[Rollout]]:
        """Return the responses, [prompt][trial]."""
        requests = StaticRequests([self.tokenizer.encode(p) for p in prompts], trials=trials)
        sample(self.engine, requests, key=StageKey(seed, 0))
        return requests.rollouts
