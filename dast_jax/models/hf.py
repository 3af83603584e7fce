"""Hugging Face folders, in and out: safetensors (`config.json`: `hf_config.py`; tokenizers: `tokenizer.py`).

A parameter here is one array for all layers, axes in the order of the computation; a Hugging Face tensor is
one layer's matrix, transposed. `LEAVES` is the whole correspondence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from dast_jax.assets.paths import file_within
from dast_jax.errors import UserError
from dast_jax.models.checks import check_values, check_weights
from dast_jax.models.hf_config import config_from_dict, config_to_dict, token_ids
from dast_jax.models.llama import LlamaConfig, Params
from dast_jax.models.model_files import INDEX, WEIGHTS, indexed_files, read_json
from dast_jax.models.quantized import read_quantization
from dast_jax.models.tensor_files import TensorFile
from dast_jax.models.tokenizer import Tokenizer

__all__ = [
    "LEAVES",
    "Folder",
    "build_params",
    "config_from_dict",
    "config_to_dict",
    "expected_shape",
    "expected_tensors",
    "fetch",
    "hf_names",
    "open_folder",
    "save_model",
    "write_json",
]

LEAVES: dict[tuple[str, ...], str] = {
    ("embedding",): "model.embed_tokens.weight",
    ("layers", "attention_norm", "scale"): "model.layers.{}.input_layernorm.weight",
    ("layers", "q_norm", "scale"): "model.layers.{}.self_attn.q_norm.weight",
    ("layers", "k_norm", "scale"): "model.layers.{}.self_attn.k_norm.weight",
    ("layers", "q", "kernel"): "model.layers.{}.self_attn.q_proj.weight",
    ("layers", "k", "kernel"): "model.layers.{}.self_attn.k_proj.weight",
    ("layers", "v", "kernel"): "model.layers.{}.self_attn.v_proj.weight",
    ("layers", "o", "kernel"): "model.layers.{}.self_attn.o_proj.weight",
    ("layers", "q", "bias"): "model.layers.{}.self_attn.q_proj.bias",
    ("layers", "k", "bias"): "model.layers.{}.self_attn.k_proj.bias",
    ("layers", "v", "bias"): "model.layers.{}.self_attn.v_proj.bias",
    ("layers", "o", "bias"): "model.layers.{}.self_attn.o_proj.bias",
    ("layers", "mlp_norm", "scale"): "model.layers.{}.post_attention_layernorm.weight",
    ("layers", "gate", "kernel"): "model.layers.{}.mlp.gate_proj.weight",
    ("layers", "up", "kernel"): "model.layers.{}.mlp.up_proj.weight",
    ("layers", "down", "kernel"): "model.layers.{}.mlp.down_proj.weight",
    ("layers", "gate", "bias"): "model.layers.{}.mlp.gate_proj.bias",
    ("layers", "up", "bias"): "model.layers.{}.mlp.up_proj.bias",
    ("layers", "down", "bias"): "model.layers.{}.mlp.down_proj.bias",
    ("norm", "scale"): "model.norm.weight",
    ("lm_head",): "lm_head.weight",
}

_SHARD_BYTES = 5_000_000_000


# --- one parameter ↔ the tensors of all layers ----------------------------------------------------


def hf_names(path: tuple[str, ...], config: LlamaConfig) -> list[str]:
    """Return the Hugging Face tensor names behind one parameter: one per layer, or just one."""
    name = LEAVES[path]
    return [name.format(i) for i in range(config.num_layers)] if path[0] == "layers" else [name]


class _Fold(NamedTuple):
    """How a Hugging Face [out, in] matrix maps to a kernel here: transpose, then split into `shape`."""

    transpose: bool
    shape: tuple[int, ...]


def _fold(path: tuple[str, ...], c: LlamaConfig) -> _Fold:
    d, n, kv, h, f, v = (
        c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim, c.intermediate_size, c.vocab_size,
    )  # fmt: skip
    name, leaf = (path[-2], path[-1]) if path[0] != "embedding" and path[0] != "lm_head" else (path[0], "")
    if leaf == "bias":
        shapes = {"q": (n, h), "k": (kv, h), "v": (kv, h), "o": (d,), "gate": (f,), "up": (f,), "down": (d,)}
        return _Fold(False, shapes[name])
    if leaf == "scale":
        return _Fold(False, (h,) if name in ("q_norm", "k_norm") else (d,))
    kernels = {
        "q": (d, n, h), "k": (d, kv, h), "v": (d, kv, h), "o": (n, h, d), "gate": (d, f),
        "up": (d, f), "down": (f, d), "lm_head": (d, v),
    }  # fmt: skip
    return _Fold(False, (v, d)) if name == "embedding" else _Fold(True, kernels[name])


def expected_shape(path: tuple[str, ...], config: LlamaConfig) -> tuple[int, ...]:
    """Return the shape that the Hugging Face tensor of one layer must have."""
    transpose, shape = _fold(path, config)
    if not transpose:
        return shape if path[-1] != "bias" else (int(np.prod(shape)),)
    split = 2 if path[-2:-1] == ("o",) else 1  # the axes that make up "in"
    return int(np.prod(shape[split:])), int(np.prod(shape[:split]))


def _has(path: tuple[str, ...], config: LlamaConfig) -> bool:
    """Return whether a model of `config` has the parameter `path` of `LEAVES`."""
    if path == ("lm_head",):
        return not config.tie_word_embeddings
    if path[-1] == "bias":
        if path[-2] in ("gate", "up", "down"):
            return config.mlp_bias
        return config.attention_output_bias if path[-2] == "o" else config.attention_bias
    return config.qk_norm or path[-2:-1] not in (("q_norm",), ("k_norm",))


def expected_tensors(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of all tensors that a model of `config` has, in Hugging Face's names."""
    for path in LEAVES:
        if not _has(path, config):
            continue
        shape = expected_shape(path, config)
        for name in hf_names(path, config):
            yield name, shape


