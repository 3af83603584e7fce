"""The judge against a real HTTP server that answers well, badly, late, or not at all."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time

import numpy as np
import pytest

from dast_jax.errors import UserError
from dast_jax.estimators import estimate
from dast_jax.llm.judge import Judge, JudgeOptions
from dast_jax.options import build, to_dict
from dast_jax.records import Query
from tests.helpers_chat_server import KEY, VARIABLE, serve

__all__ = ["serve"]


def options(url, tmp_path, **more):
    values = {
        "endpoint": url,
        "model": "m",
        "key_variable": VARIABLE,
        "cache": str(tmp_path / "cache"),
        "backoff": 0.01,
        "timeout": 5.0,
        "retries": 2,
    }
    return JudgeOptions(**values | more)


def test_ratings_come_in_order_and_are_kept(serve, tmp_path):
    together = threading.Event()

    def reply(question, _):
        if endpoint.under_way > 1:
            together.set()
        together.wait(10)  # nobody answers before two are asked at a time
        return 200, f"{int(question) % 10 + 1}"

    endpoint = serve(reply)
    questions = [str(i) for i in range(40)] + ["3", "3"]
    ratings, notes = Judge(options(endpoint.url, tmp_path, concurrency=4))(questions)
    assert ratings.tolist() == [int(q) % 10 + 1 for q in questions]
    assert notes == {}
    assert sorted(endpoint.asked) == sorted(set(questions))
    assert together.is_set()
    assert endpoint.most_under_way <= 4
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert endpoint.headers[0]["path"] == "/v1/chat/completions"
    assert endpoint.bodies[0]["model"] == "m"
    again, _ = Judge(options(endpoint.url, tmp_path))(questions)
    assert again.tolist() == ratings.tolist()
    assert len(endpoint.asked) == 40
    other, _ = Judge(options(endpoint.url, tmp_path, model="other"))(questions[:2])
    assert len(endpoint.asked) == 42  # another model is asked itself
    assert other.tolist() == ratings[:2].tolist()


def test_a_torn_or_foreign_cache_line_is_skipped(serve, tmp_path):
    endpoint = serve(lambda *_: (200, "4"))
    Judge(options(endpoint.url, tmp_path))(["a", "b"])
    (file,) = (tmp_path / "cache").iterdir()
    lines = file.read_text().splitlines()
    bad = [json.dumps({"key": json.loads(lines[1])["key"], "reply": "99"}), "[]", '{"key": 1', ""]
    file.write_text("\n".join([lines[0], *bad, lines[1][:20]]))
    ratings, _ = Judge(options(endpoint.url, tmp_path))(["a", "b"])
    assert ratings.tolist() == [4, 4]
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("status", [500, 503, 429])
def test_transient_failures_are_retried(serve, tmp_path, status):
    endpoint = serve(lambda _, attempt: (status, b"busy") if attempt < 2 else (200, "7"))
    ratings, notes = Judge(options(endpoint.url, tmp_path))(["a"])
    assert ratings.tolist() == [7]
    assert notes == {"retried": 2}


@pytest.mark.parametrize(
    ("reply", "asked", "cause"),
    [
        ((500, b"{}"), 3, "failed_http_500"),
        ((401, b"Incorrect API key provided: " + KEY.encode()), 1, "failed_http_401"),
        ((302, b""), 1, "failed_http_302"),
        ((200, b"<html>not json</html>"), 3, "failed_nonsense"),
        ((200, b'{"choices": []}'), 3, "failed_nonsense"),
        ((200, b"[" * 100_000), 3, "failed_nonsense"),
        ((200, "I would rather not say."), 3, "failed_nonsense"),
        ((200, "11"), 3, "failed_nonsense"),
        ((200, "0"), 3, "failed_nonsense"),
        ((200, "Step 1 is easy, step 2 is not."), 3, "failed_nonsense"),
    ],
)
def test_lasting_failures_leave_no_rating_and_no_key(serve, tmp_path, caplog, reply, asked, cause):
    endpoint = serve(lambda *_: reply)
    with caplog.at_level(logging.DEBUG):
        ratings, notes = Judge(options(endpoint.url, tmp_path))(["a"])
    assert np.isnan(ratings).all()
    assert notes[cause] == 1
    assert len(endpoint.asked) == asked
    assert KEY not in caplog.text
    assert cause in caplog.text
    assert all(KEY not in path.read_text() for path in (tmp_path / "cache").glob("*"))


def test_a_slow_endpoint_times_out(serve, tmp_path):
    slow = serve(lambda *_: (time.sleep(1.0), (200, "3"))[1])
    begun = time.monotonic()
    ratings, notes = Judge(options(slow.url, tmp_path, timeout=0.1, retries=1))(["a"])
    assert np.isnan(ratings).all()
    assert notes == {"failed_timeout": 1, "retried": 1}
    assert time.monotonic() - begun < 20


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("scheme", "begin", "drop"),
    [
        ("http", OK + b"Content-Length: 1000\r\n\r\n", b" "),
        ("http", OK + b"X-Header: ", b"a"),
        ("http", OK, b"X: a\r\n"),
        ("http", b"HTTP/1.1 ", b" "),
        ("http", OK + b"\r\n", b" "),  # a body up to the end of the connection
        ("http", OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x03"),  # a long ServerHello
        ("https", b"", b""),
    ],
)
def test_an_endpoint_that_drips_times_out(tmp_path, monkeypatch, scheme, begin, drop):
    """One deadline for everything: a timeout of the socket restarts with each byte."""
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(begin)
                for _ in range(1_200):
                    try:
                        connection.sendall(drop)
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/v1"
        begun = time.monotonic()
        ratings, notes = Judge(options(url, tmp_path, timeout=0.5, retries=0))(["a"])
    assert np.isnan(ratings).all()
    assert notes == {"failed_timeout": 1}
    assert time.monotonic() - begun < 10  # of the 60 s that the server takes


def test_an_endpoint_that_is_down_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    judge = Judge(options(url, tmp_path, retries=1, give_up_after=3, concurrency=2))
    ratings, notes = judge([str(i) for i in range(200)])
    assert np.isnan(ratings).all()
    assert 3 <= notes["failed_connection"] <= 5
    assert notes["failed_connection"] + notes["not_asked"] == 200


def test_a_proxy_that_cannot_be_used_is_one_sentence(serve, tmp_path, monkeypatch):
    endpoint = serve(lambda *_: (200, "3"))
    monkeypatch.setenv("all_proxy", f"socks4://user:{KEY}@127.0.0.1:1")
    with pytest.raises(UserError, match=r"^judge: the proxy in HTTP_PROXY") as error:
        Judge(options(endpoint.url, tmp_path))(["a"])
    assert KEY not in str(error.value)
    assert endpoint.asked == []


def test_levels_by_ratings(serve, tmp_path):
    endpoint = serve(lambda question, _: (200, str(int(question) + 1)))
    judge = Judge(options(endpoint.url, tmp_path, fallback="label"))
    levels = estimate("judge", QUERIES, judge=judge, shares=(0.5, 0.25, 0.25, 0)).levels
    assert levels.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    unlabelled = [Query(id="1", question="1", answer="1")]
    for name, words in (
        ("label", "none of the queries has a level"),
        ("judge", "judge.endpoint"),
        ("jugde", "did you mean judge"),
    ):
        with pytest.raises(UserError, match=words):
            estimate(name, unlabelled)


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("7", 7),
        (" 7.\n", 7),
        ("7/10", 7),
        ("8 out of 10", 8),
        ("Rating: 6", 6),
        ("**Difficulty: 3.5**", 3.5),
        ("<think>It has 2 steps, so 4?</think>5", 5),
        ("This takes 3 steps. The rating is 4.", 4),
        ("10", 10),
    ],
)
def test_answers_that_hold_a_rating(serve, tmp_path, answer, rating):
    endpoint = serve(lambda *_: (200, answer))
    assert Judge(options(endpoint.url, tmp_path))(["a"])[0].tolist() == [rating]


QUERIES = [Query(id=str(i), question=str(i), answer="1", level=str(i % 3)) for i in range(8)]


def test_fallbacks_fill_what_the_judge_leaves(serve, tmp_path):
    endpoint = serve(lambda question, _: (200, str(int(question) + 1)) if int(question) < 6 else (400, b""))
    judge = Judge(options(endpoint.url, tmp_path))
    shares = (0.25, 0.25, 0.25, 0.25)
    by_label = estimate("judge", QUERIES, judge=judge, fallback="label", shares=shares)
    label = estimate("label", QUERIES, shares=shares)
    assert by_label.score[:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert by_label.levels[6:].tolist() == label.levels[6:].tolist()
    assert by_label.score[6] < by_label.score[7]  # label 0, label 1
    assert by_label.notes == {"failed_http_400": 2, "unrated": 2}
    median = estimate("judge", QUERIES, judge=judge, fallback="median", shares=shares)
    assert median.score[6:].tolist() == [3.5, 3.5]
    with pytest.raises(UserError, match="2 of 8 queries got no rating"):
        estimate("judge", QUERIES, judge=judge, fallback="stop")
    with pytest.raises(UserError, match="needs trials"):
        estimate("judge", QUERIES, judge=judge, fallback="sampled")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": ""}, "judge.endpoint"),
        ({"model": ""}, "judge.model"),
        ({"key_variable": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
        ({"cache": "/proc/nothing/here"}, "judge.cache"),
    ],
)
def test_what_is_not_set_is_one_sentence(tmp_path, monkeypatch, change, words):
    monkeypatch.setenv(VARIABLE, KEY)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        Judge(options("http://127.0.0.1:1/v1", tmp_path, **change))
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": f"https://user:{KEY}@host/v1"}, "no user, password or query"),
        ({"endpoint": f"https://host/v1?key={KEY}"}, "no user, password or query"),
        ({"endpoint": "host/v1"}, "must be a URL"),
        ({"key_variable": KEY}, "NAME of an environment variable"),
        ({"prompt": "how hard?"}, "{question} exactly once"),
        ({"fallback": "easy"}, "fallback"),
    ],
)
def test_options_refuse_keys_and_nonsense_without_repeating_them(change, words):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        build(JudgeOptions, change, where="judge")
    assert KEY not in str(error.value)


def test_options_hold_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    assert KEY not in json.dumps(to_dict(options("http://h/v1", tmp_path)))
    assert KEY not in repr(vars(Judge(options("http://h/v1", tmp_path))))


def test_a_key_that_no_header_can_hold_is_in_no_message(serve, tmp_path, monkeypatch, caplog):
    endpoint = serve(lambda *_: (200, "3"))
    monkeypatch.setenv(VARIABLE, f"{KEY}\u2603\r\nX: y")
    with caplog.at_level(logging.DEBUG):
        ratings, notes = Judge(options(endpoint.url, tmp_path, retries=0))(["a"])
    assert np.isnan(ratings).all()
    assert notes == {"failed_connection": 1}
    assert KEY not in caplog.text
