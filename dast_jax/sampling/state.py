"""What the sampler keeps on the device: slots, the prompt pool, their shapes and their layout over a mesh."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, UInt32

from dast_jax.models.cache import Prompts, Suffixes, empty_prompts, empty_suffixes
from dast_jax.models.llama import LlamaConfig
from dast_jax.models.sharding import partition_spec, shards_of
from dast_jax.sampling.options import SamplingOptions

__all__ = ["Pool", "Slots", "empty_state", "pool_rows", "state_bytes", "state_shardings", "whole"]


class Pool(NamedTuple):
    """Prefilled prompts, for their trials in progress and the next ones (P rows)."""

    cache: Prompts
    logits: Float[Array, "P V"]  # at the prompt's last position
    length: Int[Array, " P"]


class Slots(NamedTuple):
    """Responses in progress (S slots).

    `cache` holds a response's own tokens only. `token` is the last one drawn: it is not in the cache yet,
    and belongs at `position` of the whole text.
    """

    cache: Suffixes
    token: Int[Array, " S"]
    logprob: Float[Array, " S"]
    entropy: Float[Array, " S"]
    position: Int[Array, " S"]
    drawn: Int[Array, " S"]  # new tokens so far
    active: Bool[Array, " S"]
    noise: UInt32[Array, "S 2"]  # key data of (seed, round, stage, query, trial)
    temperature: Float[Array, " S"]  # unused where the options say greedy


def pool_rows(options: SamplingOptions, shards: int) -> int:
    """Return the rows of the prompt pool, a multiple of the `shards` that it is split into."""
    return -(-options.pool_rows // shards) * shards


def empty_state(
    options: SamplingOptions, config: LlamaConfig, dtype: Any, shards: int = 1
) -> tuple[Slots, Pool]:
    """Return zeroed slots and pool, the cache in `dtype`. Zeros, because masked values must be finite."""
    s, p, longest = options.slots, pool_rows(options, shards), options.buckets[-1]
    layers, kv_heads, head_dim = config.num_layers, config.num_kv_heads, config.head_dim
    own = options.max_new_tokens - 1  # the last token of a response is never attended to
    slots = Slots(
        cache=empty_suffixes(layers, s, kv_heads, own, options.tick_steps, head_dim, dtype),
        token=jnp.zeros(s, jnp.int32),
        logprob=jnp.zeros(s, jnp.float32),
        entropy=jnp.zeros(s, jnp.float32),
        position=jnp.zeros(s, jnp.int32),
        drawn=jnp.zeros(s, jnp.int32),
        active=jnp.zeros(s, bool),
        noise=jnp.zeros((s, 2), jnp.uint32),
        temperature=jnp.zeros(s, jnp.float32),
    )
    pool = Pool(
        cache=empty_prompts(layers, p, kv_heads, longest, head_dim, dtype),
        logits=jnp.zeros((p, config.vocab_size), jnp.float32),
        length=jnp.zeros(p, jnp.int32),
    )
    return slots, pool


def state_bytes(options: SamplingOptions, config: LlamaConfig, dtype: Any, shards: int = 1) -> int:
    """Return the bytes of `empty_state`, without allocating it."""
    shapes = jax.eval_shape(lambda: empty_state(options, config, dtype, shards))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def state_shardings(options: SamplingOptions, config: LlamaConfig, mesh: Mesh) -> tuple[Any, Any]:
    """Return `NamedSharding`s in the shape of `empty_state`.

    Slots and pool rows are split over the mesh axes of `batch`: the prompt of a slot is in the same part as
    the slot. Key/value heads are split over those of `kv_heads`, where those divide them.
    """
    shards = shards_of(mesh, "batch")
    state = jax.eval_shape(lambda: empty_state(options, config, jnp.float32, shards))

    def one(path: Any, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes: tuple[str | None, ...] = ("batch", *(None,) * (leaf.ndim - 1))
        if leaf.ndim == 5:  # [P, NB, KV, …] of prompts, [NB, S, KV, …] of suffixes
            rows, blocks = ("batch", None) if path[0].idx == 1 else (None, "batch")
            axes = (rows, blocks, "kv_heads", None, None)
        return NamedSharding(mesh, partition_spec(leaf.shape, axes, mesh))

    slots, pool = jax.tree_util.tree_map_with_path(one, state)
    return slots, pool


def whole(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds whole."""
    return NamedSharding(mesh, P())
