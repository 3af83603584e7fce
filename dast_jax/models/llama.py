"""Llama and its relatives in Flax NNX: one module tree, parameters stacked on a leading `layers` axis.

What the families differ in (biases, norms of queries and keys, layers without rotary positions, a sliding
window) is in the config; `families.py` has the list. The layers run as one `jax.lax.scan`, so that compile
time does not grow with depth. Parameters are kept in `param_dtype` and cast to `dtype` where they are used;
norms, softmax and logits are float32.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.attention import attention
from dast_jax.models.cache import KVCache, Window, write
from dast_jax.models.decode_attention import DecodeContext, decode_attention
from dast_jax.models.llama_config import LlamaConfig, RopeScaling
from dast_jax.models.lora import Lora
from dast_jax.models.precision import matmul_precision
from dast_jax.models.rope import Rotations, rotate, rotations, unrotated_where
from dast_jax.models.sharding import constrain
from dast_jax.models.token_rows import rows_of

__all__ = ["Graph", "KVCache", "Llama", "LlamaConfig", "Params", "RopeScaling"]


_MLP_ELEMENTS = 2**25
"""Elements of each of the MLP's activations that exist at one time, where memory counts more than time."""


class RMSNorm(nnx.Module):
    """x / rms(x) · scale, in float32 (arXiv 1910.07467)."""

    def __init__(self, shape: tuple[int, ...], axes: tuple[str, ...], eps: float, param_dtype: np.dtype):
        self.scale = nnx.Param(jnp.ones(shape, param_dtype), logical_axes=axes)
        self.eps = eps

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        wide = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return (wide * inverse * self.scale[...].astype(jnp.float32)).astype(x.dtype)


