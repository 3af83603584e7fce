"""Means over clusters of queries: how often the policy fails, and what is assumed for queries never seen."""

from __future__ import annotations

import numpy as np

__all__ = ["cluster_errors", "filled_by_cluster"]


def cluster_errors(cluster: np.ndarray, fail: np.ndarray, clusters: int, kappa: float) -> np.ndarray:
    """Return e_c float64 [clusters], from probed queries' `cluster` int [q] and fail rate float [q]."""
    n = np.bincount(cluster, minlength=clusters)
    failed = np.bincount(cluster, weights=fail, minlength=clusters)
    mean = fail.mean()
    means: np.ndarray = np.where(n + kappa > 0, (failed + kappa * mean) / np.maximum(n + kappa, 1e-12), mean)
    return means


def filled_by_cluster(last: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Return `last` float64 [4, n] with the cluster's mean, else the pool's, for queries never seen."""
    seen = ~np.isnan(last[0])
    own = cluster[seen]
    count = np.bincount(own, minlength=clusters)
    filled = last.astype(np.float64)
    for row in filled:
        total = np.bincount(own, weights=row[seen], minlength=clusters)
        mean = np.where(count > 0, total / np.maximum(count, 1), row[seen].mean())
        row[~seen] = mean[cluster[~seen]]
    return filled