def _unfold(array: np.ndarray, path: tuple[str, ...], config: LlamaConfig) -> np.ndarray:
    """Return the Hugging Face tensor of one layer of a parameter."""
    transpose, _ = _fold(path, config)
    shape = expected_shape(path, config)
    return array.reshape(shape[::-1]).T if transpose else array.reshape(shape)


def build_params(
    template: Params,
    config: LlamaConfig,
    read: Callable[[str], np.ndarray],
    place: Callable[[tuple[str, ...], np.ndarray], Any],
) -> Params:
    """Return `template` (an abstract parameter state) with values in it.

    `read(name)` gives a Hugging Face tensor, `place(path, array)` turns the stacked host array of one
    parameter into a device array; parameters go one by one, so that the host holds one at a time. Raises
    `UserError` if a tensor has another shape than the config says, or holds anything but finite numbers.
    """

    def load(path: tuple[str, ...], dtype: np.dtype) -> np.ndarray:
        fold, shape = _fold(path, config), expected_shape(path, config)
        names = hf_names(path, config)
        out = np.empty((len(names), *fold.shape), dtype)
        for i, name in enumerate(names):
            tensor = read(name)
            if tensor.shape != shape:
                raise UserError(
                    f"tensor {name} has shape {list(tensor.shape)} where the config says {list(shape)}; "
                    "the weights do not belong to this config"
                )
            check_values(name, tensor)
            with np.errstate(over="ignore"):  # what overflows is refused by name
                out[i] = (tensor.T if fold.transpose else tensor).reshape(fold.shape)
            check_weights(name, out[i])
        return out if path[0] == "layers" else out[0]

    filled: Any = {
        path: leaf.replace(place(path, load(path, leaf.get_value().dtype)))
        for path, leaf in _flat(template).items()
    }
    return nnx.from_flat_state(filled)


def _flat(params: Params) -> dict[tuple[str, ...], Any]:
    """Return the parameters by path, in order."""
    return {tuple(map(str, path)): leaf for path, leaf in nnx.to_flat_state(params)}


# --- folders --------------------------------------------------------------------------------------


