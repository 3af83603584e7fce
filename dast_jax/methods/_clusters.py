"""Clusters of queries by what they are about: embeddings and scikit-learn's K-Means."""

from __future__ import annotations

import numpy as np

from dast_jax.clustering import Encoder, kmeans
from dast_jax.records import Pool

__all__ = ["cluster_queries"]


def cluster_queries(pool: Pool, clusters: int, encoder: Encoder, seed: int) -> np.ndarray:
    """The cluster of each query, int32 [n], in [0, `clusters`).

    [ours] What is embedded are the data's own tags (subjects, types) where every query has some, else its
    text. Where they are no more than the clusters asked for, each is a cluster; else K-Means on unit vectors.
    """
    tags = [", ".join(query.tags) for query in pool.queries]
    texts = tags if all(tags) else [query.question for query in pool.queries]
    unique, inverse = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
    if len(unique) <= clusters:
        return inverse.astype(np.int32)
    return kmeans(encoder(unique.tolist()), clusters, seed=seed)[inverse]
