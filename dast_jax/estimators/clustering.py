"""Clusters of texts: vectors from an encoder, then scikit-learn's K-Means. Imports no jax.

The encoder is the policy itself (`models.embed.mean_pooled`, handed in as a function), or a
sentence-transformers model, which is an extra: `pip install dast_jax[embed]`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.runtime import interruption
from dast_jax.runtime.progress import OnProgress, progress_of, silent

__all__ = ["ENCODERS", "Encoder", "embed", "kmeans", "make_encoder"]

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts in, float32 [n, d] out."""

ENCODERS = ("policy", "sentence_transformers")
"""The encoders that options may name."""

_BLOCK = 1024
"""Texts embedded between two progress events."""

_MANY = 20_000
"""[ours] From this number of vectors on, K-Means works in mini-batches."""


def make_encoder(name: str, *, policy: Encoder, model: str = "all-MiniLM-L6-v2") -> Encoder:
    """Return the encoder `name`, one of `ENCODERS`: the `policy`'s own, or the sentence-transformers `model`.

    Nothing is loaded before the encoder is used. Raises `UserError` for an unknown name; the
    encoder raises one where its package or model is not available.
    """
    if name == "policy":
        return policy
    if name != "sentence_transformers":
        raise UserError(f"encoder {name!r}: unknown; known are {', '.join(ENCODERS)}")
    return lambda texts: _sentence_vectors(texts, model)


def _sentence_vectors(texts: Sequence[str], model: str) -> np.ndarray:
    vectors = _sentence_model(model).encode(list(texts), show_progress_bar=False)
    return np.asarray(vectors, np.float32)


@functools.lru_cache(maxsize=1)
def _sentence_model(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            "encoder sentence_transformers: the package is not installed; "
            "run `pip install dast_jax[embed]`, or use policy"
        ) from error
    try:
        return SentenceTransformer(model)
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())[:160]
        raise UserError(f"encoder sentence_transformers: {model} cannot be loaded ({text})") from error


def embed(texts: Sequence[str], encoder: Encoder, *, on_progress: OnProgress = silent) -> np.ndarray:
    """Return the encoder's vectors of `texts`, float32 [n, d]."""
    with progress_of(on_progress, "clusters: embedding", total=len(texts)) as update:
        blocks = []
        for start in range(0, len(texts), _BLOCK):
            blocks.append(encoder(texts[start : start + _BLOCK]))
            update(min(start + _BLOCK, len(texts)))
            interruption.check()
    return np.concatenate(blocks)


def kmeans(vectors: np.ndarray, clusters: int, *, seed: int, unit: bool = True) -> np.ndarray:
    """Cluster the vectors [n, d] by K-Means of 4 seeded starts; returns int32 [n] in [0, clusters).

    `unit` scales the vectors to length one first, so that their angles are compared. The same vectors and
    seed give the same clusters. Raises `UserError` for fewer vectors than clusters, or for vectors that
    are not finite.
    """
    n = len(vectors)
    if clusters < 1 or clusters > n:
        raise UserError(f"clusters: {clusters} cannot be made of {n:,} queries; use 1 to {n:,}")
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        raise UserError("clusters: the encoder's vectors are not finite; use another encoder")
    if unit:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if n < _MANY else MiniBatchKMeans
    found = kind(n_clusters=clusters, n_init=4, random_state=seed).fit_predict(vectors)
    return np.asarray(found, np.int32)
