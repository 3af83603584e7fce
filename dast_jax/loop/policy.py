"""The policy of a run: the base model, or the result of a round's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from dast_jax.config import RunConfig
from dast_jax.metrics.devices import Peak, peak_of
from dast_jax.models.checks import check_length
from dast_jax.models.digest import model_digest
from dast_jax.models.hub import resolve_model
from dast_jax.models.load import LoadedModel, load_model
from dast_jax.models.sharding import make_mesh
from dast_jax.store.durable import file_digest
from dast_jax.training.checkpoint import load_policy, save_policy

__all__ = ["BASE", "Policy"]

BASE = -1
"""The round whose result is the base model M_0."""


class Policy:
    """Holds one set of weights on the device, and fetches another round's from the run when asked.

    Only one set is held: the base model is read again from its folder where a round restarts from it.
    """

    def __init__(self, config: RunConfig, checkpoints: Path):
        self._model = config.model
        self._folder = resolve_model(config.model.path)  # once: a branch on the hub may move
        self._checkpoints = checkpoints
        self.mesh = make_mesh(config.mesh)
        loaded = self._load_base()
        self.config = loaded.config
        check_length(loaded.config, config.training.sequence_length, "training.sequence_length")
        self.graphdef = loaded.graphdef
        self.tokenizer = loaded.tokenizer
        self._params: Any = loaded.params
        self._abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), loaded.params
        )
        self._round: int | None = BASE

    def base_digest(self) -> str:
        """Return the digest of the files that the base model is read from, an own chat template included."""
        own = self._model.chat_template
        return model_digest(self._folder) + (f"-{file_digest(Path(own).expanduser())}" if own else "")

    @property
    def parameters(self) -> int:
        """Number of weights, embeddings included."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._abstract))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, embeddings included."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self._abstract))

    @property
    def peak(self) -> Peak | None:
        """The published peaks of the mesh's devices together; None where they are not known."""
        devices = self.mesh.devices.flatten()
        return peak_of(devices[0].device_kind, len(devices))

    def after(self, round: int) -> Any:
        """Return the weights after `round` (BASE for M_0)."""
        if round != self._round:
            if round == BASE:
                self._params = self._load_base().params
            else:
                self._params = load_policy(self._path(round), self._abstract)
            self._round = round
        return self._params

    def take(self, round: int) -> Any:
        """Give up the weights after `round` to a consumer that donates them."""
        params = self.after(round)
        self._params, self._round = None, None
        return params

    def put(self, params: Any, round: int) -> None:
        """Keep `params` as the result of `round`, durably."""
        save_policy(self._path(round), params)
        self._params = params
        self._round = round

    def _path(self, round: int) -> Path:
        return self._checkpoints / f"round_{round:02d}"

    def _load_base(self) -> LoadedModel:
        model = self._model
        return load_model(
            self._folder,
            dtype=model.dtype,
            compute_dtype=model.compute_dtype,
            remat=model.remat,
            mesh=self.mesh,
            chat_template=model.chat_template,
        )
