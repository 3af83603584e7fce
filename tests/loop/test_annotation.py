"""What is asked about the queries before a run: clusters by tags or texts, and ratings, from real servers."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from dast_jax.errors import UserError
from dast_jax.llm.judge import JudgeOptions
from dast_jax.llm.tagger import TaggerOptions
from dast_jax.loop.annotation import ask_annotations, check_annotations
from dast_jax.methods.annotations import Clusters, Ratings
from dast_jax.records import Pool, Query
from tests.helpers_chat_server import KEY, VARIABLE, serve

__all__ = ["serve"]


class Encoder:
    """Vectors without a model: a text's length and last characters; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, texts):
        self.calls += 1
        return np.array([[len(t), *(ord(c) % 7 for c in f"{t:>8}"[-4:])] for t in texts], np.float32)


def clusters(pool, count, encoder=None, *, tagger=None, seed=0):
    """Return the column of clusters as a list."""
    wanted = Clusters(count, "policy", "", tagger or TaggerOptions())
    columns = ask_annotations(pool, (wanted,), policy_encoder=encoder or Encoder(), seed=seed)
    assert list(columns) == ["cluster"]
    assert columns["cluster"].dtype == np.int32
    return columns["cluster"].tolist()


def made_of(*questions):
    return Pool(tuple(Query(id=str(i), question=q, answer="1") for i, q in enumerate(questions)))


# --- clusters ---


def test_queries_cluster_by_tags_where_they_have_one_else_by_text():
    pool = made_of(*(f"what is {i}?" for i in range(12)))
    encoder = Encoder()
    assert set(clusters(pool, 3, encoder)) == {0, 1, 2}
    assert encoder.calls == 1
    assert len(set(clusters(pool, 12, encoder))) == 12  # a cluster each: nothing to embed
    assert encoder.calls == 1
    tagged = Pool(
        tuple(
            Query(id=str(i), question=f"q{i}", answer="1", tags=("algebra", "bcd"[i % 3])) for i in range(9)
        )
    )
    assert clusters(tagged, 3, encoder) == [0, 1, 2] * 3
    assert clusters(made_of(*(f"q{i % 3}" for i in range(9))), 3, encoder) == [0, 1, 2] * 3
    assert encoder.calls == 1


def test_far_apart_texts_fall_into_different_clusters():
    texts = ["x" * (1 + 50 * (i % 2)) + str(i) for i in range(20)]

    def encode(texts):
        return np.array([[1.0, 0.01 * len(t) % 0.05] if len(t) > 20 else [0.01, 1.0] for t in texts])

    got = clusters(made_of(*texts), 2, encode)
    assert len(set(got[::2])) == len(set(got[1::2])) == 1
    assert got[0] != got[1]


# --- the tagger ---

POOL = Pool(
    tuple(
        Query(id=str(i), question=f"What is {i}?", answer=str(i), tags=("own",) if i % 4 == 0 else ())
        for i in range(8)
    )
)


def tagger(server, tmp_path, **more):
    values = {"model": "m", "key_variable": VARIABLE, "cache": str(tmp_path / "cache"), "backoff": 0.01}
    return TaggerOptions(endpoint=server.url, **values | {"retries": 1} | more)


def by_number(question, _):
    """Odd numbers are odd, 2 gets no answer, 6 is even."""
    number = int(question.split()[-1].rstrip("?"))
    return (200, "Odd numbers") if number % 2 else (400, b"") if number == 2 else (200, "even numbers")


