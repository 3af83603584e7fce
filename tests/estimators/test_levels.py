import numpy as np
import pytest

from dast_jax.estimators.levels import (
    Cuts,
    fail_rate,
    level_counts,
    level_shares,
    levels_from_counts,
    smallest_trials,
)
from dast_jax.records import LEVELS


def test_levels_follow_the_cut_points():
    levels = levels_from_counts(np.arange(17), 16)
    names = [LEVELS[i] for i in levels]
    assert names == ["unsolved"] + ["hard"] * 3 + ["middle"] * 8 + ["easy"] * 5
    assert levels.dtype == np.int8


@pytest.mark.parametrize("trials", [5, 7, 8, 10, 12, 100])
def test_cut_points_belong_to_the_easier_level(trials):
    correct = np.arange(trials + 1)
    for c, level in zip(correct, levels_from_counts(correct, trials), strict=True):
        p = c / trials
        expected = 3 if p == 0 else 0 if p >= 0.75 else 1 if p >= 0.25 else 2
        assert level == expected


def test_levels_with_trials_per_query_and_own_cuts():
    assert levels_from_counts(np.array([1, 1, 0]), np.array([2, 20, 0])).tolist() == [1, 2, 3]
    assert levels_from_counts(np.array([9, 5]), 10, Cuts(easy=0.95, hard=0.6)).tolist() == [1, 2]


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="correct"):
        levels_from_counts(np.array([3]), 2)
    with pytest.raises(ValueError, match="cut points"):
        levels_from_counts(np.array([1]), 2, Cuts(easy=0.2, hard=0.3))


@pytest.mark.parametrize(("hard", "trials"), [(0.25, 5), (0.5, 3), (0.1, 11), (0.3, 4)])
def test_smallest_trials_is_the_first_with_a_hard_level(hard, trials):
    assert smallest_trials(Cuts(easy=0.9, hard=hard)) == trials
    assert 2 in levels_from_counts(np.arange(trials + 1), trials, Cuts(easy=0.9, hard=hard))
    assert 2 not in levels_from_counts(np.arange(trials), trials - 1, Cuts(easy=0.9, hard=hard))


def test_shares_of_queries_and_of_rows():
    levels = np.array([0, 0, 1, 3], np.int8)
    assert level_counts(levels).tolist() == [2, 1, 0, 1]
    assert level_shares(levels) == {"easy": 0.5, "middle": 0.25, "hard": 0.0, "unsolved": 0.25}
    assert level_shares(levels, np.array([3, 3, 3, 0]))["unsolved"] == 0.75
    assert sum(level_shares(levels, np.zeros(0, np.int32)).values()) == 0


def test_fail_rate():
    assert fail_rate(np.array([0, 1, 4]), 4).tolist() == [1, 0.75, 0]
    assert fail_rate(np.array([0]), 0).tolist() == [1]
