"""Clusters of queries by what they are about: embeddings and scikit-learn's K-Means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dast_jax.records import Pool

__all__ = ["cluster_queries"]

_MANY = 20_000
"""From so many vectors on, K-Means goes through them in batches."""


def cluster_queries(
    pool: Pool, clusters: int, embed: Callable[[Sequence[str]], np.ndarray], seed: int
) -> np.ndarray:
    """The cluster of each query, int32 [n], in [0, `clusters`).

    [ours] What is embedded are the data's own tags (subjects, types) where every query has some, else its
    text. Where they are no more than the clusters asked for, each is a cluster; else K-Means on unit vectors.
    """
    tags = [", ".join(query.tags) for query in pool.queries]
    texts = tags if all(tags) else [query.question for query in pool.queries]
    unique, inverse = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
    if len(unique) <= clusters:
        return inverse.astype(np.int32)
    vectors = np.asarray(embed(unique.tolist()), np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return _k_means(vectors, clusters, seed)[inverse].astype(np.int32)


def _k_means(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if len(vectors) < _MANY else MiniBatchKMeans
    return kind(n_clusters=clusters, n_init=4, random_state=seed).fit_predict(vectors)
