"""How much of the pool a method's training set reaches, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from dast_jax.records import LEVELS, Pool

__all__ = ["coverage"]

_MOST_LABELS = 12
"""The data's own labels are reported separately if there are at most this many."""


def coverage(
    pool: Pool, levels: np.ndarray | None, kept: np.ndarray, target: np.ndarray | None = None
) -> dict[str, Any]:
    """Return, per group, `queries`, `covered` (share with an example), `kept` (mean examples a query).

    `kept` int [n] are the queries' own examples; with `target` int [n] also `target` (its mean) and
    `reached` (share of queries with as many). Groups: `all`, then by estimated level (`by_level`), then by
    the data's own labels (`by_label`), where there are such.
    """

    def group(mask: np.ndarray) -> dict[str, float | int]:
        entry: dict[str, float | int] = {
            "queries": int(mask.sum()),
            "covered": float((kept[mask] > 0).mean()),
            "kept": float(kept[mask].mean()),
        }
        if target is not None:
            entry["target"] = float(target[mask].mean())
            entry["reached"] = float((kept[mask] >= target[mask]).mean())
        return entry

    found: dict[str, Any] = {"all": group(np.ones(len(kept), bool))}
    if levels is not None:
        masks = {name: levels == i for i, name in enumerate(LEVELS)}
        found["by_level"] = {name: group(mask) for name, mask in masks.items() if mask.any()}
    labels = sorted({query.level for query in pool.queries if query.level is not None})
    if 0 < len(labels) <= _MOST_LABELS:
        label = np.array([query.level or "" for query in pool.queries])
        found["by_label"] = {name: group(label == name) for name in labels}
    return found
