"""Hugging Face's `config.json`, in and out: as transformers 4 and 5 write it, for every family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dast_jax.errors import UserError
from dast_jax.models.checks import check_config
from dast_jax.models.families import FAMILIES, Family, family_of
from dast_jax.models.llama_config import LlamaConfig, RopeScaling

__all__ = ["config_from_dict", "config_to_dict", "token_ids"]

Json = Mapping[str, Any]

ROPE_KINDS = ("default", "linear", "dynamic", "yarn", "llama3")

_ROPE_KEYS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""The numbers of each kind of rope scaling, in the order of `config.json`; `yarn` has `truncate` besides."""


def config_from_dict(data: Json, where: str) -> LlamaConfig:
    """Return the config of a Hugging Face `config.json`, of transformers 4 or 5; `where` names the file.

    transformers 5 keeps everything rotary in `rope_parameters`; 4 has `rope_theta` and `rope_scaling`.
    Raises `UserError` if the model's family is not supported or it uses what `llama.py` does not support.
    """
    family = family_of(data, where)
    data = {**family.defaults, **data}
    if data.get("hidden_act", "silu") not in ("silu", "swish"):
        raise UserError(f"{where}: hidden_act is {data['hidden_act']!r}, but only 'silu' is supported")
    try:
        config = _config(data, family, where)
    except KeyError as error:
        raise UserError(
            f"{where}: the key {error} is missing; is this the config.json of a {family.models} model?"
        ) from None
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"{where}: a value is not what the config.json of a {family.architecture} has ({error}); "
            "correct it"
        ) from None
    check_config(config, where)
    return config