def test_only_queries_without_tags_are_asked_and_what_stays_untagged_gives_its_text(serve, tmp_path, caplog):
    server = serve(by_number)
    seen = []

    def encode(texts):
        seen.extend(texts)
        return Encoder()(texts)

    with caplog.at_level(logging.WARNING):
        found = clusters(POOL, 3, encode, tagger=tagger(server, tmp_path))
    assert seen == ["What is 2?", "even numbers", "odd numbers", "own"]
    assert found[0] == found[4]
    assert len({found[i] for i in (1, 3, 5, 7)}) == 1
    assert len(server.asked) == 6
    assert "method.tagger: 1 of 6 queries got no tags; their text is used instead" in caplog.text
    assert "method.tagger: of 6 queries asked, failed_http_400 1" in caplog.text
    assert KEY not in caplog.text
    assert len(set(clusters(POOL, 4, encode, tagger=tagger(server, tmp_path)))) == 4
    assert len(seen) == 4  # a cluster for each text: nothing to embed
    assert len(server.asked) == 7  # answers are kept, what failed is asked again


def test_an_untagged_query_stops_the_run_where_the_fallback_says_so(serve, tmp_path):
    server = serve(by_number)
    with pytest.raises(UserError, match=r"method\.tagger: 1 of 6 queries got no tags; check the endpoint"):
        clusters(POOL, 3, tagger=tagger(server, tmp_path, fallback="stop"))


def test_tagged_queries_and_an_unset_endpoint_send_no_request(serve, tmp_path):
    server = serve(by_number)
    tagged = Pool(tuple(replace(query, tags=("own",)) for query in POOL.queries))
    assert clusters(tagged, 3, tagger=tagger(server, tmp_path)) == [0] * 8
    assert len(set(clusters(POOL, 8))) == 8
    assert server.asked == []


# --- the judge ---


def ratings(pool, judge):
    columns = ask_annotations(pool, (Ratings(judge),), policy_encoder=Encoder(), seed=0)
    assert list(columns) == ["rating"]
    return columns["rating"]


def judge(server, tmp_path, **more):
    values = {"model": "m", "key_variable": VARIABLE, "cache": str(tmp_path / "cache"), "retries": 0}
    return JudgeOptions(endpoint=server.url, **values | more)


def test_ratings_are_a_column_with_gaps(serve, tmp_path):
    server = serve(lambda question, _: (200, question) if question != "3" else (400, b""))
    found = ratings(made_of("1", "2", "3", "4"), judge(server, tmp_path))
    np.testing.assert_array_equal(found, [1.0, 2.0, np.nan, 4.0])
    assert len(server.asked) == 4


def test_a_judge_that_must_rate_all_stops_the_run(serve, tmp_path):
    server = serve(lambda *_: (400, b""))
    with pytest.raises(
        UserError, match=r"^method\.judge: 5 of 5 queries got no rating; .*method\.judge\.fallback"
    ):
        ratings(made_of(*"12345"), judge(server, tmp_path, fallback="stop"))


# --- what is not set ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": ""}, "method.judge.endpoint: must be set"),
        ({"model": ""}, "method.judge.model: must be set"),
        (
            {"key_variable": "NOT_SET"},
            "method.judge.key_variable: the environment variable NOT_SET is not set",
        ),
    ],
)
def test_what_the_judge_lacks_is_reported_before_anything_is_requested(serve, tmp_path, change, words):
    server = serve(lambda *_: (200, "1"))
    with pytest.raises(UserError, match=re.escape(words)):
        check_annotations(POOL, (Ratings(replace(judge(server, tmp_path), **change)),))
    check_annotations(POOL, (Ratings(judge(server, tmp_path)),))
    assert server.asked == []


def test_what_the_tagger_lacks_is_reported_before_anything_is_requested(serve, tmp_path, monkeypatch):
    server = serve(by_number)

    def check(**change):
        check_annotations(POOL, (Clusters(2, "policy", "", replace(tagger(server, tmp_path), **change)),))

    with pytest.raises(UserError, match=r"^method\.tagger\.model: must be set"):
        check(model="")
    check()
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UserError, match=rf"^method\.tagger\.key_variable: .* {VARIABLE} is not set"):
        check()
    check(endpoint="")  # nobody to ask
    assert server.asked == []
