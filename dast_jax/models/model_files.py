"""Which files of a Hugging Face folder a model is read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dast_jax.errors import UserError

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "INDEX",
    "SMALL_FILES",
    "WEIGHTS",
    "indexed_files",
    "read_json",
]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""What PEFT calls the files of an adapter."""

SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
"""What is read besides the weights: config, tokenizers, chat templates."""


def indexed_files(index: Path) -> list[str]:
    """Return the names of the safetensors files that `index` lists; raise `UserError` for any other kind."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UserError(f"{index} has no weight_map of tensors and files; download the model again")
    names = sorted(set(weight_map.values()))
    for name in names:
        if not name.endswith(".safetensors"):
            raise UserError(
                f"{index} names {name!r}, and only safetensors are read; save the model as safetensors"
            )
    return names


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `UserError` for what is not JSON, or is no object."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error}); download the model again") from None
    if not isinstance(data, dict):
        raise UserError(f"{file} is not a JSON object; download the model again")
    return data
