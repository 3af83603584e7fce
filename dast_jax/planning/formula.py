"""Closed forms: the FLOPs of the model, and about how many bytes each stage takes on one device.

The FLOPs are those that a step cannot do without: every matrix product once, attention over the keys that
a query sees, and both twice more for the gradients. The bytes are an estimate, within a fifth of what the
TPU compiler says at the shapes of docs/hardware.md; weights, optimizer and cache are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dast_jax.models.llama_config import LlamaConfig

__all__ = ["Layout", "decode_bytes", "forward_flops", "prefill_bytes", "training_bytes"]


_SUMMED = 3
"""How many times the gradients exist where micro-batches are added up, as compiled for an 8B model.

Of five small models it was 2 to 5 times: how far sum and addend share memory is the compiler's choice.
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the model is split: ways of the batch, of the parameters besides, and of heads, MLP and vocabulary.

    `width` is the bytes of a number in the matrix products.
    """

    rows: int
    fsdp: int
    tensor: int
    width: int

    @classmethod
    def of(cls, mesh: Mapping[str, int], width: int) -> Layout:
        """Return the layout of a mesh (axis → size)."""
        return cls(rows=mesh["data"] * mesh["fsdp"], fsdp=mesh["fsdp"], tensor=mesh["tensor"], width=width)

    def over_tensor(self, size: int) -> float:
        """Return a size that `tensor` splits, where it divides it."""
        return size / self.tensor if size % self.tensor == 0 else size


def layer_weights(c: LlamaConfig) -> int:
    """Return the weights of one layer's matrices."""
    heads = 2 * c.num_heads + 2 * c.num_kv_heads
    return c.hidden_size * (heads * c.head_dim + 3 * c.intermediate_size)


def forward_flops(c: LlamaConfig, *, tokens: float, keys: float, logits: float) -> float:
    """Return the FLOPs of one forward pass, of matrix products.

    `tokens` is the number of positions, `keys` the sum over them of the keys that each sees, `logits` the
    number of positions whose logits are computed.
    """
    seen = keys if c.sliding_window is None else min(keys, tokens * c.sliding_window)
    layers = c.num_layers * (2 * layer_weights(c) * tokens + 4 * c.num_heads * c.head_dim * seen)
    return layers + 2 * c.hidden_size * c.vocab_size * logits


def training_bytes(
    c: LlamaConfig,
    layout: Layout,
    *,
    rows: int,
    length: int,
    chunk: int,
    remat: bool,
    gradients: float,
    head_gradient: bool,
    micro: int,
) -> float:
    """Return about the temporaries of a training step on one device.

    `rows` of `length` tokens are a micro-batch, of which there are `micro`; `gradients` are the bytes of the
    trained parameters' gradients on one device, float32; `head_gradient` is whether the model's own matrices
    have any.
    """
    # The matrices of a layer, and that of the logits, are gathered over fsdp, and their gradients summed.
    here = max(1, rows // layout.rows) * length
    head = layout.over_tensor(c.vocab_size)
    saved = here * c.hidden_size * layout.width if remat else _layer_activations(c, layout, here)
    layer = (
        layer_weights(c) / layout.tensor * (layout.width + (4 if head_gradient else 0))
    )  # and its gradient
    logits = 2 * 4 * here / length * min(chunk, length) * head
    whole = c.hidden_size * head * (layout.width + (4 if head_gradient else 0))
    return (
        gradients * (_SUMMED if micro > 1 else 1)
        + c.num_layers * saved
        + _layer_activations(c, layout, here)
        + 2 * layer
        + whole
        + logits
        + 4 * here * c.hidden_size * 3
    )


def _layer_activations(c: LlamaConfig, layout: Layout, tokens: float) -> float:
    """Return about what the backward pass of a layer reads: inputs of products, norms and the MLP's parts."""
    heads = layout.over_tensor((c.num_heads + c.num_kv_heads) * c.head_dim)
    mlp = layout.over_tensor(c.intermediate_size)
    return tokens * layout.width * (6 * c.hidden_size + 4 * heads + 4 * mlp)


def prefill_bytes(c: LlamaConfig, layout: Layout, *, rows: int, length: int) -> float:
    """Return about the temporaries of prefilling `rows` prompts: keys and values, one layer's activations."""
    tokens = math.ceil(rows / layout.rows) * length if rows % layout.rows == 0 else rows * length
    kept = 2 * c.num_layers * rows * length * layout.over_tensor(c.num_kv_heads * c.head_dim) * layout.width
    gathered = layer_weights(c) / layout.tensor * layout.width * 2
    return 2 * kept + _layer_activations(c, layout, tokens) + gathered + 8 * rows * c.vocab_size


def decode_bytes(c: LlamaConfig, layout: Layout, *, slots: int, shards: int) -> float:
    """Return about the temporaries of a decode tick: weights gathered one layer at a time, and logits."""
    gathered = layer_weights(c) / layout.tensor * layout.width * 2 if layout.fsdp > 1 else 0.0
    return gathered + 4 * 4 * slots / shards * layout.over_tensor(c.vocab_size)
