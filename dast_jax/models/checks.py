"""What must hold of a model before it is used: a config that makes sense, and tensors that fit it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import ml_dtypes
import numpy as np

from dast_jax.errors import UserError
from dast_jax.models.llama_config import LlamaConfig

__all__ = [
    "check_config",
    "check_length",
    "check_tensors",
    "check_token_ids",
    "check_values",
    "check_weights",
]

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_position_embeddings": "max_position_embeddings",
}
_LARGEST = 2**31 - 1
_PLAIN = ("float16", "bfloat16", "float32", "float64")


def check_config(config: LlamaConfig, where: str) -> None:
    """Raise `UserError` naming the key of `config.json` for a value that no model has."""
    for field, key in _SIZES.items():
        if not 1 <= getattr(config, field) <= _LARGEST:
            raise UserError(f"{where}: {key} is {getattr(config, field)}; it must be from 1 to {_LARGEST}")
    if config.num_heads % config.num_kv_heads:
        raise UserError(
            f"{where}: num_attention_heads ({config.num_heads}) is no multiple of num_key_value_heads "
            f"({config.num_kv_heads}); correct the two"
        )
    if config.head_dim % 2:
        raise UserError(f"{where}: head_dim is {config.head_dim}, and rotary positions need an even one")
    if not (math.isfinite(config.rms_norm_eps) and 0 <= config.rms_norm_eps < 1):
        raise UserError(f"{where}: rms_norm_eps is {config.rms_norm_eps:g}; it must be from 0 to 1")
    if not (math.isfinite(config.rope_theta) and config.rope_theta > 0):
        raise UserError(f"{where}: rope_theta is {config.rope_theta:g}; it must be positive")
    if config.sliding_window is not None and config.sliding_window < 1:
        raise UserError(f"{where}: sliding_window is {config.sliding_window}; it must be positive, or null")
    scaling = config.rope_scaling
    if scaling is not None:
        numbers: tuple[float, ...] = (scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor)
        if scaling.rope_type == "yarn":
            attention = 1.0 if scaling.attention_factor is None else scaling.attention_factor
            numbers = (scaling.factor, scaling.beta_fast, scaling.beta_slow, attention)
            if config.rope_theta <= 1:
                raise UserError(f"{where}: rope_theta is {config.rope_theta:g}; yarn needs more than 1")
        if not all(math.isfinite(x) and x > 0 for x in numbers):
            raise UserError(f"{where}: the rope scaling has factors {numbers}; they must be positive")
        if (
            scaling.high_freq_factor <= scaling.low_freq_factor
            or scaling.original_max_position_embeddings < 1
        ):
            raise UserError(
                f"{where}: the rope scaling needs high_freq_factor above low_freq_factor, and positive "
                "original_max_position_embeddings"
            )


def check_length(config: LlamaConfig, length: int, key: str) -> None:
    """Raise `UserError` where sequences of `length` tokens, as option `key` allows, cannot be computed."""
    scaling = config.rope_scaling
    if scaling is not None and scaling.rope_type == "dynamic" and length > config.max_position_embeddings:
        raise UserError(
            f"{key}: {length} is more than the model's {config.max_position_embeddings} positions, and "
            "beyond them its dynamic rope scaling changes with the length, which is not supported; lower it"
        )


def check_token_ids(ids: Iterable[int], vocabulary: int, where: str) -> None:
    """Raise `UserError` for an EOS id that no response can have, as it is beyond the vocabulary."""
    for id in ids:
        if not 0 <= id < vocabulary:
            raise UserError(
                f"{where}: the EOS id {id} is not one of the model's {vocabulary} tokens; correct "
                "eos_token_id in config.json, generation_config.json or the tokenizer"
            )


def check_tensors(
    expected: Iterable[tuple[str, tuple[int, ...]]], stored: Mapping[str, tuple[int, ...]], layers: int
) -> None:
    """Raise `UserError` unless `stored` (tensor → shape) has the `expected` names with their shapes.

    A tensor beyond them would be left out of the computation, and is refused too. `expected` is not read
    where `stored` holds fewer tensors than `layers`, which a damaged config may say to be billions.
    """
    if layers > len(stored):
        raise UserError(
            f"the config says {layers} layers, and the weights hold {len(stored)} tensors; the weights do "
            "not belong to this config"
        )
    known = set()
    for name, shape in expected:
        known.add(name)
        if name not in stored:
            raise UserError(f"the weights lack the tensor {name}; the model is not a complete model")
        if stored[name] != shape:
            raise UserError(
                f"tensor {name} has shape {list(stored[name])} where the config says {list(shape)}; "
                "the weights do not belong to this config"
            )
    unused = sorted(name for name in stored if name not in known)
    if unused:
        raise UserError(
            f"the config has no use for {len(unused)} of the stored tensors ({', '.join(unused[:3])}), so "
            " the model would compute something else; use the config that belongs to them"
        )


def check_values(name: str, tensor: np.ndarray) -> None:
    """Raise `UserError` for a tensor of another kind than plain floating-point numbers."""
    if tensor.dtype.name not in _PLAIN:
        raise UserError(
            f"tensor {name} holds {tensor.dtype.name} values, and config.json does not say how they are "
            "quantized; use the unquantized model"
        )


def check_weights(name: str, weights: np.ndarray) -> None:
    """Raise `UserError` for weights that are not finite, as stored or in the precision they are kept in."""
    if weights.dtype == ml_dtypes.bfloat16:  # whose exponent has all its bits set in NaN and infinity
        finite = not ((weights.view(np.uint16) & 0x7F80) == 0x7F80).any()
    else:
        finite = bool(np.isfinite(weights).all())
    if not finite:
        raise UserError(
            f"tensor {name} has NaN or infinite values in {weights.dtype.name}; download the model again, or "
            "set model.dtype to float32"
        )