def _config(data: Json, family: Family, where: str) -> LlamaConfig:
    hidden, heads = int(data["hidden_size"]), int(data["num_attention_heads"])
    layers = int(data["num_hidden_layers"])
    theta, scaling = _rope(data, where)
    by_config = family.attention_bias is None and bool(data.get("attention_bias", False))
    return LlamaConfig(
        family=family.model_type,
        vocab_size=int(data["vocab_size"]),
        hidden_size=hidden,
        intermediate_size=int(data["intermediate_size"]),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=int(data.get("num_key_value_heads") or heads),
        head_dim=int(data.get("head_dim") or hidden // heads),
        rope_theta=theta,
        rope_scaling=scaling,
        no_rope_layers=_no_rope_layers(data, layers, where) if family.no_rope else (),
        sliding_window=_sliding_window(data, family, layers, where),
        rms_norm_eps=float(data.get("rms_norm_eps", 1e-6)),
        qk_norm=family.qk_norm,
        tie_word_embeddings=bool(data.get("tie_word_embeddings", False)),
        attention_bias=bool(family.attention_bias) or by_config,
        attention_output_bias=by_config,
        mlp_bias=family.mlp_bias and bool(data.get("mlp_bias", False)),
        max_position_embeddings=int(data.get("max_position_embeddings", 2048)),
        bos_token_id=data.get("bos_token_id"),
        eos_token_ids=token_ids(data.get("eos_token_id")),
        pad_token_id=data.get("pad_token_id"),
    )


def token_ids(value: Any) -> tuple[int, ...]:
    """Return the token ids of a cell that has none, one or a list."""
    return () if value is None else tuple(map(int, value)) if isinstance(value, list) else (int(value),)


def _no_rope_layers(data: Json, layers: int, where: str) -> tuple[int, ...]:
    """Return the numbers of the layers that rotate nothing: those with 0 in the list, or every n-th one."""
    rotates = data.get("no_rope_layers")
    if rotates is None:
        interval = int(data.get("no_rope_layer_interval", 4))
        return tuple(range(interval - 1, min(layers, _MANY), interval)) if interval > 0 else ()
    if len(rotates) < layers:
        raise UserError(f"{where}: no_rope_layers has {len(rotates)} entries for {layers} layers; correct it")
    return tuple(i for i in range(layers) if not rotates[i])


_MANY = 10_000
"""More layers than any model has: a damaged config may name billions, which is refused later."""


def _sliding_window(data: Json, family: Family, layers: int, where: str) -> int | None:
    """Return the window of all layers, None where none has one; raise `UserError` where only some have."""
    window = data.get("sliding_window", 4096 if family.windows == "switched" else None)
    used = family.windows == "always" or (family.windows == "switched" and data.get("use_sliding_window"))
    if not used or window is None:
        return None
    if family.windows == "switched":
        kinds = data.get("layer_types")
        if kinds is None and family.no_rope:
            with_window = len(_no_rope_layers(data, layers, where))
        elif kinds is None:
            with_window = max(layers - int(data.get("max_window_layers", 28)), 0)
        else:
            with_window = list(kinds[:layers]).count("sliding_attention")
        if with_window == 0:
            return None
        if with_window < layers:
            raise UserError(
                f"{where}: {with_window} of {layers} layers have a sliding window, which is supported only "
                "where all have one; set use_sliding_window to false if sequences stay within "
                f"{window} tokens, or use another model"
            )
    return int(window)


# --- rope ------------------------------------------------------------------------------------------


def _rope(data: Json, where: str) -> tuple[float, RopeScaling | None]:
    """Return theta and the scaling, whichever of the two schemas the config follows."""
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    stated = (rope.get("rope_theta"), data.get("rope_theta"), 10000.0)
    theta = next(value for value in stated if value is not None)
    if any(isinstance(value, dict) for value in rope.values()):
        raise UserError(f"{where}: rope_parameters differ from layer to layer, which is not supported")
    partial = rope.get("partial_rotary_factor", data.get("partial_rotary_factor"))
    if partial not in (None, 1):
        raise UserError(
            f"{where}: partial_rotary_factor is {partial}, but only whole heads can be rotated (1)"
        )
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return float(theta), None
    if kind not in _ROPE_KEYS:
        raise UserError(
            f"{where}: rope type {kind!r} is not supported ({', '.join(ROPE_KINDS[:-1])} and "
            f"{ROPE_KINDS[-1]} are)"
        )
    return float(theta), _scaling(kind, rope, data, where)


def _scaling(kind: str, rope: Json, data: Json, where: str) -> RopeScaling:
    """Return the scaling of a kind other than the default."""
    given = {key: rope[key] for key in _ROPE_KEYS[kind] if rope.get(key) is not None}
    if kind == "yarn":  # the numbers that the paper has besides are those of `RopeScaling`
        given.setdefault("original_max_position_embeddings", data.get("max_position_embeddings", 2048))
        if "attention_factor" not in given and rope.get("mscale") and rope.get("mscale_all_dim"):
            given["attention_factor"] = _mscale_ratio(rope)
    needed = ("factor",) if kind == "yarn" else _ROPE_KEYS[kind]
    missing = [key for key in needed if key not in given]
    if missing:
        raise UserError(f"{where}: the {kind} rope scaling lacks {', '.join(missing)}")
    context = given.pop("original_max_position_embeddings", None)
    return RopeScaling(
        rope_type=kind,
        truncate=bool(rope.get("truncate", True)) if kind == "yarn" else True,
        **({} if context is None else {"original_max_position_embeddings": int(context)}),
        **{key: float(value) for key, value in given.items()},
    )


def _mscale_ratio(rope: Json) -> float:
    """Return YaRN's attention factor where two of its coefficients are given, as DeepSeek-V2 has them."""
    log = math.log(float(rope["factor"])) if float(rope["factor"]) > 1 else 0.0
    return (0.1 * float(rope["mscale"]) * log + 1) / (0.1 * float(rope["mscale_all_dim"]) * log + 1)


def _scaling_to_dict(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """Return the rope scaling in the names of `config.json`, None for the default."""
    if scaling is None:
        return None
    stated = {key: getattr(scaling, key) for key in _ROPE_KEYS[scaling.rope_type]}
    if not scaling.truncate:
        stated["truncate"] = False
    return {"rope_type": scaling.rope_type, **{key: v for key, v in stated.items() if v is not None}}


# --- out -------------------------------------------------------------------------------------------


def config_to_dict(config: LlamaConfig, dtype: str = "float32") -> dict[str, Any]:
    """Return the `config.json` that transformers 4 and 5, and vLLM, read: both rope schemas at once."""
    family = FAMILIES[config.family]
    scaling = _scaling_to_dict(config.rope_scaling)
    eos = config.eos_token_ids
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_theta": config.rope_theta, **(scaling or {"rope_type": "default"})},
        "tie_word_embeddings": config.tie_word_embeddings,
        **_of_family(config, family),
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": 0.02,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": None if not eos else eos[0] if len(eos) == 1 else list(eos),
        "pad_token_id": config.pad_token_id,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _of_family(config: LlamaConfig, family: Family) -> dict[str, Any]:
    """Return the keys that only some families have."""
    keys: dict[str, Any] = {}
    if family.attention_bias is None:
        keys["attention_bias"] = config.attention_bias
    if family.mlp_bias:
        keys["mlp_bias"] = config.mlp_bias
    if family.windows:
        keys["sliding_window"] = config.sliding_window
    if family.windows == "switched":
        kind = "full_attention" if config.sliding_window is None else "sliding_attention"
        keys |= {
            "use_sliding_window": config.sliding_window is not None,
            "max_window_layers": config.num_layers if config.sliding_window is None else 0,
            "layer_types": [kind] * config.num_layers,
        }
    if family.no_rope:
        keys["no_rope_layers"] = [int(i not in config.no_rope_layers) for i in range(config.num_layers)]
    return keys
