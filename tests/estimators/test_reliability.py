"""Split halves and transitions against hand-computed numbers, scikit-learn and a simulation."""

import numpy as np
import pytest
from response_columns import columns
from sklearn.metrics import cohen_kappa_score

from dast_jax.estimators.reliability import UNKNOWN, cohen_kappa, known_levels, split_half, transitions


def of_outcomes(outcomes):
    """Responses whose correctness by query is given as strings of 0 and 1, in order of the trials."""
    query = [q for q, row in enumerate(outcomes) for _ in row]
    return columns(query, [c == "1" for row in outcomes for c in row], [""] * len(query))


def test_split_halves_by_hand():
    # Even and odd trials of the first 4 (what every query has): 11|11, 10|01, 00|01, 00|00; levels of pass
    # rates 1|1, .5|.5, 0|.5, 0|0: easy easy, middle middle, unsolved middle, unsolved unsolved.
    responses = of_outcomes(["1111", "1001", "0001", "000011", ""])
    found = split_half(responses, np.ones(len(responses), bool), 5)
    assert (found.queries, found.trials, found.same_level) == (4, 2, 0.75)
    # κ: expected by chance 1/4·1/4 + 1/4·2/4 + 2/4·1/4 = 5/16; (12/16 − 5/16)/(11/16) = 7/11.
    assert found.kappa == pytest.approx(7 / 11)
    # r of (2, 1, 0, 0) and (2, 1, 1, 0): 2 over √(2.75 · 2), both as sums of products.
    r = 2.0 / np.sqrt(2.75 * 2)
    assert found.correlation == pytest.approx(r)
    assert found.reliability == pytest.approx(2 * r / (1 + r))


def test_only_the_chosen_trials_are_split_whatever_their_order():
    responses = of_outcomes(["1111", "1001", "0001", "0000"])
    hints = of_outcomes(["1111"] * 4)
    both = responses.concatenate([hints, responses])
    chosen = np.arange(32) >= 16
    shuffled = np.random.default_rng(0).permutation(32)
    expected = split_half(responses, np.ones(16, bool), 4)
    assert split_half(both.take(shuffled), chosen[shuffled], 4) == expected


@pytest.mark.parametrize("outcomes", [[], ["", ""], ["1", "11"]])
def test_nothing_to_split(outcomes):
    responses = of_outcomes(outcomes)
    assert split_half(responses, np.ones(len(responses), bool), len(outcomes)) is None


def test_halves_that_do_not_vary_have_no_correlation():
    found = split_half(of_outcomes(["11", "11"]), np.ones(4, bool), 2)
    assert (found.same_level, found.kappa, found.correlation, found.reliability) == (1.0, None, None, None)


def test_the_reliability_is_the_share_of_true_variance():
    """Classical test theory: var(p) / var(p̂), of 4,000 queries with pass rates from a beta distribution."""
    rng = np.random.default_rng(1)
    p, k = rng.beta(2, 2, 4000), 16
    outcomes = ["".join("1" if u < rate else "0" for u in rng.random(k)) for rate in p]
    found = split_half(of_outcomes(outcomes), np.ones(4000 * k, bool), 4000)
    observed = np.array([row.count("1") / k for row in outcomes])
    assert found.reliability == pytest.approx(p.var() / observed.var(), abs=0.02)


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 200)
    b = np.where(rng.random(200) < 0.6, a, rng.integers(0, 4, 200))
    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert cohen_kappa(a[:0], b[:0]) is None


def test_levels_are_known_from_five_trials_on():
    levels = known_levels(np.array([0, 4, 1, 1, 0, 3]), np.array([4, 4, 5, 4, 5, 5]))
    assert levels.tolist() == [UNKNOWN, UNKNOWN, 2, UNKNOWN, 3, 1]


def test_transitions_count_queries_by_both_levels():
    before, after = np.array([0, 0, 2, 3, 3, UNKNOWN]), np.array([0, 1, 0, UNKNOWN, 2, 0])
    nothing = dict.fromkeys(("easy", "middle", "hard", "unsolved", "unknown"), 0)
    assert transitions(before, after) == {
        "easy": nothing | {"easy": 1, "middle": 1},
        "hard": nothing | {"easy": 1},
        "unsolved": nothing | {"hard": 1, "unknown": 1},
    }
    assert transitions(before, np.full(6, UNKNOWN)) == {}
