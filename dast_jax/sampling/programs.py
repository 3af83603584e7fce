"""The functions that the sampler compiles: filling the prompt pool, beginning responses, a tick of decoding.

The noise of a token is a function of (seed, round, stage, query, trial, index of the token in the
response): threefry keys, folded in that order. Every other operation treats slots, prefill rows and pool
rows alike and apart, so a response does not depend on its neighbors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt32

from dast_jax.models.cache import Prompts, Suffixes, Window, append, blocked, empty_window, store_row
from dast_jax.models.decode_attention import Groups, tick_context
from dast_jax.models.llama import Graph, LlamaConfig, Params
from dast_jax.models.sharding import Laid, constrain, locally
from dast_jax.models.target import target_platform
from dast_jax.sampling.filters import Choice, choose
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.state import Pool, Slots, empty_state

__all__ = ["IMPLEMENTATION", "Programs"]

IMPLEMENTATION = "threefry2x32"  # `rbg` noise would depend on which slots are drawn together


@dataclass(frozen=True, kw_only=True, eq=False)
class Programs:
    """What an engine compiles, for one model and fixed options.

    `ends` int32 [E] are the tokens that end a response; `dtype` is that of the cache, of which a mesh splits
    the slots into `shards`.
    """

    graphdef: Graph
    config: LlamaConfig
    dtype: Any
    options: SamplingOptions
    ends: np.ndarray
    shards: int

    def prefill(
        self,
        params: Params,
        pool: Pool,
        tokens: Int[Array, "N b"],
        lengths: Int[Array, " N"],
        rows: Int[Array, " N"],
        counts: Int[Array, " D"],
    ) -> Pool:
        """Return the pool with the first `counts` prompts of each part in rows `rows` of the part."""
        model = nnx.merge(self.graphdef, params)
        hidden, cache = model.prefill(tokens, lengths)
        # Pinned, or the compiler gathers the unembedding of V columns where a row of them is needed whole.
        logits = constrain(model.logits(hidden), "batch", "vocab")
        prompts = blocked(cache, pool.cache.k[0].shape[-1])

        def keep_all(
            cache: Prompts, others: tuple[Array, Array], prompts: Prompts, of_rows: tuple[Array, ...]
        ) -> tuple[Prompts, tuple[Array, Array]]:
            logits, lengths, rows, counts = of_rows

            def keep(i: Int[Array, ""], kept: Pool) -> Pool:
                row = rows[i]
                return Pool(
                    cache=store_row(kept.cache, row, prompts, i),
                    logits=kept.logits.at[row].set(logits[i]),
                    length=kept.length.at[row].set(lengths[i]),
                )

            with jax.named_scope("kept_prompts"):
                pool: Pool = jax.lax.fori_loop(0, counts[0], keep, Pool(cache, *others))
            return pool.cache, (pool.logits, pool.length)

        axes = ("batch", None, "kv_heads")
        of_pool = (pool.logits, pool.length)
        kept, others = locally(
            keep_all,
            (
                Laid(pool.cache, axes),
                Laid(of_pool, ("batch",)),
                Laid(prompts, axes),
                Laid((logits, lengths, rows, counts), ("batch",)),
            ),
            (Laid(pool.cache, axes), Laid(of_pool, ("batch",))),
        )
        return Pool(kept, *others)

    def insert(
        self,
        state: Slots,
        pool: Pool,
        base: UInt32[Array, " 2"],
        columns: Int[Array, "4 S"],
        temperature: Float[Array, " S"],
    ) -> Slots:
        """Return the slots, those whose column (whether it begins, pool row, query, trial) says so begun."""
        begins, rows, queries, trials = columns
        size = rows.shape[0]
        of_slots = Laid((begins, rows), ("batch",))
        logits, length = locally(
            lambda of_pool, of_slots: tuple(x[of_slots[1]] for x in of_pool),
            (Laid((pool.logits, pool.length), ("batch",)), of_slots),
            Laid((jax.ShapeDtypeStruct((size, pool.logits.shape[1]), jnp.float32), rows), ("batch",)),
        )
        noise = _fold(_fold(jnp.broadcast_to(base, (size, 2)), queries), trials)
        choice = self._choose(logits, noise, jnp.zeros(size, jnp.int32), temperature)
        drawn = jnp.ones(size, jnp.int32)
        begun = Slots(
            cache=state.cache,
            token=choice.token,
            logprob=choice.logprob,
            entropy=choice.entropy,
            position=length,
            drawn=drawn,
            active=~self._ends(choice.token, drawn),
            noise=noise,
            temperature=temperature,
        )

        def of(name: str) -> Array:
            new, old = getattr(begun, name), getattr(state, name)
            return jnp.where((begins > 0).reshape(-1, *(1,) * (old.ndim - 1)), new, old)

        return Slots(cache=state.cache, **{name: of(name) for name in Slots._fields if name != "cache"})

    def decode(
        self, params: Params, state: Slots, pool: Pool, live: Bool[Array, " S"], groups: Groups
    ) -> tuple[Slots, Int[Array, "S W"]]:
        """Return the slots after `tick_steps` steps (fewer if none is active), and what `decode` unpacks."""
        model = nnx.merge(self.graphdef, params)
        # XLA for CPU copies a layer's weights out of the stack before it multiplies: once a tick, not each
        # step. Elsewhere slices are read in place, and copies would only take memory.
        on_cpu = target_platform() == "cpu"
        layers = jax.lax.optimization_barrier(model.layer_slices()) if on_cpu else None
        state = state._replace(active=state.active & live)
        # A response begins with a tick, so at the next ones it has a multiple of `tick_steps` entries.
        stored = jnp.where(state.active, state.drawn - 1, 0)
        context = tick_context(pool.cache, pool.length, state.cache, stored, groups)
        width = 1 + self.options.tick_steps
        last = (state.token, state.logprob, state.entropy)
        drawn = Choice(*(jnp.zeros((x.shape[0], width), x.dtype).at[:, 0].set(x) for x in last))

        def unfinished(carry: tuple[Array, Slots, Window, Choice]) -> Bool[Array, ""]:
            step, state, *_ = carry
            return (step < self.options.tick_steps) & state.active.any()

        def advance(
            carry: tuple[Array, Slots, Window, Choice],
        ) -> tuple[Array, Slots, Window, Choice]:
            step, state, window, out = carry
            hidden, window = model.decode(state.token, state.position, context, window, step, layers)
            choice = self._choose(model.logits(hidden), state.noise, state.drawn, state.temperature)
            one = state.active.astype(jnp.int32)
            drawn = state.drawn + one
            state = state._replace(
                token=jnp.where(state.active, choice.token, state.token),
                position=state.position + one,
                drawn=drawn,
                active=state.active & ~self._ends(choice.token, drawn),
            )
            out = Choice(*(w.at[:, step + 1].set(x) for w, x in zip(out, choice, strict=True)))
            return step + 1, state, window, out

        moving = state._replace(cache=Suffixes((), ()))  # read in the loop, written after it
        begin = (jnp.int32(0), moving, self._empty_window(), drawn)
        step, moved, window, out = jax.lax.while_loop(unfinished, advance, begin)
        state = moved._replace(cache=append(state.cache, window, stored))
        columns = [jnp.full_like(state.drawn, step), state.drawn, state.active.astype(jnp.int32)]
        floats = [jax.lax.bitcast_convert_type(x, jnp.int32) for x in (out.logprob, out.entropy)]
        return state, jnp.concatenate([jnp.stack(columns, axis=1), out.token, *floats], axis=1)

    def _choose(
        self,
        logits: Float[Array, "S V"],
        noise: UInt32[Array, "S 2"],
        index: Int[Array, " S"],
        temperature: Float[Array, " S"],
    ) -> Choice:
        """Draw token number `index` (from 0) of each response."""
        o = self.options
        keys = jax.random.wrap_key_data(_fold(noise, index), impl=IMPLEMENTATION)  # unused if greedy
        forbidden = None
        if o.min_new_tokens > 1:
            is_eos = jnp.zeros(logits.shape[-1], bool).at[self.ends].set(True)
            forbidden = is_eos & (index[:, None] + 1 < o.min_new_tokens)
        return choose(
            logits,
            keys,
            temperature=temperature if o.temperature else 0.0,
            top_k=o.top_k,
            top_p=o.top_p,
            forbidden=forbidden,
        )

    def _ends(self, token: Int[Array, " S"], drawn: Int[Array, " S"]) -> Bool[Array, " S"]:
        """Return whether a response of `drawn` tokens, the last of them `token`, has ended."""
        return jnp.isin(token, self.ends) | (drawn >= self.options.max_new_tokens)

    def empty(self) -> tuple[Slots, Pool]:
        return empty_state(self.options, self.config, self.dtype, self.shards)

    def _empty_window(self) -> Window:
        o, c = self.options, self.config
        window = empty_window(c.num_layers, o.slots, c.num_kv_heads, o.tick_steps, c.head_dim, self.dtype)
        pinned: Window = jax.tree.map(lambda x: constrain(x, "batch", "kv_heads", None, None), window)
        return pinned


def _fold(noise: UInt32[Array, "S 2"], data: Int[Array, " S"]) -> UInt32[Array, "S 2"]:
    """Return the data of the key `noise[s]` with `data[s]` folded in."""
    keys = jax.random.wrap_key_data(noise, impl=IMPLEMENTATION)
    return jax.random.key_data(jax.vmap(jax.random.fold_in)(keys, data))
