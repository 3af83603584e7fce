import sys

import numpy as np
import pytest

from dast_jax.clustering import kmeans, make_encoder
from dast_jax.errors import UserError


def blobs(per=20):
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8)
    return np.concatenate([centre + 0.05 * rng.normal(size=(per, 8)) for centre in centres]).astype(
        np.float32
    )


def test_blobs_are_found_whatever_their_scale():
    vectors = blobs() * np.random.default_rng(1).uniform(0.1, 10, (60, 1))
    found = kmeans(vectors, 3, seed=0).reshape(3, 20)
    assert (found == found[:, :1]).all()
    assert len(set(found[:, 0])) == 3
    assert found.dtype == np.int32


def test_seeded():
    vectors = np.random.default_rng(0).normal(size=(50, 4))
    assert kmeans(vectors, 7, seed=3).tolist() == kmeans(vectors, 7, seed=3).tolist()
    assert kmeans(vectors, 7, seed=3).tolist() != kmeans(vectors, 7, seed=4).tolist()


def test_as_many_clusters_as_vectors_and_zero_vectors():
    assert sorted(kmeans(np.eye(4), 4, seed=0)) == [0, 1, 2, 3]
    assert set(kmeans(np.zeros((3, 2)), 1, seed=0)) == {0}


@pytest.mark.parametrize(("clusters", "n"), [(5, 4), (0, 4), (1, 0)])
def test_more_clusters_than_queries(clusters, n):
    with pytest.raises(UserError, match=f"{clusters} cannot be made of {n} queries"):
        kmeans(np.ones((n, 2)), clusters, seed=0)


def test_vectors_must_be_finite():
    with pytest.raises(UserError, match="not finite"):
        kmeans(np.array([[np.nan], [1.0]]), 1, seed=0)


def test_encoders(monkeypatch):
    def policy(texts):
        return np.zeros((len(texts), 2), np.float32)

    assert make_encoder("policy", policy=policy) is policy
    with pytest.raises(UserError, match="unknown; known are policy"):
        make_encoder("polcy", policy=policy)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"dast_jax\[embed\]"):
        make_encoder("sentence_transformers", policy=policy)(["a"])
