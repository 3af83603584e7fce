"""LoRA adapters in PEFT's format, in and out: `adapter_config.json` and `adapter_model.safetensors`.

The format: https://huggingface.co/docs/peft/developer_guides/checkpoint. A tensor is named
`base_model.model.` + the module's name + `.lora_A.weight` [r, in] or `.lora_B.weight` [out, r], and the
module computes W x + scale · B (A x), with scale = lora_alpha / r, or lora_alpha / √r where `use_rslora` is
set.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from jax.sharding import Mesh

from dast_jax.errors import UserError
from dast_jax.models.checks import check_values, check_weights
from dast_jax.models.hf import LEAVES, expected_shape, fetch, write_json
from dast_jax.models.hub import hub_name
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.models.lora import Lora
from dast_jax.models.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_json
from dast_jax.models.options import LORA_TARGETS, LoraOptions
from dast_jax.models.sharding import param_shardings
from dast_jax.models.tensor_files import TensorFile

__all__ = ["Adapter", "adapter_params", "check_same_adapters", "open_adapter", "save_adapter"]

log = logging.getLogger(__name__)

_PREFIX = "base_model.model."
_PARTS = {"lora_a": "lora_A", "lora_b": "lora_B"}

_REFUSED: dict[str, tuple[Any, ...]] = {
    "use_dora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "bias": ("none",),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "modules_to_save": ([],),
    "layer_replication": ([],),
    "trainable_token_indices": ([], {}),
    "target_parameters": ([],),
    "alora_invocation_tokens": ([],),
    "use_qalora": (False,),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""Keys that make an adapter something else than W x + scale · B (A x) on the base model's own weights, with
their harmless values; null is harmless too. (Of the inits, those left out change the base model.)"""

Read = Callable[[str], np.ndarray]


class Adapter:
    """An opened adapter: its tensors by module and part, its rank, and the scale of its output.

    Raises `UserError` where the folder is incomplete, or holds what `_REFUSED` or another method of PEFT is.
    """

    def __init__(self, path: Path):
        self.path = path
        config_file, weights = path / ADAPTER_CONFIG, path / ADAPTER_WEIGHTS
        for file in (config_file, weights):
            if not file.is_file():
                raise UserError(f"model.adapter: {path} has no {file.name}; name an adapter saved by PEFT")
        data = read_json(config_file)
        self.base = str(data.get("base_model_name_or_path") or "")
        self.rank, self.scale = _rank_and_scale(data, str(config_file))
        self._file = TensorFile(weights)
        self._shapes = {name: self._file.shape(name) for name in self._file.names}
        self._modules = self._check_names()

    @property
    def targets(self) -> tuple[str, ...]:
        """The matrices of a layer that have an adapter in some layer, in PEFT's names."""
        found = {module.rsplit(".", 1)[-1] for module in self._modules}
        return tuple(target for target in LORA_TARGETS if target in found)

    def check_fits(self, config: LlamaConfig) -> None:
        """Raise `UserError` where the model has no such matrices, or has them in other shapes."""
        shapes = _shapes(config)
        for module in sorted(self._modules):
            if module not in shapes:
                raise UserError(f"{self.path}: the adapter is for {module}, which the model does not have")
            out, into = shapes[module]
            for part, wanted in (("lora_a", (self.rank, into)), ("lora_b", (out, self.rank))):
                found = self._shapes[_tensor(module, part)]
                if found != wanted:
                    raise UserError(
                        f"{self.path}: {_tensor(module, part)} has shape {list(found)} where the model needs "
                        f"{list(wanted)}; name the adapter that belongs to the model"
                    )

    def read(self, module: str, part: str) -> np.ndarray | None:
        """Return `lora_a` [r, in] or `lora_b` [out, r] of a module in float32, None where it has none."""
        if module not in self._modules:
            return None
        name = _tensor(module, part)
        tensor = self._file.read(name)
        check_values(name, tensor)
        check_weights(name, tensor)
        return tensor.astype(np.float32)

    def merging(self, read: Read, config: LlamaConfig) -> Read:
        """Return a function like `read`, of the base model's tensors, which adds scale · B · A to them."""
        self.check_fits(config)

        def merged(name: str) -> np.ndarray:
            tensor = read(name)
            module = name.removesuffix(".weight")
            a, b = self.read(module, "lora_a"), self.read(module, "lora_b")
            if a is None or b is None:
                return tensor
            return np.asarray(tensor.astype(np.float32) + self.scale * (b @ a))

        return merged

    def _check_names(self) -> frozenset[str]:
        """Return the modules, each with both parts; raise `UserError` for any other tensor."""
        modules: dict[str, set[str]] = {}
        for name in self._shapes:
            for part in _PARTS:
                suffix = f".{_PARTS[part]}.weight"
                if name.startswith(_PREFIX) and name.endswith(suffix):
                    modules.setdefault(name[len(_PREFIX) : -len(suffix)], set()).add(part)
                    break
            else:
                raise UserError(
                    f"{self.path}: the adapter has the tensor {name}, and only LoRA of the layers' matrices "
                    "is supported; merge it with PEFT, and name the merged model in model.path"
                )
        for module, parts in modules.items():
            if len(parts) < len(_PARTS):
                raise UserError(f"{self.path}: {module} has only {_PARTS[parts.pop()]}; save it again")
        if not modules:
            raise UserError(f"{self.path}: {ADAPTER_WEIGHTS} holds no adapter; save it again")
        return frozenset(modules)


