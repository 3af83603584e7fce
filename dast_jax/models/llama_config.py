"""The shape and the constants of a model of the Llama architecture and its relatives."""

from __future__ import annotations

import dataclasses

__all__ = ["LlamaConfig", "RopeScaling"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched for long contexts; `rope.rope_frequencies` says what each does.

    `rope_type` is `linear`, `dynamic`, `yarn` or `llama3`. The two limits of frequencies are those of
    `llama3`; what follows `original_max_position_embeddings`, which both have, is of `yarn`.
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Shape and constants of a model, in this package's own names (`hf_config.py` translates).

    `family` is the Hugging Face `model_type`, which decides how the model is exported; what is computed
    follows from the other fields alone. `attention_bias` is of q, k, v. `no_rope_layers` are the numbers of
    the layers whose queries and keys are not rotated. With `sliding_window`, a token sees that many
    tokens, itself included.
    """

    family: str = "llama"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    no_rope_layers: tuple[int, ...] = ()
    sliding_window: int | None = None
    rms_norm_eps: float = 1e-5
    qk_norm: bool = False
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    max_position_embeddings: int = 2048
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
