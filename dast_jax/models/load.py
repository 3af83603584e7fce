"""Load any supported model: `load_model(path)` takes a Hugging Face folder or a .gguf file."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dast_jax.errors import UserError
from dast_jax.models.chat_template import read_template
from dast_jax.models.checks import check_tensors, check_token_ids
from dast_jax.models.gguf import GGUFFile, open_gguf
from dast_jax.models.hf import Folder, build_params, expected_tensors, open_folder
from dast_jax.models.llama import Graph, Llama, LlamaConfig, Params
from dast_jax.models.lora import Lora
from dast_jax.models.peft import Adapter
from dast_jax.models.sharding import param_shardings
from dast_jax.models.tokenizer import Tokenizer, load_tokenizer

__all__ = ["LoadedModel", "abstract_model", "load_description", "load_model"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run: `nnx.merge(graphdef, params)` inside jit gives the `Llama`."""

    config: LlamaConfig
    graphdef: Graph
    params: Params
    tokenizer: Tokenizer


def abstract_model(
    config: LlamaConfig,
    *,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    remat: str = "none",
    lora: Lora | None = None,
) -> tuple[Graph, Params]:
    """Return the graph and the parameters as shapes only; nothing is allocated.

    `dtype` is what the parameters are kept in, `compute_dtype` what the matrix products run in. With `lora`,
    the parameters include adapters.
    """
    make = functools.partial(
        Llama, config, dtype=jnp.dtype(compute_dtype), param_dtype=jnp.dtype(dtype), remat=remat, lora=lora
    )
    return nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))


def load_model(
    path: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    remat: str = "none",
    mesh: Mesh | None = None,
    adapter: Adapter | None = None,
    chat_template: str = "",
) -> LoadedModel:
    """Read a model folder or .gguf file and lay its parameters out over `mesh` (one device if None).

    An `adapter` is merged into the weights as they are read; `chat_template` names a file with a template
    that replaces the model's own.

    Raises `UserError` if the path is missing, not supported, incomplete, or has no usable tokenizer.
    """
    path = Path(path)
    config, source, tokenizer = _open(path, chat_template)
    graphdef, template = abstract_model(config, dtype=dtype, compute_dtype=compute_dtype, remat=remat)
    read = source.read if adapter is None else adapter.merging(source.read, config)
    try:
        params = build_params(template, config, read, _shardings(template, mesh))
        if "lm_head.weight" in source.shapes and config.tie_word_embeddings:
            _check_head(source)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return LoadedModel(config=config, graphdef=graphdef, params=params, tokenizer=tokenizer)


def load_description(
    path: str | os.PathLike[str], *, chat_template: str = ""
) -> tuple[LlamaConfig, Tokenizer]:
    """Return the config and tokenizer that `load_model` would, or raise as it does, reading no weights."""
    config, _, tokenizer = _open(Path(path), chat_template)
    return config, tokenizer


def _open(path: Path, chat_template: str) -> tuple[LlamaConfig, Folder | GGUFFile, Tokenizer]:
    """Return the config, the source of the tensors, and the tokenizer; no weights are read."""
    source: Folder | GGUFFile
    if path.suffix == ".gguf":
        source = open_gguf(path)
        tokenizer = source.tokenizer()
    else:
        source = open_folder(path)
        eos_ids = (*source.generation_eos_ids(), *source.config.eos_token_ids)
        tokenizer = load_tokenizer(path, eos_ids=eos_ids)
    if chat_template:
        tokenizer.use_chat_template(read_template(chat_template), f"model.chat_template: {chat_template}")
    _check_shapes(path, source)
    check_token_ids(tokenizer.eos_ids, source.config.vocab_size, str(path))
    if tokenizer.vocab_size > source.config.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens and the model only "
            f"{source.config.vocab_size} embeddings; use the tokenizer that belongs to the model"
        )
    return dataclasses.replace(source.config, eos_token_ids=tokenizer.eos_ids), source, tokenizer


def _check_shapes(path: Path, source: Folder | GGUFFile) -> None:
    """Raise `UserError` where the stored tensors are not the config's, before anything is allocated."""
    stored = source.shapes
    if source.config.tie_word_embeddings:
        stored.pop("lm_head.weight", None)  # which `_check_head` compares
    try:
        check_tensors(expected_tensors(source.config), stored, source.config.num_layers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_head(source: Folder | GGUFFile) -> None:
    """Raise `UserError` where a tied model has a head of its own, which would be left out."""
    if not np.array_equal(source.read("lm_head.weight"), source.read("model.embed_tokens.weight")):
        raise UserError(
            "config.json says tie_word_embeddings, and lm_head.weight differs from the embeddings; set "
            "tie_word_embeddings to false if the head is meant"
        )


def _shardings(template: Params, mesh: Mesh | None) -> dict[tuple[str, ...], Any] | None:
    """Return each parameter's layout by the table, None for one device."""
    if mesh is None:
        return None
    laid_out = nnx.to_flat_state(param_shardings(template, mesh))
    return {tuple(map(str, path)): leaf.get_value() for path, leaf in laid_out}
