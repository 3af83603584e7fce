"""Packing: nothing is lost or truncated, and nothing is trained on that should not be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.data.packing import batches, pack, row_visits, steps_per_epoch
from dast_jax.records import SFTExample


def make(lengths):
    """Examples whose tokens show where they come from."""
    return [
        SFTExample(
            query=i,
            prompt=tuple(1000 * i + j for j in range(p)),
            response=tuple(1000 * i + 500 + j for j in range(r)),
        )
        for i, (p, r) in enumerate(lengths)
    ]


def unpack(row):
    """(inputs, targets, weights) of each segment of a row."""
    for segment in range(1, row["segment_ids"].max() + 1):
        here = row["segment_ids"] == segment
        assert row["positions"][here].tolist() == list(range(here.sum()))
        yield row["tokens"][here].tolist(), row["targets"][here].tolist(), row["weights"][here].tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=40),
    st.integers(2, 48),
    st.integers(0, 3),
)
def test_every_example_is_packed_whole_once_or_skipped(lengths, sequence_length, seed):
    examples = make(lengths)
    rows = pack(examples, sequence_length, pad_id=7, seed=seed)
    found = []
    for i in range(len(rows)):
        row = rows[i]
        for tokens, targets, weights in unpack(row):
            query = tokens[0] // 1000
            prompt, response = examples[query].prompt, examples[query].response
            assert tuple(tokens) == (prompt + response)[:-1]
            assert tuple(targets) == (prompt + response)[1:]
            assert weights == [0.0] * (len(prompt) - 1) + [1.0] * len(response)
            found.append(query)
        padding = row["segment_ids"] == 0
        assert (row["tokens"][padding] == 7).all()
        assert not row["weights"][padding].any()
    too_long = [i for i, (p, r) in enumerate(lengths) if p + r - 1 > sequence_length]
    assert rows.skipped == tuple(too_long)
    assert sorted(found + too_long) == list(range(len(examples)))
    assert rows.tokens == sum(p + r - 1 for i, (p, r) in enumerate(lengths) if i not in too_long)
    assert rows.response_tokens == sum(r for i, (_, r) in enumerate(lengths) if i not in too_long)


def test_types_and_shapes():
    row = pack(make([(3, 4), (2, 2)]), 16)[0]
    assert {k: (v.dtype, v.shape) for k, v in row.items()} == {
        **dict.fromkeys(("tokens", "segment_ids", "positions", "targets"), (np.int32, (16,))),
        "weights": (np.float32, (16,)),
    }


def test_rows_are_nearly_full():
    random = np.random.default_rng(0)
    lengths = [(int(p), int(r)) for p, r in random.integers(10, 60, (500, 2))]
    rows = pack(make(lengths), 256)
    assert rows.tokens / (len(rows) * 256) > 0.97


def test_equal_lengths_are_spread_by_the_seed():
    examples = make([(4, 5)] * 32)
    assert pack(examples, 32, seed=1).members == pack(examples, 32, seed=1).members
    assert pack(examples, 32, seed=1).members != pack(examples, 32, seed=2).members


@pytest.mark.parametrize("lengths", [(0, 3), (3, 0)])
def test_an_example_without_prompt_or_response_is_a_bug(lengths):
    with pytest.raises(ValueError, match="example 1 "):
        pack(make([(2, 2), lengths]), 16)


def rows_and_batches(seed=5, epochs=3):
    rows = pack(make([(6, 8)] * 10), 14)  # one example a row
    return rows, list(batches(rows, batch_size=4, epochs=epochs, seed=seed))


def test_batches_cover_each_epoch_once_in_its_own_order():
    rows, made = rows_and_batches()
    assert steps_per_epoch(rows, 4) == 3
    assert len(made) == 9
    assert all(b["tokens"].shape == (4, 14) for b in made)
    orders = []
    for epoch in range(3):
        part = np.concatenate([b["tokens"] for b in made[3 * epoch : 3 * epoch + 3]])
        real = np.concatenate([b["weights"].any(1) for b in made[3 * epoch : 3 * epoch + 3]])
        assert real.tolist() == [True] * 10 + [False] * 2  # the last batch is filled up with padding
        orders.append((part[real][:, 0] // 1000).tolist())
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    _, again = rows_and_batches()
    assert all((a["tokens"] == b["tokens"]).all() for a, b in zip(made, again, strict=True))
    _, other = rows_and_batches(seed=6)
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(made, other, strict=True))


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 8, 9])
def test_row_visits_are_those_of_the_batches(steps):
    _, made = rows_and_batches()
    counted = np.zeros(10, np.int64)
    for batch in made[:steps]:
        real = batch["weights"].any(1)
        np.add.at(counted, batch["tokens"][real][:, 0] // 1000, 1)
    rows, _ = rows_and_batches()
    by_example = np.zeros(10, np.int64)
    visits = row_visits(len(rows), batch_size=4, seed=5, steps=steps)
    by_example[[example for (example,) in rows.members]] = visits
    assert by_example.tolist() == counted.tolist()
    assert visits.sum() == sum(batch["weights"].any(1).sum() for batch in made[:steps])


def test_an_iterator_continues_from_its_saved_state():
    rows, made = rows_and_batches()
    iterator = batches(rows, batch_size=4, epochs=3, seed=5)
    for _ in range(4):
        next(iterator)
    state = iterator.get_state()
    fresh = batches(rows, batch_size=4, epochs=3, seed=5)
    fresh.set_state(state)
    rest = list(fresh)
    assert len(rest) == 5
    assert all((a["tokens"] == b["tokens"]).all() for a, b in zip(made[4:], rest, strict=True))
