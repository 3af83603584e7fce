"""What was last seen of each query, and means over clusters: how often the policy fails in each of them, and
what is assumed of queries never seen."""

from __future__ import annotations

import numpy as np

from dast_jax.estimators.estimate import TrialSums

__all__ = ["cluster_errors", "filled_by_cluster", "last_seen"]


def last_seen(before: np.ndarray, sums: TrialSums, queries: np.ndarray) -> np.ndarray:
    """Return what was last seen of each query, float32 [4, n]: `before`, with `queries` as `sums` has them.

    The rows are P@K (1 where a trial was correct), the pass rate, and mean steps and tokens.
    """
    last = before.copy()
    trials, correct = sums.trials[queries], sums.correct[queries]
    last[:, queries] = (
        correct > 0,
        correct / trials,
        sums.steps[queries] / trials,
        sums.length[queries] / trials,
    )
    return last


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
