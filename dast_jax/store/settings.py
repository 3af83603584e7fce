"""What a run directory needs to know of the run's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dast_jax.options import opt

__all__ = ["LoggingOptions", "RunSettings", "with_values"]


@dataclass(frozen=True, kw_only=True)
class LoggingOptions:
    """Where metrics go, besides `metrics.jsonl`."""

    tensorboard: bool = opt(True, "write TensorBoard events into the run's folder", changes_result=False)
    wandb: bool = opt(False, "log to Weights & Biases (needs the wandb package)", changes_result=False)
    wandb_project: str = opt("dast_jax", "Weights & Biases project", changes_result=False)
    log_every: int = opt(1, "log every n-th training step", min=1, changes_result=False)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A run's config as its directory sees it.

    `folder` is the directory; `config` is the whole config as nested plain values, written to `config.yaml`;
    `fixed` are the values, by dotted key, that may not change when the run is resumed, `method` the name of
    the method, and `rounds` may only grow. Responses are written in parts of `flush_responses`, or after
    `flush_seconds`. `repair` allows repeating finished rounds whose files are damaged; `mirror` is the
    address of the folder's copy, or empty. `automatic` are the dotted keys that the config leaves to be
    chosen: once chosen, a run keeps them.
    """

    folder: Path
    config: Mapping[str, Any]
    fixed: Mapping[str, Any]
    method: str
    rounds: int
    flush_responses: int
    flush_seconds: float
    logging: LoggingOptions
    repair: bool = False
    mirror: str = ""
    automatic: tuple[str, ...] = ()

    def kept(self, old: Mapping[str, Any]) -> dict[str, Any]:
        """Return `config` with the `automatic` keys as the run's earlier config `old` has them."""
        return with_values(
            self.config,
            {
                key: value
                for key in self.automatic
                if (value := old.get(key.split(".")[0], {}).get(key.split(".")[1]))
            },
        )


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested `config` with `values` at their dotted keys ("section.name")."""
    changed = dict(config)
    for key, value in values.items():
        section, name = key.split(".")
        changed[section] = {**changed.get(section, {}), name: value}
    return changed