class Linear(nnx.Module):
    """x · kernel + bias over named axes; the kernel [L, in…, out…] is one layer's slice when called.

    `inputs` is the number of input axes: the last ones of x, and the first ones of the kernel's slice.
    With `lora`, an adapter of low rank adds to the product, from float32 parameters of its own (`lora.py`).
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        axes: tuple[str, ...],
        bias_axes: tuple[int, ...] | None,
        *,
        rngs: nnx.Rngs,
        dtype: np.dtype,
        param_dtype: np.dtype,
        lora: Lora | None = None,
    ):
        self.inputs = inputs
        self.dtype = dtype
        self.kernel = nnx.Param(_normal(rngs, shape, param_dtype), logical_axes=axes)
        self.bias = nnx.data(None)
        if bias_axes is not None:
            bias = jnp.zeros(tuple(shape[i] for i in bias_axes), param_dtype)
            self.bias = nnx.Param(bias, logical_axes=tuple(axes[i] for i in bias_axes))
        self.lora_a = self.lora_b = nnx.data(None)
        self.scale = 0.0
        if lora is not None:
            self.scale, split = lora.scale, 1 + inputs
            a = jnp.zeros((*shape[:split], lora.rank), jnp.float32)
            b = jnp.zeros((shape[0], lora.rank, *shape[split:]), jnp.float32)
            self.lora_a = nnx.Param(a, logical_axes=(*axes[:split], "rank"))
            self.lora_b = nnx.Param(b, logical_axes=(axes[0], "rank", *axes[split:]))

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        out: Array = project(x, self.kernel[...].astype(self.dtype), self.inputs)
        if self.lora_a is not None and self.lora_b is not None:
            low = project(x, self.lora_a[...].astype(self.dtype), self.inputs)
            out = out + self.scale * project(low, self.lora_b[...].astype(self.dtype), 1)
        return out if self.bias is None else out + self.bias[...].astype(self.dtype)


class Layer(nnx.Module):
    """One pre-norm layer; built with all layers stacked, called on one layer's slice."""

    def __init__(
        self,
        config: LlamaConfig,
        *,
        rngs: nnx.Rngs,
        dtype: np.dtype,
        param_dtype: np.dtype,
        lora: Lora | None = None,
    ):
        c = config
        layers, d, n, kv, h, f = (
            c.num_layers, c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim, c.intermediate_size,
        )  # fmt: skip

        def linear(
            name: str,
            inputs: int,
            shape: tuple[int, ...],
            axes: tuple[str, ...],
            bias_axes: tuple[int, ...],
            use_bias: bool,
        ) -> Linear:
            return Linear(
                inputs,
                (layers, *shape),
                ("layers", *axes),
                (0, *bias_axes) if use_bias else None,
                rngs=rngs,
                dtype=dtype,
                param_dtype=param_dtype,
                lora=lora if lora is not None and name in lora.targets else None,
            )

        qkv_bias, mlp_bias = c.attention_bias, c.mlp_bias
        self.attention_norm = RMSNorm((layers, d), ("layers", "embed"), c.rms_norm_eps, param_dtype)
        self.q = linear("q", 1, (d, n, h), ("embed", "heads", "head_dim"), (2, 3), qkv_bias)
        self.k = linear("k", 1, (d, kv, h), ("embed", "kv_heads", "head_dim"), (2, 3), qkv_bias)
        self.v = linear("v", 1, (d, kv, h), ("embed", "kv_heads", "head_dim"), (2, 3), qkv_bias)
        self.o = linear("o", 2, (n, h, d), ("heads", "head_dim", "embed"), (3,), c.attention_output_bias)
        self.q_norm = self.k_norm = nnx.data(None)
        if c.qk_norm:
            self.q_norm = RMSNorm((layers, h), ("layers", "head_dim"), c.rms_norm_eps, param_dtype)
            self.k_norm = RMSNorm((layers, h), ("layers", "head_dim"), c.rms_norm_eps, param_dtype)
        self.mlp_norm = RMSNorm((layers, d), ("layers", "embed"), c.rms_norm_eps, param_dtype)
        self.gate = linear("gate", 1, (d, f), ("embed", "mlp"), (2,), mlp_bias)
        self.up = linear("up", 1, (d, f), ("embed", "mlp"), (2,), mlp_bias)
        self.down = linear("down", 1, (f, d), ("mlp", "embed"), (2,), mlp_bias)

    def qkv(
        self, x: Float[Array, "*rows D"], turns: Rotations | None
    ) -> tuple[Float[Array, "*rows N H"], Float[Array, "*rows KV H"], Float[Array, "*rows KV H"]]:
        """Return queries [..., N, H], keys [..., KV, H], rotated unless `turns` is None, and values."""
        x = self.attention_norm(x)
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return (q, k, v) if turns is None else (rotate(q, turns), rotate(k, turns), v)

    def finish(
        self, x: Float[Array, "*rows D"], attended: Float[Array, "*rows N H"], parts: int = 1
    ) -> Float[Array, "*rows D"]:
        """Return the residual stream with the attention output and the MLP added to it.

        With `parts`, [B, T, D] in as many parts of T, one after another: of the MLP's activations, those of
        one part exist at a time, in the backward pass too.
        """
        x = x + self.o(attended)
        y = self.mlp_norm(x)
        if parts == 1:
            return x + self._mlp(y)
        split = jnp.swapaxes(y.reshape(y.shape[0], parts, -1, y.shape[-1]), 0, 1)
        done = jax.lax.map(jax.checkpoint(self._mlp, prevent_cse=False), split)
        return x + jnp.swapaxes(done, 0, 1).reshape(x.shape)

    def _mlp(self, y: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        out: Array = self.down(jax.nn.silu(self.gate(y)) * self.up(y))
        return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(x: Float[Array, "..."], kernel: Float[Array, "..."], inputs: int) -> Float[Array, "..."]:
    """Return x · kernel over the last `inputs` axes of x, the first ones of the kernel.

    Its gradients are those of the product, with the kernel's written as xᵀ · gradient: as the transpose of
    gradientᵀ · x, which differentiation makes of it, it took 2 to 3 times as long on CPU.
    """
    rows = x.ndim - inputs
    axes = tuple(range(rows, x.ndim)), tuple(range(inputs))
    return jax.lax.dot_general(x, kernel, (axes, ((), ())), precision=matmul_precision(x.dtype))


def _project_forward(x: Array, kernel: Array, inputs: int) -> tuple[Array, tuple[Array, Array]]:
    return project(x, kernel, inputs), (x, kernel)


def _project_backward(inputs: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows, outputs = x.ndim - inputs, kernel.ndim - inputs
    dot = functools.partial(jax.lax.dot_general, precision=matmul_precision(x.dtype))
    out_axes = tuple(range(rows, rows + outputs)), tuple(range(inputs, kernel.ndim))
    row_axes = tuple(range(rows)), tuple(range(rows))
    return dot(gradient, kernel, (out_axes, ((), ()))), dot(x, gradient, (row_axes, ((), ())))


project.defvjp(_project_forward, _project_backward)


Params = nnx.State[Any, Any]
"""A tree of parameters: each leaf an `nnx.Param` with its logical axes."""


class Llama(nnx.Module):
    """The whole model. Split it once (`nnx.split`) and `jax.jit` pure functions of its parameters."""

    def __init__(
        self,
        config: LlamaConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
        remat: str = "none",
        lora: Lora | None = None,
    ):
        compute_dtype, param_dtype = jnp.dtype(dtype), jnp.dtype(param_dtype)
        self.config = config
        self.dtype = compute_dtype
        if remat not in ("none", *_REMAT):
            raise ValueError(f"no remat policy {remat!r}: none, {' or '.join(_REMAT)}")
        self.remat = remat
        vocab, d = config.vocab_size, config.hidden_size
        self.embedding = nnx.Param(_normal(rngs, (vocab, d), param_dtype), logical_axes=("vocab", "embed"))
        self.layers = Layer(config, rngs=rngs, dtype=compute_dtype, param_dtype=param_dtype, lora=lora)
        self.norm = RMSNorm((d,), ("embed",), config.rms_norm_eps, param_dtype)
        self.lm_head = nnx.data(None)
        if not config.tie_word_embeddings:
            self.lm_head = nnx.Param(_normal(rngs, (d, vocab), param_dtype), logical_axes=("embed", "vocab"))

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        parents: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Return the final-normed hidden states; attention is causal within a segment (0 = padding).

        `parents` is the number of an earlier segment whose keys a token sees as well, 0 for none: that of the
        prompt which several responses continue.
        """
        hidden, _ = self._forward(tokens, positions, segment_ids, parents, keep_cache=False)
        return hidden

    def prefill(
        self, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B D"], KVCache]:
        """Run right-padded prompts and return the hidden states at `lengths - 1` and the cache.

        Cache entries at and past a prompt's length come from padding; `decode` never attends to them.
        """
        batch, length = tokens.shape
        positions = jnp.broadcast_to(jnp.arange(length), (batch, length))
        hidden, cache = self._forward(tokens, positions, None, None, keep_cache=True)
        assert cache is not None
        last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
        return last, cache

    def layer_slices(self) -> list[Params]:
        """Return the parameters of each layer by themselves, for `decode`."""
        _, stacked = nnx.split(self.layers)
        return [jax.tree.map(lambda p, i=i: p[i], stacked) for i in range(self.config.num_layers)]

    def decode(
        self,
        tokens: Int[Array, " S"],
        positions: Int[Array, " S"],
        context: DecodeContext,
        window: Window,
        step: Int[Array, ""],
        layers: list[Params] | None = None,
    ) -> tuple[Float[Array, "S D"], Window]:
        """Run step `step` of a tick for every slot: attend to `context` and the window so far, this included.

        `layers` are the `layer_slices`, where a loop has taken them once for all its steps. Returns the
        final-normed hidden states and the window with the step's keys and values (in place where XLA may).
        """
        graphdef, _ = nnx.split(self.layers)
        layers = self.layer_slices() if layers is None else layers
        turns = rotations(positions, self.config)
        reach = self.config.sliding_window
        x = self._embed(tokens)
        keys, values = [], []
        # Unrolled: a scan over layers would have to stack the caches, and to copy a slice of them per layer.
        for i, params in enumerate(layers):
            layer = nnx.merge(graphdef, params)
            q, k, v = layer.qkv(x, None if i in self.config.no_rope_layers else turns)
            new_k, new_v = write(window.k[i], window.v[i], k, v, step)
            keys.append(new_k)
            values.append(new_v)
            x = layer.finish(x, decode_attention(q, context, i, new_k, new_v, step, reach))
        return self.norm(x), Window(tuple(keys), tuple(values))

    def unembed(self) -> Float[Array, "D V"]:
        """Return the output matrix: the transposed embedding where tied."""
        return self.embedding[...].T if self.lm_head is None else self.lm_head[...]

    def logits(self, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """Return float32 logits of hidden states (the product accumulates in float32)."""
        return jnp.einsum(
            "...d,dv->...v",
            hidden,
            self.unembed().astype(hidden.dtype),
            precision=matmul_precision(hidden.dtype),
            preferred_element_type=jnp.float32,
        )

    def _embed(self, tokens: Int[Array, "*rows"]) -> Float[Array, "*rows D"]:
        return rows_of(self.embedding[...], tokens, self.dtype)

    def _unrotated(self) -> Bool[np.ndarray, " layers"] | None:
        """Return which layers rotate nothing, None where all rotate."""
        without = self.config.no_rope_layers
        return np.isin(np.arange(self.config.num_layers), without) if without else None

    def _forward(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None,
        parents: Int[Array, "B T"] | None,
        *,
        keep_cache: bool,
    ) -> tuple[Float[Array, "B T D"], KVCache | None]:
        """Return the final-normed hidden states, and each layer's keys and values where they are kept."""
        graphdef, stacked = nnx.split(self.layers)
        turns = rotations(positions, self.config)
        unrotated, window = self._unrotated(), self.config.sliding_window
        # Distances are those of positions in the row, unless a segment continues one that is elsewhere.
        apart = positions if parents is not None else None
        parts = _mlp_parts(tokens.shape, self.config.intermediate_size) if self.remat == "full" else 1

        def body(
            x: Float[Array, "B T D"], layer_params: tuple[Params, Any]
        ) -> tuple[Float[Array, "B T D"], tuple[Array, Array] | None]:
            params, no_rope = layer_params
            layer = nnx.merge(graphdef, params)
            x = constrain(x, "batch", "length", "activation_embed")
            q, k, v = layer.qkv(x, turns if no_rope is None else unrotated_where(no_rope, turns))
            q = constrain(q, "batch", "length", "heads", "head_dim")
            k = constrain(k, "batch", "length", "kv_heads", "head_dim")
            v = constrain(v, "batch", "length", "kv_heads", "head_dim")
            attended = attention(q, k, v, segment_ids, parents=parents, positions=apart, window=window)
            x = layer.finish(x, attended, parts)
            return x, ((jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2)) if keep_cache else None)

        if self.remat != "none":
            body = jax.checkpoint(body, prevent_cse=False, policy=_REMAT[self.remat])
        x, stacked_cache = jax.lax.scan(body, self._embed(tokens), (stacked, unrotated))
        x = constrain(self.norm(x), "batch", "length", "activation_embed")
        if stacked_cache is None:
            return x, None
        return x, KVCache(*(tuple(a[i] for i in range(self.config.num_layers)) for a in stacked_cache))


def _mlp_parts(shape: tuple[int, ...], width: int) -> int:
    """Return in how many parts the MLP is computed where activations are computed again to save memory.

    1 on a mesh, on which each part would gather the weights.
    """
    mesh = jax.sharding.get_abstract_mesh()
    parts = 1
    while math.prod(shape) * width // parts > _MLP_ELEMENTS and shape[-1] % (2 * parts) == 0:
        parts *= 2
    return parts if mesh.empty or mesh.size == 1 else 1


_REMAT = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}
"""What a layer's backward pass finds stored, by the names of `model.remat`: nothing, or products."""

Graph = nnx.GraphDef[Llama]
"""The structure of a `Llama` without its arrays: `nnx.merge(graph, params)` gives the model back."""


def _normal(rngs: nnx.Rngs, shape: tuple[int, ...], dtype: np.dtype) -> Float[Array, "..."]:
    """Return initial weights as Llama's config has them: normal, standard deviation 0.02."""
    return 0.02 * jax.random.normal(rngs.params(), shape, dtype)