def open_adapter(path: str | os.PathLike[str], base: str | None = None) -> Adapter:
    """Return the opened adapter in a folder; raise `UserError` where it cannot be used.

    One that names another model than `base` is used with a warning: a model may be called otherwise here.
    """
    adapter = Adapter(Path(path))
    if base is not None and adapter.base and _last(adapter.base) != _last(base.partition("@")[0]):
        log.warning(
            "model.adapter: %s was trained on %s, and model.path is %s; they must be the same weights",
            path,
            adapter.base,
            base,
        )
    return adapter


def _last(name: str) -> str:
    return PurePath(name).name.casefold()


def check_same_adapters(adapter: Adapter, options: LoraOptions) -> None:
    """Raise `UserError` where an adapter to be trained on is not of the shape and scale in `options`."""
    same = adapter.rank == options.rank and set(adapter.targets) == set(options.targets)
    if not same or not math.isclose(adapter.scale, options.alpha / options.rank, rel_tol=1e-5):
        raise UserError(
            f"model.adapter: {adapter.path} has rank {adapter.rank}, and training.lora another shape; to "
            f"train it on, set training.lora.rank={adapter.rank} "
            f"training.lora.alpha={adapter.scale * adapter.rank:g} "
            f"training.lora.targets=[{', '.join(adapter.targets)}]; "
            "training.lora.rank=0 merges it and trains all weights"
        )


def adapter_params(adapter: Adapter, template: Any, config: LlamaConfig, mesh: Mesh | None = None) -> Any:
    """Return the adapter as parameters in the shapes of `template` (the adapters of an abstract state).

    Raises `UserError` where it lacks some layer that others have.
    """
    adapter.check_fits(config)
    shardings = None if mesh is None else dict(nnx.to_flat_state(param_shardings(template, mesh)))
    made: dict[Any, Any] = {}
    for path, leaf in nnx.to_flat_state(template):
        host = np.empty(leaf.get_value().shape, np.float32)
        for layer, module in enumerate(_modules(path, config)):
            tensor = adapter.read(module, str(path[-1]))
            if tensor is None:
                raise UserError(
                    f"model.adapter: {adapter.path} has nothing for {module}, and adapters that are trained "
                    "on are in every layer; set training.lora.rank=0 to merge it"
                )
            host[layer] = tensor.T.reshape(host.shape[1:])
        place = (
            jnp.asarray(host)
            if shardings is None
            else jax.make_array_from_callback(host.shape, shardings[path].get_value(), host.__getitem__)
        )
        made[path] = leaf.replace(place)
    return nnx.from_flat_state(made)


def save_adapter(
    directory: str | os.PathLike[str], adapters: Any, lora: Lora, config: LlamaConfig, *, base: str
) -> None:
    """Write adapters as a folder that PEFT and vLLM load onto the model `base`; the config comes last.

    Of a base model that is a local path, the last part alone is named: an adapter may be published.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    for path, leaf in nnx.to_flat_state(adapters):
        stacked = fetch(leaf.get_value())
        for layer, module in enumerate(_modules(path, config)):
            flat = stacked[layer].reshape(lora.rank, -1) if path[-1] == "lora_b" else stacked[layer]
            tensors[_tensor(module, str(path[-1]))] = np.ascontiguousarray(flat.reshape(-1, flat.shape[-1]).T)
    temporary = directory / (ADAPTER_WEIGHTS + ".tmp")
    safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, directory / ADAPTER_WEIGHTS)
    alpha = lora.scale * lora.rank
    write_json(
        directory / ADAPTER_CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            **_base_of(base),
            "inference_mode": True,
            "r": lora.rank,
            "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
            "lora_dropout": 0.0,
            "target_modules": [f"{target}_proj" for target in lora.targets],
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "modules_to_save": None,
            "use_rslora": False,
            "use_dora": False,
        },
    )


def _base_of(base: str) -> dict[str, Any]:
    """Return the keys that name the base model."""
    name, revision = hub_name(base)
    if name is None:
        return {"base_model_name_or_path": PurePath(base.removeprefix("asset:")).name}
    return {"base_model_name_or_path": name, "revision": revision}


def _rank_and_scale(data: Mapping[str, Any], where: str) -> tuple[int, float]:
    """Return r and the scale of `adapter_config.json`; raise `UserError` for what is not supported."""
    if str(data.get("peft_type", "LORA")).upper() != "LORA":
        raise UserError(f"{where}: peft_type is {data['peft_type']!r}, and only LORA is supported")
    for key, harmless in _REFUSED.items():
        value = data.get(key)
        if value is not None and value not in harmless:
            raise UserError(
                f"{where}: {key} is {json.dumps(value)[:60]}, which is not supported; merge the adapter with "
                "PEFT, and name the merged model in model.path"
            )
    try:
        rank, alpha = int(data["r"]), float(data["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: r and lora_alpha must be numbers ({error}); save the adapter again"
        ) from None
    if rank < 1 or not math.isfinite(alpha):
        raise UserError(f"{where}: r is {rank} and lora_alpha {alpha:g}; save the adapter again")
    return rank, alpha / (math.sqrt(rank) if data.get("use_rslora") else rank)


def _tensor(module: str, part: str) -> str:
    return f"{_PREFIX}{module}.{_PARTS[part]}.weight"


def _modules(path: tuple[Any, ...], config: LlamaConfig) -> list[str]:
    """Return the module behind each layer of an adapter's parameter."""
    name = LEAVES[(*map(str, path[:-1]), "kernel")].removesuffix(".weight")
    return [name.format(i) for i in range(config.num_layers)]


def _shapes(config: LlamaConfig) -> dict[str, tuple[int, int]]:
    """Return the [out, in] of every matrix that may have an adapter, by module."""
    found: dict[str, tuple[int, int]] = {}
    for path in LEAVES:
        if path[0] == "layers" and path[-1] == "kernel":
            out, into = expected_shape(path, config)
            found |= dict.fromkeys(_modules(path, config), (out, into))
    return found
