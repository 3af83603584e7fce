"""Hugging Face folders, in and out: safetensors (`config.json`: `hf_config.py`; tokenizers: `tokenizer.py`).

A parameter here is one array for all layers, axes in the order of the computation; a Hugging Face tensor is
one layer's matrix, transposed. `LEAVES` is the whole correspondence.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Sharding

from dast_jax.assets.paths import file_within
from dast_jax.errors import UserError
from dast_jax.models.checks import check_values, check_weights
from dast_jax.models.hf_config import config_from_dict, config_to_dict, token_ids
from dast_jax.models.llama import LlamaConfig, Params
from dast_jax.models.model_files import INDEX, WEIGHTS, indexed_files, read_json
from dast_jax.models.quantized import read_quantization
from dast_jax.models.tensor_files import Entry, TensorFile, write_tensors
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
    shardings: Mapping[tuple[str, ...], Sharding] | None = None,
) -> Params:
    """Return `template` (an abstract parameter state) with values in it, laid out by `shardings`.

    `read(name)` gives a Hugging Face tensor. Parameters go one by one, and of each the host holds what this
    process's devices get; without `shardings` that is all of it, for one device. Raises `UserError` if a
    tensor has another shape than the config says, or holds anything but finite numbers.
    """
    filled: Any = {
        path: leaf.replace(
            _stacked(
                path, leaf.get_value().dtype, config, read, None if shardings is None else shardings[path]
            )
        )
        for path, leaf in _flat(template).items()
    }
    return nnx.from_flat_state(filled)


def _stacked(
    path: tuple[str, ...],
    dtype: np.dtype,
    config: LlamaConfig,
    read: Callable[[str], np.ndarray],
    sharding: Sharding | None,
) -> jax.Array:
    """Return one parameter on its devices, read one tensor after the other."""
    fold, expected, names = _fold(path, config), expected_shape(path, config), hf_names(path, config)
    shape = (len(names), *fold.shape) if path[0] == "layers" else fold.shape
    whole = tuple(slice(0, length) for length in shape)
    indices = [whole] if sharding is None else sharding.addressable_devices_indices_map(shape).values()
    parts = {
        key: np.empty(tuple(stop - start for start, stop in key), dtype)
        for key in {_bounds(index or whole, shape) for index in indices}
    }
    for i, name in enumerate(names):
        tensor = read(name)
        if tensor.shape != expected:
            raise UserError(
                f"tensor {name} has shape {list(tensor.shape)} where the config says {list(expected)}; "
                "the weights do not belong to this config"
            )
        check_values(name, tensor)
        folded = (tensor.T if fold.transpose else tensor).reshape(fold.shape)
        for key, part in parts.items():
            into, within = (part[i], key[1:]) if path[0] == "layers" else (part, key)
            with np.errstate(over="ignore"):  # what overflows is refused by name
                into[...] = folded[tuple(slice(*bounds) for bounds in within)]
            check_weights(name, into)
    if sharding is None:
        return jnp.asarray(parts[_bounds(whole, shape)])
    return jax.make_array_from_callback(shape, sharding, lambda index: parts[_bounds(index or whole, shape)])


def _bounds(index: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the first place and the end of each axis of a part; layers are not split."""
    return tuple(part.indices(length)[:2] for part, length in zip(index, shape, strict=True))


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
    *,
    dtype: str | None = None,
    read: Callable[[tuple[str, ...]], Any] | None = None,
) -> None:
    """Write a folder that transformers and vLLM load: weights and configs; tokenizer and model card if given.

    Weights keep the dtype of `params` unless `dtype` is given; above 5 GB they are split over several files.
    Where `params` are shapes only, `read(path)` gives the parameter of that path. One parameter is on the
    host at a time, and of one on other devices, one layer. `config.json` comes last, each file by rename,
    so that an interrupted save is never taken for a model.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(directory)
    if card is not None:
        (directory / "README.md").write_text(card, encoding="utf-8")
    flat = _flat(params)
    kinds = {path: np.dtype(dtype or leaf.get_value().dtype) for path, leaf in flat.items()}
    _write_weights(directory, config, kinds, read or (lambda path: flat[path].get_value()))
    written = config_to_dict(config, str(kinds["embedding",]))
    generation = {key: written[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(directory / "generation_config.json", generation)
    write_json(directory / "config.json", written)


class _Weight(NamedTuple):
    """One tensor of a file: layer `layer` of the parameter `path`."""

    path: tuple[str, ...]
    layer: int
    entry: Entry


def _write_weights(
    directory: Path,
    config: LlamaConfig,
    kinds: Mapping[tuple[str, ...], np.dtype],
    read: Callable[[tuple[str, ...]], Any],
) -> None:
    files: list[list[_Weight]] = [[]]
    size, total = 0, 0
    for path, dtype in kinds.items():
        shape = expected_shape(path, config)
        each = int(np.prod(shape)) * dtype.itemsize
        for i, name in enumerate(hf_names(path, config)):
            if size and size + each > _SHARD_BYTES:
                files.append([])
                size = 0
            files[-1].append(_Weight(path, i, Entry(name, dtype, shape)))
            size, total = size + each, total + each
    arrays = _layers((weight for file in files for weight in file), config, read)
    weight_map: dict[str, str] = {}
    for number, weights in enumerate(files, 1):
        single = len(files) == 1
        file = WEIGHTS if single else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        entries = [weight.entry for weight in weights]
        weight_map |= {entry.name: file for entry in entries}
        write_tensors(directory / file, entries, itertools.islice(arrays, len(entries)))
    if len(files) > 1:
        write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
        (directory / WEIGHTS).unlink(missing_ok=True)
    else:
        (directory / INDEX).unlink(missing_ok=True)


def _layers(
    weights: Iterable[_Weight], config: LlamaConfig, read: Callable[[tuple[str, ...]], Any]
) -> Iterator[np.ndarray]:
    """Yield the tensors; each parameter is read once."""
    path: tuple[str, ...] | None = None
    array: Any = None
    for weight in weights:
        if weight.path != path:
            array = None  # before the next one is read
            array, path = _on_one(read(weight.path)), weight.path
        layer = fetch(array[weight.layer]) if path[0] == "layers" else fetch(array)
        yield np.asarray(_unfold(layer, path, config), weight.entry.dtype)


def _on_one(array: Any) -> Any:
    """Return an array of one CPU device on the host, which copies nothing; others stay where they are."""
    if isinstance(array, jax.Array) and {d.platform for d in array.devices()} == {"cpu"}:
        return np.asarray(array) if len(array.devices()) == 1 else array
    return array


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
