"""Statistics against scipy, closed forms and simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.metrics import stats


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 40), (251, 500), (1, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_equals_scipy(k, n, confidence):
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose(stats.wilson_interval(k, n, confidence=confidence), expected, atol=1e-12)


def test_wilson_interval_at_the_edges():
    assert stats.wilson_interval(0, 0) == (0.0, 1.0)
    assert stats.wilson_interval(0, 25)[0] == 0.0
    assert stats.wilson_interval(25, 25)[1] == 1.0
    with pytest.raises(ValueError, match="k=3, n=2"):
        stats.wilson_interval(3, 2)


def test_accuracy_entry_of_one_trial_is_wilsons():
    correct = np.array([True, False, True, True])
    low, high = stats.wilson_interval(3, 4)
    assert stats.accuracy_entry(correct) == stats.Accuracy(accuracy=0.75, interval=(low, high), n=4)
    assert stats.accuracy_entry([]).n == 0
    with pytest.raises(ValueError, match="3 correct of 2"):
        stats.accuracy_entry([3, 0], 2)


def test_clustered_interval_covers_where_naive_wilson_does_not():
    """Queries that are all-or-nothing carry one observation each, however many trials they have."""
    rng = np.random.default_rng(0)
    n, trials, experiments = 100, 16, 400
    all_or_nothing = rng.random((experiments, n)) < 0.3
    independent = rng.binomial(trials, 0.3, (experiments, n))
    covered = naive = covered_independent = 0
    widths = []
    for nothing, free in zip(all_or_nothing, independent, strict=True):
        low, high = stats.clustered_interval(nothing * trials, trials)
        covered += low <= 0.3 <= high
        low, high = stats.wilson_interval(int(nothing.sum()) * trials, n * trials)
        naive += low <= 0.3 <= high
        low, high = stats.clustered_interval(free, trials)
        covered_independent += low <= 0.3 <= high
        widths.append(high - low)
    assert covered / experiments > 0.92
    assert naive / experiments < 0.6
    assert covered_independent / experiments > 0.91
    assert np.mean(widths) < 0.06  # 16 free trials are worth nearly 16 queries: 0.18 / 4


def test_levels_sort_by_difficulty_then_naturally():
    labels = ["10", "2", "unsolved", "easy", "Level 11", "hard", "Level 2", "middle", "2", "algebra"]
    expected = ["easy", "middle", "hard", "unsolved", "2", "10", "algebra", "Level 2", "Level 11"]
    assert stats.sorted_levels(labels) == expected


def test_by_level_groups_and_leaves_out_unlabelled_queries():
    entry = stats.by_level([2, 0, 1, 2, 0], 2, ["hard", "easy", "hard", None, "10"])
    assert list(entry) == ["easy", "hard", "10"]
    assert [e.n for e in entry.values()] == [1, 2, 1]
    assert entry["hard"].accuracy == 0.75
    with pytest.raises(ValueError, match="2 queries but 1 labels"):
        stats.by_level([1, 1], 1, ["easy"])


def test_paired_difference_agrees_with_scipy_bootstrap():
    rng = np.random.default_rng(1)
    before, after = rng.random(300) < 0.4, rng.random(300) < 0.5
    ours = stats.paired_difference(after, before, seed=3)
    reference = scipy.stats.bootstrap(
        (after.astype(float) - before,), np.mean, n_resamples=10_000, method="percentile", rng=4
    ).confidence_interval
    assert ours.difference == pytest.approx(after.mean() - before.mean())
    np.testing.assert_allclose(ours.interval, reference, atol=0.006)
    assert ours == stats.paired_difference(after, before, seed=3)


def test_paired_difference_covers_the_truth_about_95_percent_of_the_time():
    rng = np.random.default_rng(2)
    hits = 0
    for i in range(400):
        base = rng.random(200) < 0.4
        after = np.where(rng.random(200) < 0.3, rng.random(200) < 0.6, base)  # truth: 0.3 × (0.6 − 0.4)
        low, high = stats.paired_difference(after, base, resamples=1000, seed=i).interval
        hits += low <= 0.06 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_paired_is_narrower_than_unpaired_on_the_same_queries():
    rng = np.random.default_rng(3)
    base = rng.random(500) < 0.5
    after = base | (rng.random(500) < 0.05)
    low, high = stats.paired_difference(after, base).interval
    assert low > 0  # unpaired, ± 6 points, it would not be
    assert high - low < 0.06


def test_paired_difference_refuses_different_queries():
    with pytest.raises(ValueError, match="same queries"):
        stats.paired_difference([1, 0], [1, 0, 1])


def test_crossed_interval_agrees_with_drawing_seeds_and_queries_one_by_one():
    random = np.random.default_rng(0)
    values = random.integers(-1, 2, (3, 60)) + np.array([[0.5], [0.0], [-0.2]])
    means = []
    for _ in range(4000):
        seeds, queries = random.integers(0, 3, 3), random.integers(0, 60, 60)
        means.append(values[np.ix_(seeds, queries)].mean())
    low, high = stats.crossed_interval(values)
    np.testing.assert_allclose((low, high), np.quantile(means, [0.025, 0.975]), atol=0.03)
    alone = stats.bootstrap_mean_interval(values.mean(axis=0))
    assert high - low > 1.5 * (alone[1] - alone[0])


def test_crossed_interval_of_one_seed_is_that_of_its_queries():
    values = np.random.default_rng(0).integers(0, 2, (1, 200))
    np.testing.assert_allclose(
        stats.crossed_interval(values), stats.bootstrap_mean_interval(values[0]), atol=0.005
    )


def test_bootstrap_of_many_distinct_values_matches_the_normal_approximation():
    values = np.random.default_rng(4).normal(2.0, 3.0, 2000)
    low, high = stats.bootstrap_mean_interval(values, resamples=4000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(2000)
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.015)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_pass_at_k_equals_the_share_of_subsets_with_a_correct_one(k):
    n = 8
    for c in range(n + 1):
        outcomes = [i < c for i in range(n)]
        subsets = list(itertools.combinations(outcomes, k))
        estimate = stats.pass_at_k([c], n, k).accuracy
        assert estimate == pytest.approx(np.mean([any(s) for s in subsets]))


def test_pass_at_k_is_unbiased_and_survives_many_trials():
    rng = np.random.default_rng(6)
    counts = rng.binomial(10, 0.2, 40_000)
    entry = stats.pass_at_k(counts, 10, 4)
    assert entry.accuracy == pytest.approx(1 - 0.8**4, abs=0.005)
    assert entry.interval[0] < entry.accuracy < entry.interval[1]
    assert stats.pass_at_k([3], 5000, 2500).accuracy == pytest.approx(0.875, abs=1e-3)
    with pytest.raises(ValueError, match="pass@11"):
        stats.pass_at_k(counts, 10, 11)


def test_majority_at_k_counts_votes_and_breaks_ties_by_first_seen():
    answers = [["7", "8", "8 "], ["5", "6", None], [None, None, None], ["3", "1", "1"]]
    flags = [[False, True, True], [True, False, False], [False] * 3, [True, False, False]]
    assert stats.majority_at_k(answers, flags, 3).accuracy == 0.5  # 8 wins, 5 was first, none, 1 wins
    assert stats.majority_at_k(answers, flags, 1).accuracy == 0.5  # 7, 5, none, 3
    assert stats.majority_at_k(answers, flags, 2).accuracy == 0.5
    with pytest.raises(ValueError, match="at least 4 trials"):
        stats.majority_at_k(answers, flags, 4)


def test_majority_grows_with_k_when_wrong_answers_scatter():
    rng = np.random.default_rng(7)
    right = rng.random((2000, 16)) < 0.4
    answers = [
        ["42" if r else str(w) for r, w in zip(row, wrong, strict=True)]
        for row, wrong in zip(right, rng.integers(100, 200, right.shape), strict=True)
    ]
    accuracies = [stats.majority_at_k(answers, right.tolist(), k).accuracy for k in (1, 4, 16)]
    assert accuracies[0] == pytest.approx(0.4, abs=0.03)
    assert accuracies[0] < accuracies[1] < accuracies[2]
    assert accuracies[2] > 0.95


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_unbiased_pass_at_k_is_the_closed_form(nck):
    n, c, k = nck
    assert stats.unbiased_pass_at_k(np.array([c]), n, k)[0] == pytest.approx(
        1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-12
    )


def test_unbiased_pass_at_k_stays_in_range_for_many_trials_and_refuses_too_few():
    assert stats.unbiased_pass_at_k(np.array([0, 1, 20_000]), 20_000, 10_000) == pytest.approx([0, 0.5, 1])
    with pytest.raises(ValueError, match="at least 5"):
        stats.unbiased_pass_at_k(np.array([1]), np.array([4]), 5)
