"""Hugging Face folders whose weights are quantized: the simple forms are read as plain numbers.

Read are LLM.int8 of bitsandbytes (arXiv 2208.07339), FP8 with block scales (DeepSeek-V3, arXiv 2412.19437),
and FP8 and int8 of compressed-tensors with a scale per tensor or per row. Any other is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.errors import UserError

__all__ = ["Quantization", "read_quantization"]

_PACKED_FLOATS = ("float8_e4m3fn", "float8_e5m2")
_EXTRAS = (
    ".SCB",
    ".weight_format",
    ".weight_scale",
    ".weight_scale_inv",
    ".input_scale",
    ".k_scale",
    ".v_scale",
    ".output_scale",
)
"""Ends of the names of what belongs to a quantized weight, or to quantized activations, which stay floats."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How weights are quantized: where their scales are, and what these are multiplied with.

    A weight is its stored value times `unit` times its scale; `block` is the (rows, columns) that share one
    where the scales are an array of blocks.
    """

    scale: str
    unit: float = 1.0
    block: tuple[int, int] | None = None

    def is_extra(self, name: str) -> bool:
        """Return whether tensor `name` is no weight of its own."""
        return name.endswith(_EXTRAS)

    def dequantize(self, name: str, stored: np.ndarray, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Return weight `name` as float32 where it is quantized, else as it is stored."""
        if stored.dtype.name not in ("int8", *_PACKED_FLOATS):
            return stored
        scale = read(name.removesuffix(".weight") + self.scale).astype(np.float32)
        weights = stored.astype(np.float32)
        if self.block is not None and scale.ndim == 2:
            rows, columns = self.block
            scale = scale.repeat(rows, axis=0).repeat(columns, axis=1)[: weights.shape[0], : weights.shape[1]]
        elif scale.size in (1, weights.shape[0]):
            scale = scale.reshape(-1, *[1] * (weights.ndim - 1))
        if scale.size not in (1, weights.shape[0], weights.size):
            raise UserError(
                f"the scales of tensor {name} have shape {list(scale.shape)}, which do not fit its "
                f"{list(weights.shape)}; use the unquantized model"
            )
        scaled: np.ndarray = weights * (scale * np.float32(self.unit))
        return scaled


def read_quantization(data: dict[str, Any], where: str) -> Quantization | None:
    """Return what `quantization_config` says, None where there is none; raise `UserError` for other forms."""
    config = data.get("quantization_config") or data.get("compression_config")
    if not config:
        return None
    if not isinstance(config, dict):
        raise UserError(f"{where}: quantization_config is no object; use the unquantized model")
    method = str(config.get("quant_method") or "an unnamed method")
    if method == "bitsandbytes" and config.get("load_in_8bit") and not config.get("load_in_4bit"):
        return Quantization(scale=".SCB", unit=1 / 127)
    if method == "fp8":
        block = config.get("weight_block_size")
        return Quantization(
            scale=".weight_scale_inv", block=(int(block[0]), int(block[1])) if block else None
        )
    form = str(config.get("format") or "")
    if method == "compressed-tensors" and form in ("float-quantized", "int-quantized", "naive-quantized"):
        return Quantization(scale=".weight_scale")
    kind = "4 bit" if config.get("load_in_4bit") else form
    raise UserError(
        f"{where}: the weights are quantized by {method}{f' ({kind})' if kind else ''}, and cannot be read; "
        "use the unquantized model (bitsandbytes int8, fp8, and compressed-tensors of 8 bits are read)"
    )
