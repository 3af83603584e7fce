"""The shapes of a model, from its `config.json` alone: no weights, no tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dast_jax.assets import ASSETS, resolve_path
from dast_jax.errors import UserError
from dast_jax.models.hf_config import config_from_dict
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.models.model_files import read_json
from dast_jax.options import nearest

__all__ = ["known_models", "model_shapes"]


def known_models() -> dict[str, Path]:
    """Return the models whose shapes ship with the package, by name."""
    return {path.stem: path for path in sorted((ASSETS / "model_configs").glob("*.json"))}


def model_shapes(model_path: str, given: str | None) -> tuple[LlamaConfig, str]:
    """Return the config that `--model-config` gives, else that of `model.path`; and where it is from.

    `given` is a file or a name of `known_models`. `model.path` may be a folder or .gguf file; a hub id is
    looked up among those, whatever its owner, and else fetched: its config.json only. Raises `UserError`.
    """
    known = known_models()
    if given is not None:
        path = Path(given).expanduser()
        if path.is_dir():
            path = path / "config.json"
        if path.is_file():
            return config_from_dict(read_json(path), str(path)), str(path)
        if (name := _plain(given)) in known:
            return _known(name)
        raise UserError(
            f"--model-config {given}: no such file, and no model whose shapes are known"
            f"{nearest(given, known)}; those are {', '.join(known)}"
        )
    path = resolve_path(model_path)
    if path.suffix == ".gguf" and path.is_file():
        from dast_jax.models.gguf import open_gguf

        return open_gguf(path).config, str(path)
    if (path / "config.json").is_file():
        file = path / "config.json"
        return config_from_dict(read_json(file), str(file)), str(file)
    if (name := _plain(model_path)) in known:
        return _known(name)
    return _fetched(model_path)


def _known(name: str) -> tuple[LlamaConfig, str]:
    file = known_models()[name]
    return config_from_dict(read_json(file), str(file)), f"the known shapes of {name}"


def _plain(text: str) -> str:
    """Return the name of a hub model without owner, revision, and what does not change its shapes."""
    name = text.rpartition("/")[2].partition("@")[0].lower()
    return re.sub(r"^meta-|-(instruct|base|it)$", "", name)


def _fetched(model_path: str) -> tuple[LlamaConfig, str]:
    name, _, revision = model_path.partition("@")
    try:
        from huggingface_hub import hf_hub_download

        file: Any = hf_hub_download(name, "config.json", revision=revision or None)
    except Exception as error:  # the hub client raises its own, HTTP, file and value errors
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"model.path: {model_path} is no local model, and its config.json cannot be fetched ({reason}); "
            f"give --model-config FILE, or one of {', '.join(known_models())}"
        ) from None
    return config_from_dict(read_json(Path(file)), str(file)), f"{model_path} on the hub"
