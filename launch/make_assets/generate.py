"""A plain batched decoder for the pretraining probes: every prompt at once, until all have ended."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dast_jax.models.cache import extend

__all__ = ["generate"]


@partial(jax.jit, static_argnames=("graphdef", "new", "ends"))
def _generate(graphdef, params, tokens, lengths, key, temperature, *, new: int, ends: tuple[int, ...]):
    model = nnx.merge(graphdef, params)
    batch = tokens.shape[0]
    hidden, cache = model.prefill(tokens, lengths)
    cache = extend(cache, new)

    def choose(hidden, step):
        logits = model.logits(hidden)
        noise = jax.random.gumbel(jax.random.fold_in(key, step), logits.shape)
        return jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)

    def advance(state):
        step, token, cache, out, ended = state
        ended = ended | jnp.isin(token, jnp.array(ends))
        out = out.at[:, step].set(token)
        hidden, cache = model.decode(token, lengths + step, cache)
        return step + 1, jnp.where(ended, ends[0], choose(hidden, step + 1)), cache, out, ended

    def unfinished(state):
        return (state[0] < new) & ~jnp.all(state[4])

    out = jnp.full((batch, new), ends[0], jnp.int32)
    first = (jnp.int32(0), choose(hidden, 0), cache, out, jnp.zeros(batch, bool))
    return jax.lax.while_loop(unfinished, advance, first)[3]


def generate(
    graphdef,
    params,
    prompts: list[list[int]],
    *,
    new: int,
    ends: tuple[int, ...],
    temperature: float = 0.0,
    seed: int = 0,
    bucket: int = 32,
) -> list[list[int]]:
    """Return the new tokens of each prompt, cut before the first of the `ends`; greedy at temperature 0."""
    longest = max(map(len, prompts))
    tokens = np.zeros((len(prompts), -(-longest // bucket) * bucket), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    lengths = np.array([len(p) for p in prompts], np.int32)
    out = np.asarray(
        _generate(
            graphdef,
            params,
            tokens,
            lengths,
            jax.random.key(seed),
            jnp.float32(temperature),
            new=new,
            ends=ends,
        )
    )
    responses = []
    for row in out:
        stops = np.flatnonzero(np.isin(row, ends))
        responses.append(row[: stops[0]].tolist() if len(stops) else row.tolist())
    return responses
