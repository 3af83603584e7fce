"""All that a run's results are, and where those of two runs differ."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

__all__ = ["Results", "differences", "results"]

Results = dict[str, Any]


def results(run_dir: Path) -> Results:
    """Return all that a run's results are: weights, responses and the figures of its summary."""
    rounds = json.loads((run_dir / "summary.json").read_text())["rounds"]
    keys = (
        "round",
        "evaluation",
        "sampling",
        "level_shares",
        "paired",
        "length_ratio",
        "shortfall",
        "method",
    )
    return {
        "rounds": [{key: _untimed(entry[key]) for key in keys} for entry in rounds],
        "weights": [_weights(run_dir, entry["round"]) for entry in rounds],
        "responses": [_responses(run_dir, entry["round"]) for entry in rounds],
    }


def differences(found: Any, wanted: Any, at: str = "results") -> list[str]:
    """Return the places where two nested values differ, and how."""
    if found == wanted:
        return []
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        inside: list[tuple[Any, Any, Any]] = [(key, found[key], wanted[key]) for key in wanted]
    elif isinstance(found, list | tuple) and isinstance(wanted, list | tuple) and len(found) == len(wanted):
        inside = [(i, a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))]
    else:
        return [f"{at}: {str(found)[:80]}, not {str(wanted)[:80]}"]
    return [place for key, a, b in inside for place in differences(a, b, f"{at}[{key!r}]")]


def _untimed(entry: Any) -> Any:
    """Return a part of a round's result without its speed."""
    return {k: v for k, v in entry.items() if k != "speed"} if isinstance(entry, dict) else entry


def _weights(run_dir: Path, round: int) -> str:
    import jax

    from dast_jax.assets import resolve_path
    from dast_jax.models.hf import open_folder
    from dast_jax.models.load import abstract_model
    from dast_jax.training.checkpoint import load_policy

    config = open_folder(resolve_path("asset:base_model")).config
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract_model(config)[1]
    )
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(load_policy(run_dir / "checkpoints" / f"round_{round:02d}", like)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _responses(run_dir: Path, round: int) -> list[Any]:
    parts = (run_dir / "rounds" / f"{round:02d}" / "responses").glob("part-*.parquet")
    rows = [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]
    return sorted(
        {(r["query"], r["trial"], r["text"], *r["tokens"], r["logprob"], r["verdict"]) for r in rows}
    )
