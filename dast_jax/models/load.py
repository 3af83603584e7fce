"""Load any supported model: `load_model(path)` takes a Hugging Face folder or a .gguf file."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dast_jax.errors import UserError
from dast_jax.models.gguf import GGUFFile, open_gguf
from dast_jax.models.hf import Folder, build_params, open_folder
from dast_jax.models.llama import Graph, Llama, LlamaConfig, Params
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
    config: LlamaConfig, *, dtype: str = "float32", compute_dtype: str = "float32", remat: bool = False
) -> tuple[Graph, Params]:
    """Return the graph and the parameters as shapes only; nothing is allocated.

    `dtype` is what the parameters are kept in, `compute_dtype` what the matrix products run in.
    """
    make = functools.partial(
        Llama, config, dtype=jnp.dtype(compute_dtype), param_dtype=jnp.dtype(dtype), remat=remat
    )
    return nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))


def load_model(
    path: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    remat: bool = False,
    mesh: Mesh | None = None,
) -> LoadedModel:
    """Read a model folder or .gguf file and lay its parameters out over `mesh` (one device if None).

    Raises `UserError` if the path is missing, not a Llama, incomplete, or has no usable tokenizer.
    """
    path = Path(path)
    config, read, tokenizer = _open(path)
    graphdef, template = abstract_model(config, dtype=dtype, compute_dtype=compute_dtype, remat=remat)
    try:
        params = build_params(template, config, read, _placer(template, mesh))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return LoadedModel(config=config, graphdef=graphdef, params=params, tokenizer=tokenizer)


def load_description(path: str | os.PathLike[str]) -> tuple[LlamaConfig, Tokenizer]:
    """Return the config and tokenizer that `load_model` would, or raise as it does, reading no weights."""
    config, _, tokenizer = _open(Path(path))
    return config, tokenizer


def _open(path: Path) -> tuple[LlamaConfig, Callable[[str], np.ndarray], Tokenizer]:
    """Return the config, the function that reads a tensor by its Hugging Face name, and the tokenizer."""
    source: Folder | GGUFFile
    if path.suffix == ".gguf":
        source = open_gguf(path)
        tokenizer = source.tokenizer()
    else:
        source = open_folder(path)
        eos_ids = (*source.generation_eos_ids(), *source.config.eos_token_ids)
        tokenizer = load_tokenizer(path, eos_ids=eos_ids)
    if tokenizer.vocab_size > source.config.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens and the model only "
            f"{source.config.vocab_size} embeddings; use the tokenizer that belongs to the model"
        )
    return dataclasses.replace(source.config, eos_token_ids=tokenizer.eos_ids), source.read, tokenizer


def _placer(template: Params, mesh: Mesh | None) -> Any:
    """Return the function that puts a host array on the device(s), split as the table says."""
    if mesh is None:
        return lambda path, array: jnp.asarray(array)
    shardings = dict(nnx.to_flat_state(param_shardings(template, mesh)))

    def place(path: tuple[str, ...], array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(
            array.shape, shardings[path].get_value(), lambda index: array[index]
        )

    return place
