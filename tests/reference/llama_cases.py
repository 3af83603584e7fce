"""Small models of every family and shape that matters, with weights from a seed: no torch, no files."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

__all__ = [
    "CASES",
    "GREEDY",
    "GREEDY_PROMPTS",
    "GREEDY_TOKENS",
    "KEPT",
    "LENGTH",
    "hf_config",
    "inputs",
    "weights",
]

LENGTH = 16
KEPT = (0, 7, 14, 15)
"""Places in the row whose logits are kept as reference."""

GREEDY = (
    "odd_heads",
    "llama3_factor_32_tied",
    "deepseek_math",
    "mistral",
    "mistral_window",
    "qwen2_tied_yarn",
    "qwen3",
    "smollm3",
)
GREEDY_PROMPTS = ((5,), (7, 3, 90, 12, 44), (9, 8, 7, 6, 5, 4, 3, 20, 21, 22, 23), tuple(range(30, 46)))
GREEDY_TOKENS = 20
"""Cases, prompts and numbers of new tokens whose greedy continuations are kept."""

_BASE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
}


def _llama3(factor: float) -> dict[str, Any]:
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


def _yarn(factor: float, **more: Any) -> dict[str, Any]:
    numbers = {"original_max_position_embeddings": 64, "beta_fast": 32.0, "beta_slow": 1.0, **more}
    return {"rope_type": "yarn", "factor": factor, **numbers}


def _family(model_type: str, architecture: str, **changes: Any) -> dict[str, Any]:
    named = {"model_type": model_type, "architectures": [architecture]}
    return {**named, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, **changes}


_QWEN2 = _family("qwen2", "Qwen2ForCausalLM", max_position_embeddings=32768)

# name: (changes to the config, rope theta, rope scaling, first position of row 1; row 0 starts at 0)
CASES: dict[str, tuple[dict[str, Any], float, dict[str, Any] | None, int]] = {
    "multi_head": ({}, 1e4, None, 100),
    "grouped": ({"num_key_value_heads": 2}, 1e4, None, 100),
    "multi_query": ({"num_attention_heads": 8, "num_key_value_heads": 1}, 1e4, None, 7),
    "tied": ({"num_key_value_heads": 2, "tie_word_embeddings": True}, 1e4, None, 100),
    "theta_5e5": ({"num_key_value_heads": 2}, 5e5, None, 2000),
    "theta_1e4_far": ({"num_key_value_heads": 2, "max_position_embeddings": 8192}, 1e4, None, 8000),
    "wide_heads": ({"num_key_value_heads": 2, "head_dim": 32}, 1e4, None, 100),
    "narrow_heads": ({"head_dim": 8, "tie_word_embeddings": True}, 5e5, None, 100),
    "odd_heads": (
        {"hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
        1e5,
        None,
        50,
    ),
    "llama3_near": (
        {"num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 131072},
        5e5,
        _llama3(8.0),
        3,
    ),
    "llama3_past_8192": (
        {"num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 131072},
        5e5,
        _llama3(8.0),
        8190,
    ),
    "llama3_far": (
        {"num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 131072},
        5e5,
        _llama3(8.0),
        100_000,
    ),
    "llama3_factor_32_tied": (
        {
            "num_key_value_heads": 2,
            "head_dim": 64,
            "tie_word_embeddings": True,
            "max_position_embeddings": 131072,
        },
        5e5,
        _llama3(32.0),
        20_000,
    ),
    "linear": ({"num_key_value_heads": 2}, 1e4, {"rope_type": "linear", "factor": 4.0}, 3000),
    "attention_bias": ({"num_key_value_heads": 2, "attention_bias": True}, 1e4, None, 100),
    "all_biases": (
        {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True, "head_dim": 24},
        5e5,
        None,
        100,
    ),
    "fine_eps": ({"rms_norm_eps": 1e-6, "num_hidden_layers": 1}, 1e4, None, 1),
    "deepseek_math": ({"rms_norm_eps": 1e-6, "max_position_embeddings": 4096}, 1e4, None, 3000),
    "dynamic": ({"num_key_value_heads": 2}, 1e4, {"rope_type": "dynamic", "factor": 2.0}, 2000),
    "yarn": ({"num_key_value_heads": 2, "max_position_embeddings": 256}, 1e4, _yarn(4.0), 200),
    "mistral": (_family("mistral", "MistralForCausalLM", head_dim=24, sliding_window=None), 1e6, None, 100),
    "mistral_window": (_family("mistral", "MistralForCausalLM", sliding_window=6), 1e4, None, 100),
    "qwen2": (_QWEN2, 1e6, None, 100),
    "qwen2_tied_yarn": (
        _QWEN2 | {"tie_word_embeddings": True},
        1e6,
        _yarn(2.0, attention_factor=1.3, truncate=False),
        100,
    ),
    "qwen3": (_family("qwen3", "Qwen3ForCausalLM", head_dim=32), 1e6, None, 100),
    "qwen3_bias": (
        _family("qwen3", "Qwen3ForCausalLM", attention_bias=True, tie_word_embeddings=True),
        1e6,
        None,
        5,
    ),
    "smollm3": (
        _family(
            "smollm3",
            "SmolLM3ForCausalLM",
            num_hidden_layers=4,
            no_rope_layers=[1, 0, 1, 0],
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        ),
        5e6,
        None,
        100,
    ),
}


def hf_config(name: str) -> dict[str, Any]:
    """Returns a `config.json` in the schema of transformers 5 (rotary constants in `rope_parameters`)."""
    changes, theta, scaling, _ = CASES[name]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **_BASE, **changes}
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return config | {"rope_parameters": {"rope_type": "default", **(scaling or {}), "rope_theta": theta}}


def inputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns tokens and positions, both int32 [2, LENGTH]."""
    offset = CASES[name][3]
    tokens = _random(name + "/tokens").randint(0, _BASE["vocab_size"], (2, LENGTH))
    positions = np.arange(LENGTH)[None] + np.array([[0], [offset]])
    return tokens.astype(np.int32), positions.astype(np.int32)


def weights(name: str) -> dict[str, np.ndarray]:
    """Returns the float32 tensors by their Hugging Face names."""
    c = hf_config(name)
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (v, d)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + "input_layernorm.weight": (d,), layer + "post_attention_layernorm.weight": (d,)}
        if c["model_type"] == "qwen3":
            shapes |= {f"{layer}self_attn.{part}_norm.weight": (c["head_dim"],) for part in "qk"}
        for block, names, bias in (
            ("self_attn.", {"q": (q, d), "k": (kv, d), "v": (kv, d), "o": (d, q)}, "attention_bias"),
            ("mlp.", {"gate": (f, d), "up": (f, d), "down": (d, f)}, "mlp_bias"),
        ):
            for part, shape in names.items():
                shapes[f"{layer}{block}{part}_proj.weight"] = shape
                if c.get(bias) or (c["model_type"] == "qwen2" and part in ("q", "k", "v")):
                    shapes[f"{layer}{block}{part}_proj.bias"] = shape[:1]
    return {tensor: _tensor(f"{name}/{tensor}", shape) for tensor, shape in shapes.items()}


def _tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices that keep the scale of what they multiply, scales near one, small biases."""
    normal = _random(key).standard_normal(shape)
    if len(shape) == 2:
        return (normal / np.sqrt(shape[1])).astype(np.float32)
    return ((1 + 0.2 * normal) if "norm" in key else 0.3 * normal).astype(np.float32)


def _random(key: str) -> np.random.RandomState:
    """RandomState, because its stream never changes between versions of numpy."""
    return np.random.RandomState(zlib.crc32(key.encode()))
