import sys

import numpy as np
import pytest

from dast_jax.errors import UserError
from dast_jax.estimators.clustering import embed, kmeans, make_encoder


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


def test_many_texts_are_embedded_in_blocks_and_in_order():
    sizes, events = [], []

    def encoder(texts):
        sizes.append(len(texts))
        return np.array([[float(text), 1.0] for text in texts], np.float32)

    got = embed([str(i) for i in range(2500)], encoder, on_progress=events.append)
    assert got[:, 0].tolist() == list(range(2500))
    assert sizes == [1024, 1024, 452]
    assert {event.title for event in events} == {"clusters: embedding"}
    assert [event.done for event in events if event.state == "running"] == [1024, 2048, 2500]
    assert events[-1].state == "finished"


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory):
    """A folder that sentence-transformers takes: a small BERT of random weights, to be mean-pooled."""
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers (extra `parity`)")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("sentence_model")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_sentence_transformers_distinguishes_texts(sentence_model):
    encoder = make_encoder("sentence_transformers", policy=None, model=str(sentence_model))
    texts = ["a b", "g h g h", "a b", "b a", "h g"]
    vectors = embed(texts, encoder)
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    np.testing.assert_allclose(embed(texts[::-1], encoder), vectors[::-1], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2


def test_a_sentence_model_that_is_not_there_is_one_sentence(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers (extra `parity`)")
    encoder = make_encoder("sentence_transformers", policy=None, model=str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"encoder sentence_transformers: .*nothing cannot be loaded"):
        encoder(["a"])
