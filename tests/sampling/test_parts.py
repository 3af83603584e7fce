"""Which part of the slots serves a request: by the order of requests alone, in blocks, evenly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.records import Requests
from dast_jax.sampling.parts import Parts


def requests(query, trial):
    n = len(query)
    return Requests(np.array(query, np.int32), np.array(trial, np.int32), np.zeros(n, np.int8))


def names(given):
    return list(zip(given.query.tolist(), given.trial.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=40), st.integers(1, 4))
def test_a_part_follows_from_the_order_of_requests_however_they_are_cut(pairs, cut):
    whole = Parts(3, 4)
    expected = [
        names(part) for part in whole.split(requests(*zip(*pairs, strict=True)) if pairs else Requests.none())
    ]
    pieces = Parts(3, 4)
    found = [[], [], []]
    for begin in range(0, len(pairs), cut):
        piece = pairs[begin : begin + cut]
        for kept, part in zip(found, pieces.split(requests(*zip(*piece, strict=True))), strict=True):
            kept += names(part)
    assert found == expected
    assert sorted(pair for part in found for pair in part) == sorted(pairs)


def test_trials_go_to_the_parts_in_blocks_and_queries_one_after_the_other():
    split = Parts(2, 4).split(requests([7] * 8 + [3] * 4 + [9] * 4, [*range(8), *range(4), *range(4)]))
    assert names(split[0]) == [(7, 0), (7, 1), (7, 2), (7, 3), (9, 0), (9, 1), (9, 2), (9, 3)]
    assert names(split[1]) == [(7, 4), (7, 5), (7, 6), (7, 7), (3, 0), (3, 1), (3, 2), (3, 3)]
