"""`summary.json`: the machine-readable result of a run, put together from what its stages left (docs/schemas.md)."""

from __future__ import annotations

import os
import platform
import resource
from importlib import metadata
from typing import Any

from dast_jax import __version__
from dast_jax.config import RunConfig, config_dict
from dast_jax.store import RunStore

__all__ = ["SCHEMA", "read_summary", "write_summary"]

SCHEMA = "dast_jax.summary/1"
_PATH = "summary.json"
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "transformers", "math-verify", "sympy")


def read_summary(store: RunStore) -> dict[str, Any]:
    """The summary as last written."""
    return store.read_json(_PATH)


def write_summary(store: RunStore, config: RunConfig, *, facts: dict[str, Any], status: str) -> dict[str, Any]:
    """Assemble the summary from the finished stages, write it atomically, and return it.

    `facts` are the session's (`Session.facts`), `status` is "running" or "finished".
    """
    stages = store.stages()
    rounds = [_round(stages, r) for r in range(config.run.rounds + 1) if f"{r:02d}/sample" in stages]
    base = stages.get("base/evaluate", {})
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "status": status,
        "name": store.path.name,
        "method": config_dict(config)["method"],
        "seed": config.run.seed,
        "model": config.model.path,
        **facts,
        "versions": _versions(),
        "device": _device(),
        "base": {
            "evaluation": base.get("evaluation", {}),
            "length_ratio": base.get("length_ratio"),
            "seconds": {"evaluate": base.get("seconds", 0.0)},
            "flops": {"evaluate": base.get("flops", _no_flops())},
        },
        "rounds": rounds,
        "total": {
            "seconds": sum(stage.get("seconds", 0.0) for stage in stages.values()),
            "flops": {
                kind: sum(stage.get("flops", {}).get(kind, 0) for stage in stages.values())
                for kind in ("useful", "padded")
            },
            "peak_memory_gib": _peak_memory_gib(),
        },
        "warnings": store.warnings(),
    }
    store.write_json(_PATH, summary)
    return summary


def _round(stages: dict[str, dict[str, Any]], round: int) -> dict[str, Any]:
    names = ("sample", "build", "train", "evaluate")
    parts = {name: stages.get(f"{round:02d}/{name}", {}) for name in names}
    return {
        "round": round,
        "evaluation": parts["evaluate"].get("evaluation", {}),
        "paired": parts["evaluate"].get("paired", {}),
        "sampling": parts["sample"].get("sampling"),
        "training": parts["train"].get("training", {}),
        "level_shares": parts["build"].get("level_shares"),
        "shortfall": parts["build"].get("shortfall", {}),
        "length_ratio": parts["evaluate"].get("length_ratio"),
        "seconds": {name: part.get("seconds", 0.0) for name, part in parts.items()},
        "flops": {name: parts[name].get("flops", _no_flops()) for name in ("sample", "train", "evaluate")},
    }


def _no_flops() -> dict[str, int]:
    return {"useful": 0, "padded": 0}


def _versions() -> dict[str, str]:
    versions = {"dast_jax": __version__, "python": platform.python_version()}
    return versions | {name: metadata.version(name) for name in _PACKAGES}


def _device() -> str:
    import jax

    devices = jax.devices()
    where = f"{os.cpu_count()} CPU cores" if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({where})"


def _peak_memory_gib() -> float:
    """Peak resident memory of this process, in GiB (ru_maxrss is in KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
