"""Rotary position embeddings (arXiv 2104.09864) and the ways of stretching them for long contexts."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dast_jax.models.llama_config import LlamaConfig, RopeScaling

__all__ = ["Rotations", "attention_factor", "rope_frequencies", "rotate", "rotations", "unrotated_where"]

Rotations = tuple[Float[Array, "*rows 1 half_head"], Float[Array, "*rows 1 half_head"]]
"""Cosines and sines of the angles, float32, with an axis for the heads to broadcast over."""


def rope_frequencies(config: LlamaConfig) -> Float[np.ndarray, " half_head"]:
    """Return the float32 rotary frequencies [head_dim / 2], scaled as the config says.

    `linear`: all divided by `factor`. `dynamic` (NTK-aware, by length): as they are, because only sequences
    longer than the original context are scaled, and those are refused (`checks.check_length`).
    `yarn`: `_yarn`. `llama3`: `_llama3`.
    """
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    # Rounded to float32 after the power and again after the reciprocal, as the reference does: at position
    # 10,000 one unit in the last place of a frequency already turns a head by 5e-4 radians.
    powers = (np.float64(config.rope_theta) ** exponents.astype(np.float64)).astype(np.float32)
    frequencies = (np.float32(1) / powers).astype(np.float32)
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type == "dynamic":
        return frequencies
    if scaling.rope_type == "linear":
        return (frequencies / np.float32(scaling.factor)).astype(np.float32)
    if scaling.rope_type == "yarn":
        return _yarn(powers, scaling, config.rope_theta)
    return _llama3(frequencies, scaling)


def _llama3(frequencies: Float[np.ndarray, " half"], scaling: RopeScaling) -> Float[np.ndarray, " half"]:
    """Return the frequencies as Llama 3.1 scales them.

    Wavelengths above the original context divided by `low_freq_factor` are stretched by `factor`, those
    below it divided by `high_freq_factor` are kept, and the ones between are interpolated.
    """
    slow = (frequencies / np.float32(scaling.factor)).astype(np.float32)
    wavelengths = np.float32(2 * np.pi) / frequencies
    context = scaling.original_max_position_embeddings
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = (np.float32(context) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = (np.float32(1) - smooth) * slow + smooth * frequencies
    scaled = np.where(wavelengths > context / low, slow, frequencies)
    middle = (wavelengths <= context / low) & (wavelengths >= context / high)
    return np.where(middle, between, scaled).astype(np.float32)


def _yarn(
    powers: Float[np.ndarray, " half"], scaling: RopeScaling, theta: float
) -> Float[np.ndarray, " half"]:
    """Return the frequencies 1 / `powers` as YaRN scales them (arXiv 2309.00071, section 3.2).

    Dimensions that turn more than `beta_fast` times within the original context are kept, those that turn
    less than `beta_slow` times are stretched by `factor`, with a linear ramp over the ones between; with
    `truncate`, the ends of the ramp are whole dimensions.
    """
    dim = 2 * len(powers)
    context = scaling.original_max_position_embeddings

    def dimension(turns: float) -> float:
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # as the reference does
    ramp = np.clip((np.arange(len(powers), dtype=np.float32) - low) / (high - low), 0, 1).astype(np.float32)
    kept = np.float32(1) - ramp
    stretched = np.float32(1) / (np.float32(scaling.factor) * powers)
    scaled: np.ndarray = stretched * (np.float32(1) - kept) + np.float32(1) / powers * kept
    return scaled.astype(np.float32)


def attention_factor(scaling: RopeScaling | None) -> float:
    """Return what multiplies cosines and sines: other than 1 in YaRN only, 0.1 ln(factor) + 1 by default."""
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0


def rotations(positions: Int[Array, "*rows"], config: LlamaConfig) -> Rotations:
    """Return float32 cosines and sines [..., 1, head_dim / 2] for the heads axis to broadcast over."""
    angles = positions[..., None].astype(jnp.float32) * rope_frequencies(config)
    cos, sin = jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]
    scale = attention_factor(config.rope_scaling)
    return (cos, sin) if scale == 1 else (scale * cos, scale * sin)


def unrotated_where(unrotated: Bool[Array, ""], turns: Rotations) -> Rotations:
    """Return rotations by zero where `unrotated`, else `turns`."""
    cos, sin = turns
    return jnp.where(unrotated, 1, cos), jnp.where(unrotated, 0, sin)


def rotate(x: Float[Array, "*rows heads H"], turns: Rotations) -> Float[Array, "*rows heads H"]:
    """Return x with each pair (x[i], x[i + H/2]) rotated by its angle, computed in float32."""
    cos, sin = turns
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