class Folder:
    """An opened Hugging Face folder: its config, and its tensors by name."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(
                f"model folder {self.path} does not exist; give a Hugging Face folder, a .gguf file "
                "or a hub id"
            )
        config_file = file_within(self.path, "config.json")
        if not config_file.is_file():
            raise UserError(f"{self.path} has no config.json, so it is not a Hugging Face model folder")
        data = read_json(config_file)
        self.config = config_from_dict(data, str(config_file))
        self._quantization = read_quantization(data, str(config_file))
        self._files = self._index()

    def generation_eos_ids(self) -> tuple[int, ...]:
        """Return the EOS ids of `generation_config.json`, if there is one."""
        file = file_within(self.path, "generation_config.json")
        try:
            return token_ids(read_json(file).get("eos_token_id")) if file.is_file() else ()
        except (TypeError, ValueError) as error:
            raise UserError(f"{file}: eos_token_id holds something else than ids ({error})") from None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the stored weights by name, without scales, and what old folders have besides."""
        extra = self._quantization.is_extra if self._quantization else lambda name: False
        return {
            name: file.shape(name)
            for name, file in self._files.items()
            if not extra(name) and not name.endswith("rotary_emb.inv_freq")
        }

    def read(self, name: str) -> np.ndarray:
        """Return one tensor as it is stored, or dequantized."""
        stored = self._stored(name)
        if self._quantization is None:
            return stored
        return self._quantization.dequantize(name, stored, self._stored)

    def _stored(self, name: str) -> np.ndarray:
        file = self._files.get(name)
        if file is None:
            raise UserError(
                f"{self.path}: the weights lack the tensor {name}; the folder is not a complete model"
            )
        return file.read(name)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def _index(self) -> dict[str, TensorFile]:
        single, index = (file_within(self.path, name) for name in (WEIGHTS, INDEX))
        if single.is_file():
            files = [single]
        elif index.is_file():
            files = [file_within(self.path, name, named_in=INDEX) for name in indexed_files(index)]
        else:
            raise UserError(
                f"{self.path} has no model.safetensors (nor model.safetensors.index.json); "
                "save the model with safe serialization first"
            )
        found: dict[str, TensorFile] = {}
        for file in files:
            if not file.is_file():
                raise UserError(f"{file} is missing, though {index.name} lists it; download the model again")
            opened = TensorFile(file)
            found |= dict.fromkeys(opened.names, opened)
        return found


def open_folder(path: str | os.PathLike[str]) -> Folder:
    """Return the opened folder; raise `UserError` if it is missing, incomplete or not supported."""
    return Folder(path)


def save_model(
    directory: str | os.PathLike[str],
    config: LlamaConfig,
    params: Params,
    tokenizer: Tokenizer | None = None,
    card: str | None = None,
) -> None:
    """Write a folder that transformers and vLLM load: weights and configs; tokenizer and model card if given.

    Weights keep the dtype of `params`; above 5 GB they are split over several files. `config.json`
    comes last, each file by rename, so that an interrupted save is never taken for a model.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(directory)
    if card is not None:
        (directory / "README.md").write_text(card, encoding="utf-8")
    flat = _flat(params)
    _write_tensors(directory, config, flat)
    dtype = str(np.dtype(flat["embedding",].get_value().dtype))
    written = config_to_dict(config, dtype)
    generation = {key: written[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(directory / "generation_config.json", generation)
    write_json(directory / "config.json", written)


def _write_tensors(directory: Path, config: LlamaConfig, flat: dict[tuple[str, ...], Any]) -> None:
    shards: list[list[tuple[tuple[str, ...], int, str]]] = [[]]
    sizes, total = 0, 0
    for path, leaf in flat.items():
        names = hf_names(path, config)
        each = leaf.get_value().nbytes // len(names)
        for i, name in enumerate(names):
            if sizes and sizes + each > _SHARD_BYTES:
                shards.append([])
                sizes = 0
            shards[-1].append((path, i, name))
            sizes, total = sizes + each, total + each
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        single = len(shards) == 1
        file = "model.safetensors" if single else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= dict.fromkeys((name for _, _, name in shard), file)
        temporary = directory / (file + ".tmp")
        safetensors.numpy.save_file(dict(_tensors(shard, flat, config)), temporary, metadata={"format": "pt"})
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors writes files that only their owner can read
        os.replace(temporary, directory / file)
    index = directory / "model.safetensors.index.json"
    if len(shards) > 1:
        write_json(index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        (directory / "model.safetensors").unlink(missing_ok=True)
    else:
        index.unlink(missing_ok=True)


def _tensors(
    shard: list[tuple[tuple[str, ...], int, str]], flat: dict[tuple[str, ...], Any], config: LlamaConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the named tensors of one file; each parameter is fetched from the devices once."""
    last: tuple[str, ...] | None = None
    for path, i, name in shard:
        if path != last:
            stacked, last = fetch(flat[path].get_value()), path
        layer = stacked[i] if path[0] == "layers" else stacked
        yield name, np.ascontiguousarray(_unfold(layer, path, config))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fetch(array: Any) -> np.ndarray:
    """Return a device array on the host, whole on every process."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, by rename."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)
