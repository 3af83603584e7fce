"""Stop strings: the cut is a function of the tokens, wherever ticks end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import ByteTokenizer

from dast_jax.sampling.stopping import StopStrings

PIECES = (
    b"a",
    b"",
    b"",
    b"\n",
    b"\n\n",
    b"b\n",
    b"ab",
    b"\xc3",
    b"\xa9",
    b"\xe2\x82",
    b"\xac",
    b" ",
    b"\xc3\xa9\n",
)
decode = ByteTokenizer(PIECES).decode


def smallest(tokens, stop, min_tokens=0):
    """By definition: try every number of tokens."""
    for n in range(max(1, min_tokens), len(tokens) + 1):
        text = decode(tokens[:n]).rstrip("\ufffd")
        ignored = len(decode(tokens[: max(0, min_tokens - 1)]).rstrip("\ufffd"))
        found = [i for s in stop for i in range(len(text)) if text.startswith(s, i) and i + len(s) > ignored]
        if found:
            return n, text[: min(found)]
    return None


@settings(max_examples=400, deadline=None)
@given(
    tokens=st.lists(st.sampled_from([0, *range(3, len(PIECES))]), min_size=1, max_size=24),
    stop=st.lists(st.sampled_from(["\n\n", "é", "€", "ab", "a a", "b\n", " "]), min_size=1, max_size=2),
    tick=st.integers(1, 9),
    min_tokens=st.sampled_from([0, 1, 4]),
)
def test_cut_is_the_smallest_and_does_not_depend_on_ticks(tokens, stop, tick, min_tokens):
    expected = smallest(tokens, stop, min_tokens)
    stopper = StopStrings(decode, stop, min_tokens=min_tokens)
    looked_at, found = 0, None
    while found is None and looked_at < len(tokens):
        end = min(len(tokens), looked_at + tick)
        found = stopper.find(tokens[:end], looked_at)
        looked_at = end
    assert found == expected


@pytest.mark.parametrize(
    ("tokens", "stop", "expected"),
    [
        ((0, 3, 3, 0), ("\n\n",), (3, "a")),
        ((0, 5, 4, 0), ("\n\n",), (3, "ab")),
        ((0, 7, 8, 0), ("é",), (3, "a")),
        ((0, 12), ("é\n",), (2, "a")),
        ((0, 0, 0), ("\n",), None),
        ((0, 6, 3), ("b", "a"), (1, "")),
    ],
)
def test_cuts(tokens, stop, expected):
    assert StopStrings(decode, stop).find(tokens, 0) == expected


def test_tokens_that_cannot_end_a_stop_string_are_not_decoded_twice():
    calls = []

    def counting(ids):
        calls.append(tuple(ids))
        return decode(ids)

    stopper = StopStrings(counting, ("\n\n",))
    for n in range(1, 50):
        assert stopper.find([0] * n, n - 1) is None
    assert calls == [(0,)]
