"""The tagger against a real HTTP server."""

from __future__ import annotations

import pytest

from dast_jax.llm.tagger import Tagger, TaggerOptions
from tests.helpers_chat_server import VARIABLE, serve

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
