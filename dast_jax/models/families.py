"""The families of models that are read, as transformers names them, and what is fixed in each.

`llama.py` computes all of them, from the fields of `LlamaConfig`. What `config.json` leaves out has the value
that the family's configuration class in transformers gives it, `defaults` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dast_jax.errors import UserError

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A `model_type` of transformers.

    `attention_bias` says whether q, k and v (and not o) have a bias; None: the key `attention_bias` does, for
    all four. `qk_norm`: queries and keys are normalized for each head. `windows`: there is a sliding window
    where the key `sliding_window` has one (`always`), or if `use_sliding_window` is set too (`switched`).
    `no_rope`: some layers rotate nothing, by the key `no_rope_layers`.
    """

    model_type: str
    architecture: str
    models: str
    defaults: Mapping[str, Any]
    attention_bias: bool | None = None
    mlp_bias: bool = False
    qk_norm: bool = False
    windows: str = ""
    no_rope: bool = False


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            model_type="llama",
            architecture="LlamaForCausalLM",
            models="Llama 2 to 3.2, DeepSeekMath, SmolLM2",
            defaults={},
            mlp_bias=True,
        ),
        Family(
            model_type="mistral",
            architecture="MistralForCausalLM",
            models="Mistral",
            defaults={
                "num_key_value_heads": 8,
                "max_position_embeddings": 131072,
                "sliding_window": 4096,
            },
            attention_bias=False,
            windows="always",
        ),
        Family(
            model_type="qwen2",
            architecture="Qwen2ForCausalLM",
            models="Qwen2 and Qwen2.5",
            defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768},
            attention_bias=True,
            windows="switched",
        ),
        Family(
            model_type="qwen3",
            architecture="Qwen3ForCausalLM",
            models="Qwen3",
            defaults={"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768},
            qk_norm=True,
            windows="switched",
        ),
        Family(
            model_type="smollm3",
            architecture="SmolLM3ForCausalLM",
            models="SmolLM3",
            defaults={
                "num_key_value_heads": 4,
                "max_position_embeddings": 32768,
                "rope_theta": 2000000.0,
                "tie_word_embeddings": True,
                "bos_token_id": 128000,
                "eos_token_id": 128001,
                "pad_token_id": 128004,
            },
            mlp_bias=True,
            windows="switched",
            no_rope=True,
        ),
    )
}
"""The families by `model_type`."""


def family_of(data: Mapping[str, Any], where: str) -> Family:
    """Return the family of a `config.json`, by its model_type and architecture (Llama where it has neither).

    Raises `UserError` naming the model and what is supported.
    """
    kind, architectures = data.get("model_type"), data.get("architectures") or []
    named = [f for f in FAMILIES.values() if f.architecture in architectures]
    family = FAMILIES.get(str(kind)) if kind is not None else named[0] if named else FAMILIES["llama"]
    if family is None or (architectures and family.architecture not in architectures):
        name = str(architectures[0]) if architectures else str(kind)
        supported = "; ".join(f"{f.architecture} ({f.models})" for f in FAMILIES.values())
        raise UserError(
            f"{where}: this is {name} (model_type {kind!r}), which is not supported; choose another "
            f"model.path (supported are {supported})"
        )
    return family
