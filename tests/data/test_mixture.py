"""`data.mixture`: queries of several sources by weight."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.data.mixture import load_training, taken
from dast_jax.data.options import DataOptions
from dast_jax.errors import UserError

SAMPLE = str(Path(__file__).parent / "gsm8k_sample.jsonl")


@pytest.fixture
def chats(tmp_path):
    """Thirty rows in another schema."""
    path = tmp_path / "chats.jsonl"
    rows = [{"prompt": f"What is {i}+1?", "completion": f"The answer is {i + 1}."} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def counts(queries, *sources):
    return [sum(q.source.startswith(source) for q in queries) for source in sources]


def test_sources_of_different_schemas_by_weight(chats, caplog):
    with caplog.at_level(logging.INFO, "dast_jax"):
        queries = load_training(DataOptions(train=SAMPLE, mixture={chats: 0.5}))
    assert counts(queries, SAMPLE, chats) == [20, 10]
    assert queries[0].answer == "72"
    assert queries[-1].answer == "10"
    assert f"{chats}: 10 of 30 queries taken" in caplog.text
    heavy = load_training(DataOptions(train=SAMPLE, mixture={chats: 3}))
    assert counts(heavy, SAMPLE, chats) == [10, 30]  # the heavier source runs out first


def test_the_limit_is_that_of_all_and_a_seed_draws(chats):
    options = {"train": SAMPLE, "mixture": {chats: 1.0}, "limit": 12}
    first = load_training(DataOptions(**options))
    drawn = load_training(DataOptions(**options, subset_seed=1))
    assert counts(first, SAMPLE, chats) == counts(drawn, SAMPLE, chats) == [6, 6]
    assert [q.answer for q in first[6:]] == [str(i + 1) for i in range(6)]
    assert {q.id for q in first} != {q.id for q in drawn}
    assert drawn == load_training(DataOptions(**options, subset_seed=1))


def test_ids_that_repeat_get_their_sources_number(tmp_path, caplog):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    a, b = (str(tmp_path / name / "train.jsonl") for name in ("a", "b"))
    queries = load_training(DataOptions(train=a, mixture={b: 1}))
    assert [q.id for q in queries] == ["train-1", "2:train-1"]
    assert f"{b}: repeats ids of another source" in caplog.text


def test_what_cannot_be_mixed_is_refused(chats):
    with pytest.raises(UserError, match=r"data\.mixture: .* is data\.train, whose weight is 1"):
        load_training(DataOptions(train=SAMPLE, mixture={SAMPLE: 2}))
    with pytest.raises(UserError, match=r"data\.mixture: no query of .*chats\.jsonl is taken; raise"):
        load_training(DataOptions(train=SAMPLE, mixture={chats: 0.001}))
    with pytest.raises(UserError, match=r"missing\.jsonl"):
        load_training(DataOptions(train=SAMPLE, mixture={"missing.jsonl": 1}))
    with pytest.raises(ValueError, match="weights must be above 0"):
        DataOptions(train=SAMPLE, mixture={chats: 0})


@given(
    sizes=st.lists(st.integers(1, 500), min_size=2, max_size=5),
    weights=st.lists(st.floats(0.01, 100), min_size=5, max_size=5),
    limit=st.integers(0, 800),
)
def test_counts_follow_the_weights_within_one(sizes, weights, limit):
    names = [str(i) for i in range(len(sizes))]
    by_size, by_weight = dict(zip(names, sizes, strict=True)), dict(zip(names, weights, strict=False))
    found = taken(by_size, by_weight, limit)
    whole, total = sum(by_weight.values()), sum(found.values())
    assert all(0 <= found[n] <= by_size[n] for n in names)
    assert not limit or total <= limit
    for n in names:
        assert abs(found[n] - total * by_weight[n] / whole) < 2
    full = any(by_size[n] <= (total + 1) * by_weight[n] / whole for n in names)
    assert full or total == limit  # nothing more could have been taken
