"""`summary.json`: a run's machine-readable result, put together from what its stages left."""

from __future__ import annotations

import os
import resource
from typing import Any

from dast_jax.metrics.flops import with_cumulative
from dast_jax.store.run_store import RunStore

__all__ = ["SCHEMA", "read_summary", "write_summary"]

SCHEMA = "dast_jax.store.summary/1"
_PATH = "summary.json"


def read_summary(store: RunStore) -> dict[str, Any]:
    """The summary as last written."""
    return store.read_json(_PATH)


def write_summary(store: RunStore, *, status: str) -> dict[str, Any]:
    """Assemble the summary from the finished stages, write it atomically, and return it.

    `status` is "running" or "finished".
    """
    config = store.config
    stages = store.stages
    rounds = [_round(stages, r) for r in range(config["run"]["rounds"] + 1) if f"{r:02d}/sample" in stages]
    base = stages.get("base/evaluate", {})
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "status": status,
        "name": store.path.name,
        "method": config["method"],
        "seed": config["run"]["seed"],
        "model": config["model"]["path"],
        **{name: store.facts.get(name) for name in ("parameters", "mesh", "data")},
        "versions": store.versions,
        "device": _device(),
        "base": {
            "evaluation": base.get("evaluation", {}),
            "length_ratio": base.get("length_ratio"),
            "seconds": {"evaluate": base.get("seconds", 0.0)},
            "flops": {"evaluate": base.get("flops", _no_flops())},
        },
        "rounds": with_cumulative(rounds),
        "total": {
            "seconds": sum(stage.get("seconds", 0.0) for stage in stages.values()),
            "flops": {
                kind: sum(stage.get("flops", {}).get(kind, 0) for stage in stages.values())
                for kind in ("useful", "padded")
            },
            "peak_memory_gib": _peak_memory_gib(),
        },
        "warnings": _warnings(store),
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
        "method": {**parts["build"].get("method", {}), **parts["train"].get("method", {})},
        "length_ratio": parts["evaluate"].get("length_ratio"),
        "seconds": {name: part.get("seconds", 0.0) for name, part in parts.items()},
        "flops": {name: parts[name].get("flops", _no_flops()) for name in ("sample", "train", "evaluate")},
    }


def _no_flops() -> dict[str, int]:
    return {"useful": 0, "padded": 0}


def _device() -> str:
    import jax

    devices = jax.devices()
    where = f"{os.cpu_count()} CPU cores" if devices[0].platform == "cpu" else devices[0].device_kind
    return f"{len(devices)} x {devices[0].platform} ({where})"


def _peak_memory_gib() -> float:
    """Peak resident memory of this process, in GiB (ru_maxrss is in KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _warnings(store: RunStore) -> list[str]:
    """The run's warnings so far, each once: `log.txt` has them, over all of the run's interruptions."""
    path = store.path / "log.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    found = [line.partition(" WARNING ")[2] for line in lines if " WARNING " in line]
    return list(dict.fromkeys(found))
