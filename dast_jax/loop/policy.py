"""The policy of a run: the base model, or the result of a round's training."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dast_jax.config import RunConfig
from dast_jax.distributed.group import tell
from dast_jax.distributed.meeting import meet
from dast_jax.errors import UserError
from dast_jax.metrics.devices import Peak, peak_of
from dast_jax.models.checks import check_length
from dast_jax.models.device_defaults import resolved
from dast_jax.models.digest import model_digest
from dast_jax.models.hub import hub_revision, resolve_adapter, resolve_model
from dast_jax.models.load import LoadedModel, abstract_model, load_model
from dast_jax.models.lora import fresh_adapters, join_adapters, lora_of, split_adapters
from dast_jax.models.peft import adapter_params, check_same_adapters, open_adapter
from dast_jax.models.sampling_copy import copy_for_sampling, needs_copy
from dast_jax.models.sharding import make_mesh, sampling_mesh
from dast_jax.store.durable import file_digest
from dast_jax.training.checkpoint import Saving, begin_policy, load_policy

__all__ = ["BASE", "Policy"]

log = logging.getLogger(__name__)

BASE = -1
"""The round whose result is the base model M_0."""


class Policy:
    """Holds one set of weights on the device, and fetches another round's from the run when asked.

    Only one set is held: the base model is read again from its folder where a round restarts from it. With
    `training.lora` the model's weights are held for the whole run, `frozen`, and what is trained, kept and
    fetched are adapters beside them: M_0 is then the model with adapters that change nothing (or with those
    of `model.adapter`), so that it serves as DPO's reference without a second copy.

    On several processes each holds its part of them, and the calls of process 0 are repeated by the others.
    """

    def __init__(self, config: RunConfig, checkpoints: Path):
        self._seed = config.run.seed
        self._folder = resolve_model(config.model.path)  # once: a branch on the hub may move
        adapter = config.model.adapter
        self._adapter = open_adapter(resolve_adapter(adapter), config.model.path) if adapter else None
        self._checkpoints = checkpoints
        self.mesh = make_mesh(config.mesh)
        _check_all_used(self.mesh)
        self.sampling_mesh = sampling_mesh(config.mesh.sampling, self.mesh)
        self.options = resolved(config.model, self.mesh.devices.flat[0].platform)
        self.lora = lora_of(config.training.lora)
        if self.lora is not None and self._adapter is not None:
            check_same_adapters(self._adapter, config.training.lora)
        loaded = self._load_base()
        self.config = loaded.config
        check_length(loaded.config, config.training.sequence_length, "training.sequence_length")
        self.graphdef = loaded.graphdef
        self.tokenizer = loaded.tokenizer
        self._frozen: Any = None
        self._trained: Any = loaded.params
        if self.lora is not None:
            self.graphdef, template = abstract_model(loaded.config, lora=self.lora, **self._precision())
            self._template, _ = split_adapters(template)
            self._frozen, self._trained = loaded.params, self._first_adapters()
        self._copies = needs_copy(
            loaded.params, jnp.dtype(self.options.compute_dtype), self.mesh, self.sampling_mesh
        )
        self.sampling_graphdef = loaded.graphdef if self._copies else self.graphdef
        self._copy: tuple[int, Any] | None = None
        self._abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self._trained
        )
        self._round: int | None = BASE
        self._saving: Saving | None = None
        meet(self.mesh)
        if self.sampling_mesh != self.mesh:
            meet(self.sampling_mesh)

    @functools.cached_property
    def base_digest(self) -> str:
        """The digest of what M_0 is read from: the model, `model.adapter`, `model.chat_template`."""
        own = self.options.chat_template
        files = model_digest(self._folder, None if self._adapter is None else self._adapter.path)
        return files + (f"-{file_digest(Path(own).expanduser())}" if own else "")

    @property
    def revision(self) -> str | None:
        """The commit of a base model that comes from the hub; None for a local one."""
        return hub_revision(self._folder)

    @property
    def trained_parameters(self) -> int:
        """Number of weights that training changes, embeddings included."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._abstract))

    @property
    def frozen_parameters(self) -> int:
        """Number of weights beside trained adapters; 0 where all are trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._frozen))

    @property
    def parameters(self) -> int:
        """Number of weights, embeddings included."""
        return self.trained_parameters + self.frozen_parameters

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, embeddings included."""
        leaves = jax.tree.leaves((self._abstract, self._frozen))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    @property
    def sampling_bytes(self) -> int:
        """Bytes of the weights that a decode step reads."""
        if not self._copies:
            return self.weight_bytes
        base = self.trained_parameters if self._frozen is None else self.frozen_parameters
        return base * jnp.dtype(self.options.compute_dtype).itemsize

    @property
    def peak(self) -> Peak | None:
        """The published peaks of the mesh's devices together; None where they are not known."""
        devices = self.mesh.devices.flatten()
        return peak_of(devices[0].device_kind, len(devices))

    @property
    def shapes(self) -> Any:
        """The shapes, dtypes and layout of the weights that training changes."""
        return self._abstract

    @property
    def frozen(self) -> Any:
        """The weights beside the adapters, which training reads; None where all weights are trained."""
        return self._frozen

    def after(self, round: int) -> Any:
        """Return the weights after `round` (BASE for M_0), adapters included."""
        tell("after", round=round)
        return self._after(round)

    def for_sampling(self, round: int) -> Any:
        """Return the weights after `round` as the sampler reads them, with `sampling_graphdef`.

        In the layout of `sampling_mesh`, adapters merged, and in the dtype of the products: a copy, made once
        a round and given up before the next training. The weights themselves where that would be the same.
        """
        tell("for_sampling", round=round)
        params = self._after(round)
        if not self._copies:
            return params
        if self._copy is None or self._copy[0] != round:
            self._copy = None
            dtype = jnp.dtype(self.options.compute_dtype)
            self._copy = round, copy_for_sampling(params, dtype, self.sampling_mesh, self.lora)
        return self._copy[1]

    def trained(self, round: int) -> Any:
        """Return the part of the weights after `round` that training changes."""
        tell("trained", round=round)
        return self._fetch(round)

    def _after(self, round: int) -> Any:
        trained = self._fetch(round)
        return trained if self._frozen is None else join_adapters(trained, self._frozen)

    def _fetch(self, round: int) -> Any:
        if round != self._round:
            self._finish()
            if round != BASE:
                base = None if self.lora is None else self.base_digest
                self._trained = load_policy(self._path(round), self._abstract, base=base)
            elif self.lora is None:
                self._trained = self._load_base().params
            else:
                self._trained = self._first_adapters()
            self._round = round
        return self._trained

    def take(self, round: int) -> Any:
        """Give up what `trained` returns to a consumer that donates it."""
        tell("take", round=round)
        trained = self._fetch(round)
        self._trained, self._round, self._copy = None, None, None
        return trained

    def put(self, trained: Any, round: int) -> None:
        """Keep `trained` as the result of `round`: adapters with the digest of their base model.

        It is durable when `finish` has returned, and written in the background until then.
        """
        tell("put", round=round)
        self._finish()
        base = None if self.lora is None else self.base_digest
        self._saving = begin_policy(self._path(round), trained, base=base)
        self._trained = trained
        self._round = round

    def finish(self) -> None:
        """As `wait`, on all processes."""
        tell("finish")
        self._finish()

    def wait(self) -> None:
        """Wait until what was put last is durable; raise the error that kept it from being so, each time."""
        saving = self._saving
        if saving is not None:
            saving.wait()

    def _finish(self) -> None:
        self.wait()
        self._saving = None

    def _path(self, round: int) -> Path:
        return self._checkpoints / f"round_{round:02d}"

    def _first_adapters(self) -> Any:
        """Return M_0's adapters: those of `model.adapter`, or fresh ones."""
        if self._adapter is not None:
            return adapter_params(self._adapter, self._template, self.config, self.mesh)
        return fresh_adapters(self._template, seed=self._seed, mesh=self.mesh)

    def _load_base(self) -> LoadedModel:
        adapter = self._adapter if self.lora is None else None
        return load_model(
            self._folder,
            mesh=self.mesh,
            adapter=adapter,
            chat_template=self.options.chat_template,
            **self._precision(),
        )

    def _precision(self) -> dict[str, str]:
        options = self.options
        return {"dtype": options.dtype, "compute_dtype": options.compute_dtype, "remat": options.remat}


def _check_all_used(mesh: Mesh) -> None:
    """Raise `UserError` where a process of several has devices outside the mesh: it could not take part."""
    if jax.process_count() > 1 and mesh.size != jax.device_count():
        raise UserError(
            f"mesh: {mesh.size} of the {jax.device_count()} devices of all {jax.process_count()} processes; "
            "a run on several processes uses all, so set one of mesh.data, mesh.fsdp and mesh.tensor to -1"
        )
