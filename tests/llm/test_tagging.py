"""The tagger against a real HTTP server, alone and as SAI-DPO asks it."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from dast_jax.config import build_config, config_path
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.llm.tagger import Tagger, TaggerOptions
from dast_jax.loop.selftrain import run
from dast_jax.methods import sai_dpo
from dast_jax.methods.clusters import cluster_queries, subjects
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.records import Pool, Query
from dast_jax.store.run_store import RunStore
from tests.helpers_chat_server import KEY, VARIABLE, serve

__all__ = ["serve"]


def options(server, tmp_path, **more):
    values = {"model": "m", "key_variable": VARIABLE, "cache": str(tmp_path / "cache"), "backoff": 0.01}
    return TaggerOptions(endpoint=server.url, **values | {"retries": 1} | more)


@pytest.mark.parametrize(
    ("reply", "tags"),
    [
        ("Linear equations, unit conversion", ("linear equations", "unit conversion")),
        ("fractions", ("fractions",)),
        ('["Prime numbers", "modular arithmetic"]', ("prime numbers", "modular arithmetic")),
        ("1. Area of a circle\n2. Ratios\n", ("area of a circle", "ratios")),
        ("- **Probability**;\n- Counting.", ("probability", "counting")),
        ("Knowledge points: percentages, percentages, time", ("percentages", "time")),
        ("<think>Which? Maybe sets, logic.</think>Algebra: factoring", ("algebra: factoring",)),
        ("a, b, c, d, e", ("a", "b", "c")),
    ],
)
def test_replies_that_hold_tags(serve, tmp_path, reply, tags):
    server = serve(lambda *_: (200, reply))
    assert Tagger(options(server, tmp_path))(["q"]) == ([tags], {})


@pytest.mark.parametrize("reply", ["", " \n", "1, 2, 3", "[]", "It is " + "very " * 20 + "hard"])
def test_replies_without_tags_are_asked_again_and_counted(serve, tmp_path, reply):
    server = serve(lambda *_: (200, reply))
    assert Tagger(options(server, tmp_path))(["q"]) == ([None], {"failed_nonsense": 1, "retried": 1})
    assert len(server.asked) == 2


POOL = Pool(
    tuple(
        Query(
            id=str(i),
            question=f"What is {i}?",
            answer=str(i),
            solution=str(i),
            tags=("own",) if i % 4 == 0 else (),
        )
        for i in range(8)
    )
)


def by_number(question, _):
    """Odd numbers are odd, 2 cannot be had, 6 is even."""
    number = int(question.split()[-1].rstrip("?"))
    return (200, "Odd numbers") if number % 2 else (400, b"") if number == 2 else (200, "even numbers")


def test_only_queries_without_tags_are_asked_and_what_stays_untagged_gives_its_text(serve, tmp_path, caplog):
    server = serve(by_number)
    with caplog.at_level(logging.WARNING):
        texts = subjects(POOL, options(server, tmp_path))
    odd = "odd numbers"
    assert texts == ["own", odd, "What is 2?", odd, "own", odd, "even numbers", odd]
    assert len(server.asked) == 6
    assert "method.tagger: 1 of 6 queries got no tags; their text stands in" in caplog.text
    assert "method.tagger: of 6 queries asked, failed_http_400 1" in caplog.text
    assert KEY not in caplog.text
    found = cluster_queries(texts, 4, lambda _: pytest.fail("a cluster for each text"), 0)
    assert len(set(found.tolist())) == 4
    assert len({found[i] for i in (1, 3, 5, 7)}) == 1
    assert subjects(POOL, options(server, tmp_path)) == texts
    assert len(server.asked) == 7  # what was told is kept, what failed is asked again


def test_an_untagged_query_stops_the_run_where_that_is_wanted(serve, tmp_path):
    server = serve(by_number)
    with pytest.raises(UserError, match=r"method\.tagger: 1 of 6 queries got no tags; look at the endpoint"):
        subjects(POOL, options(server, tmp_path, fallback="stop"))


def test_tagged_queries_and_an_unset_endpoint_ask_nobody(serve, tmp_path):
    server = serve(by_number)
    tagged = Pool(tuple(replace(query, tags=("own",)) for query in POOL.queries))
    assert subjects(tagged, options(server, tmp_path)) == ["own"] * 8
    assert subjects(POOL, TaggerOptions()) == [query.question for query in POOL.queries]
    assert server.asked == []


def test_what_the_tagger_lacks_is_said_before_the_run_begins(serve, tmp_path, monkeypatch):
    server = serve(by_number)
    chosen = sai_dpo.Options(clusters=2, probe=0.5, tagger=options(server, tmp_path, model=""))
    with pytest.raises(UserError, match=r"^method\.tagger\.model: must be set"):
        sai_dpo.make(POOL, chosen, 0, object())
    monkeypatch.delenv(VARIABLE)
    chosen = sai_dpo.Options(clusters=2, probe=0.5, tagger=options(server, tmp_path))
    with pytest.raises(UserError, match=rf"^method\.tagger\.key_variable: .* {VARIABLE} is not set"):
        sai_dpo.make(POOL, chosen, 0, object())


def config(folder, server, cache):
    tagger = {"endpoint": server.url, "model": "m", "key_variable": VARIABLE, "cache": cache, "retries": 0}
    sai = {"name": "sai_dpo", "clusters": 3, "probe": 0.5, "trials": 3, "draw": 4, "warm_up": False}
    overrides = (
        f"run.dir={folder}",
        "run.rounds=0",
        "data.limit=8",
        "evaluation.sets={}",
        "sampling.max_new_tokens=16",
        "sampling.slots=4",
        "training.batch_size=2",
        "training.epochs=1",
        "logging.tensorboard=false",
    )
    mapping = {**load_yaml(config_path("quickstart")), "method": {**sai, "tagger": tagger}}
    return build_config(apply_overrides(mapping, overrides))


def test_a_resumed_run_keeps_its_tags_though_the_endpoint_has_changed_its_mind(serve, tmp_path, monkeypatch):
    """The endpoint would answer otherwise: the round goes on with the clusters that it began with."""
    replies = {"mood": lambda question: (200, "long" if len(question) > 12 else "short")}
    server = serve(lambda question, _: replies["mood"](question))
    settings = config(tmp_path / "run", server, "")
    whole = RunStore.mark_done

    def killed(store, name, **facts):
        if name == "00/build":
            raise InterruptedRunError("stopped by the test")
        whole(store, name, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "mark_done", killed)
        with pytest.raises(InterruptedRunError):
            run(settings)
    store = RunStore.read(tmp_path / "run")
    begun = store.read_arrays("rounds/00/method_begun.npz")["clusters"]
    assert len(set(begun.tolist())) == 2
    asked = len(server.asked)
    replies["mood"] = lambda _: (500, b"")
    run(settings)
    assert len(server.asked) == asked
    np.testing.assert_array_equal(store.read_arrays("rounds/00/method.npz")["clusters"], begun)
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in written)
