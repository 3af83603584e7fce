"""Messages between processes come back as they were."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dast_jax.distributed.messages import decode, encode, joined, split

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=4,
)
ARRAYS = arrays.arrays(
    st.sampled_from([np.int32, np.float32, np.bool_]), arrays.array_shapes(min_dims=0, min_side=0)
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.dictionaries(st.text(), PLAIN, max_size=3), st.lists(ARRAYS, max_size=2))
def test_a_message_comes_back(name: str, plain: dict, found: list[np.ndarray]) -> None:
    values = {f"plain {k}": v for k, v in plain.items()} | {f"array {i}": a for i, a in enumerate(found)}
    heard, back = decode(encode(name, values))
    assert heard == name
    assert list(back) == list(values)
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            assert back[key].dtype == value.dtype
            np.testing.assert_array_equal(back[key], value)
        else:
            assert back[key] == value


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple), max_size=5))
def test_rows_of_tokens_come_back(rows: list[tuple[int, ...]]) -> None:
    assert split(*joined(rows)) == rows
