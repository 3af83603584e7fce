"""Estimators on made-up trials: scores and levels against what they are defined as."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dast_jax.errors import UserError
from dast_jax.estimators import ESTIMATORS, estimate, levels_by_rank, rank_quantiles
from dast_jax.estimators.levels import levels_from_counts
from dast_jax.records import Query, Responses


def trials(rows):
    """Responses of rows (query, correct, text, length, entropy), in an order that is none."""
    order = np.random.default_rng(0).permutation(len(rows))
    query, correct, text, length, entropy = (list(column) for column in zip(*rows, strict=True))
    n = len(rows)
    return Responses(
        query=np.array(query, np.int32),
        round=np.zeros(n, np.int32),
        trial=np.arange(n, dtype=np.int32),
        kind=np.zeros(n, np.int8),
        verdict=np.array([0 if c else 1 for c in correct], np.int8),
        length=np.array(length, np.int32),
        finish=np.zeros(n, np.int8),
        text=np.array(text, object),
        extracted=np.array([None] * n, object),
        logprob=np.zeros(n, np.float32),
        entropy=np.array(entropy, np.float32),
    ).take(order)


def queries(levels):
    return [Query(id=str(i), question=f"q{i}", answer="1", level=level) for i, level in enumerate(levels)]


# (query, correct, text, length, entropy)
ROWS = [
    *[(0, True, "a", 10, 0.1)] * 4,
    *[(1, c, "a\nb", 10, 0.2) for c in (1, 1, 0, 0)],
    *[(2, c, "a\n\nb\nc", 30, 0.3) for c in (1, 0, 0, 0)],
    *[(3, False, "a\nb", 20, 0.9)] * 4,
    *[(4, False, "a\nb", 25, 0.4)] * 4,
    *[(5, True, "a", 12, 0.5)] * 4,
]
QUERIES = queries(["Level 1", "Level 2", "Level 3", "Level 10", None, "Level 1"])


def test_sampled_is_the_pass_rate_and_its_cut_points():
    found = estimate("sampled", QUERIES, trials(ROWS))
    assert found.score.tolist() == [0, 0.5, 0.75, 1, 1, 0]
    assert found.levels.tolist() == levels_from_counts(np.array([4, 2, 1, 0, 0, 4]), 4).tolist()


def test_scores_by_definition():
    assert estimate("fail_rate", QUERIES, trials(ROWS)).score.tolist() == [0, 0.5, 0.75, 1, 1, 0]
    np.testing.assert_allclose(
        estimate("uncertainty", QUERIES, trials(ROWS)).score, [0.1, 0.2, 0.3, 0.9, 0.4, 0.5], rtol=1e-6
    )
    label = estimate("label", QUERIES)
    assert label.score[:4].tolist() == [0, 1, 2, 3]  # Level 10 comes after Level 3
    assert np.isnan(label.score[4])
    assert label.notes == {"unknown": 1}


def test_self_aware_is_lexicographic():
    score = estimate("self_aware", QUERIES, trials(ROWS)).score
    # Solved at all: 0 (1 step, 10 tokens), 5 (1, 12), 1 (2 steps), 2 (3 steps); unsolved: 3 (20), 4 (25).
    assert np.argsort(score).tolist() == [0, 5, 1, 2, 3, 4]


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"judge", "label"}))
def test_the_order_of_the_responses_does_not_matter(name):
    responses = trials([*ROWS, *[(0, True, "a", 1, 10.0**k) for k in range(-9, 9)]])
    back = responses.take(np.arange(len(responses))[::-1])
    one, other = (estimate(name, QUERIES, r) for r in (responses, back))
    assert one.score.tobytes() == other.score.tobytes()
    assert one.levels.tolist() == other.levels.tolist()


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"judge", "label"}))
def test_queries_without_trials_are_counted(name):
    found = estimate(name, [*QUERIES, *queries(["x"])], trials(ROWS))
    assert np.isnan(found.score[6])
    assert found.notes == {"unknown": 1}
    assert len(found.levels) == 7


def test_rank_quantiles_against_scipy():
    values = np.random.default_rng(0).integers(0, 9, 60).astype(float)
    np.testing.assert_allclose(rank_quantiles(values), (stats.rankdata(values) - 1) / 59)
    first, second = values // 3, -values
    both = first * 100 + second
    np.testing.assert_allclose(rank_quantiles(first, second), rank_quantiles(both))
    assert rank_quantiles(np.array([3.0])).tolist() == [0.5]


def test_levels_by_rank_hold_the_shares():
    score = np.random.default_rng(0).permutation(1000).astype(float)
    levels = levels_by_rank(score, (0.4, 0.3, 0.2, 0.1))
    assert np.bincount(levels).tolist() == [400, 300, 200, 100]
    assert score[levels == 0].max() < score[levels == 1].min()
    assert levels_by_rank(np.array([1.0, 1, 1, 1]), (0.25, 0.25, 0.25, 0.25)).tolist() == [2, 2, 2, 2]
    assert levels_by_rank(np.array([np.nan, 1, 2]), (0.3, 0.3, 0.4, 0.0))[0] == 1
    with pytest.raises(ValueError, match="sum to 1"):
        levels_by_rank(score, (0.5, 0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "message"),
    [("sampld", "did you mean sampled"), ("sampled", "needs trials"), ("judge", "needs an endpoint")],
)
def test_what_cannot_be_estimated_is_one_sentence(name, message):
    with pytest.raises(UserError, match=message):
        estimate(name, QUERIES)


def test_labels_must_be_there():
    with pytest.raises(UserError, match="none of the queries has a level"):
        estimate("label", queries([None, None]))
