"""A small Llama with peaky random weights, made with numpy alone, and tokenizers for it.

`make_greedy_reference.py` gives the same weights to transformers; so neither side needs the other's files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VOCAB = 96
EOS = (1, 2)

CONFIG = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "max_position_embeddings": 512,
    "hidden_act": "silu",
    "bos_token_id": 0,
    "eos_token_id": list(EOS),
    "model_type": "llama",
}


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights by their Hugging Face names, [out, in] as torch has them."""
    rng = np.random.default_rng(seed)
    c = CONFIG
    d, f, h = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    n, kv = c["num_attention_heads"] * h, c["num_key_value_heads"] * h

    def normal(*shape: int, scale: float) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    out = {"model.embed_tokens.weight": normal(VOCAB, d, scale=1.0)}
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        out[at + "input_layernorm.weight"] = 1 + normal(d, scale=0.1)
        out[at + "self_attn.q_proj.weight"] = normal(n, d, scale=0.3)
        out[at + "self_attn.k_proj.weight"] = normal(kv, d, scale=0.3)
        out[at + "self_attn.v_proj.weight"] = normal(kv, d, scale=0.3)
        out[at + "self_attn.o_proj.weight"] = normal(d, n, scale=0.3)
        out[at + "post_attention_layernorm.weight"] = 1 + normal(d, scale=0.1)
        out[at + "mlp.gate_proj.weight"] = normal(f, d, scale=0.2)
        out[at + "mlp.up_proj.weight"] = normal(f, d, scale=0.2)
        out[at + "mlp.down_proj.weight"] = normal(d, f, scale=0.2)
    out["model.norm.weight"] = 1 + normal(d, scale=0.1)
    out["lm_head.weight"] = normal(VOCAB, d, scale=0.4)
    return out


def prompts(n: int = 32, longest: int = 40, seed: int = 1) -> list[tuple[int, ...]]:
    """Ragged prompts of 1 … `longest` tokens, without EOS."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n)
    lengths[:2] = 1, longest
    return [tuple(rng.integers(3, VOCAB, length).tolist()) for length in lengths]


class CharTokenizer:
    """Token i is the character chr(32 + i); token 94 is a new line; EOS has no text."""

    eos_ids = EOS

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return "".join("" if i in EOS else "\n" if i == 94 else chr(32 + i) for i in ids)


class ByteTokenizer:
    """Token i is some bytes, several tokens to a character and several characters to a token."""

    eos_ids = EOS

    def __init__(self, pieces: Sequence[bytes]):
        self._pieces = pieces

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return b"".join(self._pieces[i] for i in ids).decode("utf-8", errors="replace")
