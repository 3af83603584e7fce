"""HS-STaR (arXiv 2505.19866): its boundary set and its budget against a simulation with plain lists."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from simulated_policy import SimulatedPolicy, bound, make_pool, mixed_levels, rows, run_rounds, sample_round

from dast_jax.methods import hs_star
from dast_jax.records import LEVELS, PromptKind, Requests

N = 120


def policy_of_all_kinds(**kwargs):
    """Pass rates of 1, 0.9, 0.5, 0.1 and 0, spread over the queries."""
    return SimulatedPolicy(np.array([1.0, 0.9, 0.5, 0.1, 0.0])[np.arange(N) % 5], exact=False, **kwargs)


def method(**options):
    return bound(make_pool(N), hs_star.Options(**{"warm_up": False} | options), seed=3)


def verdict(policy, query, trial):
    """What one trial of round 0 gives, asked of the policy by itself."""
    one = Requests(np.array([query], np.int32), np.array([trial], np.int32), np.array([1], np.int8))
    return bool(policy.respond(0, one).correct[0])


def simulated(policy, pre, budget):
    """The paper's phases, query by query: its three sets, and the further trials of a boundary query."""
    easy, boundary, hard = set(), set(), set()
    spent = 0
    for query in range(N):
        passed = 0
        for trial in range(pre):
            passed += verdict(policy, query, trial)
            spent += 1
        if passed == pre:
            easy.add(query)
        elif passed == 0:
            hard.add(query)
        else:
            boundary.add(query)
    left = budget * N - spent
    return easy, boundary, hard, left // len(boundary), left % len(boundary)


@pytest.mark.parametrize(("pre", "budget"), [(3, 8), (2, 6), (4, 4)])
def test_the_boundary_set_and_the_budget_match_a_simulation(pre, budget):
    policy, tried = policy_of_all_kinds(seed=4), method(pre_trials=pre, budget=budget)
    _, own = sample_round(tried, policy, make_pool(N), 0, [], arrival_seed=7)
    tried.training_set(own)
    easy, boundary, hard, share, rest = simulated(policy, pre, budget)
    assert min(len(easy), len(boundary), len(hard)) > 10
    got = {name: set(np.flatnonzero(tried.levels == i).tolist()) for i, name in enumerate(LEVELS)}
    assert got == {"easy": easy, "middle": boundary, "hard": set(), "unsolved": hard}

    trials = Counter(own.query.tolist())
    assert len(own) == sum(trials.values()) == budget * N  # equal budget, to the last trial
    assert {trials[query] for query in easy | hard} == {pre}
    further = Counter(trials[query] - pre for query in boundary)
    assert further == Counter({share: len(boundary) - rest} | ({share + 1: rest} if rest else {}))
    assert tried.facts["boundary"] == len(boundary)
    assert tried.facts["trials_per_query"] == budget


def test_pairs_are_as_many_as_both_sides_allow_and_no_text_is_in_two():
    """Straight from the paper: K = min(correct, incorrect) pairs of each boundary query, one to one."""
    policy, tried = policy_of_all_kinds(texts=5, cut=0.2), method()
    _, own = sample_round(tried, policy, make_pool(N), 0, [])
    pairs = tried.training_set(own)
    boundary = simulated(policy, 3, 8)[1]
    right, wrong = defaultdict(set), defaultdict(set)
    for i in range(len(own)):
        if own.finish[i] == 0:  # not cut off
            (right if own.correct[i] else wrong)[int(own.query[i])].add(own.text[i])
    expected = {q: min(len(right[q]), len(wrong[q])) for q in boundary}
    assert Counter(pairs.query.tolist()) == Counter({q: k for q, k in expected.items() if k})
    assert sum(expected.values()) > 50
    by_query = defaultdict(list)
    for query, chosen, rejected, is_reference in rows(pairs):
        assert chosen in right[query]
        assert rejected in wrong[query]
        assert not is_reference
        by_query[query].append((chosen, rejected))
    for found in by_query.values():
        for side in zip(*found, strict=True):
            assert len(set(side)) == len(side)


def test_a_fixed_number_of_further_trials():
    policy, tried = policy_of_all_kinds(), method(boundary_trials=8)
    _, own = sample_round(tried, policy, make_pool(N), 0, [])
    boundary = simulated(policy, 3, 8)[1]
    assert Counter(own.query.tolist()) == Counter({q: 11 if q in boundary else 3 for q in range(N)})


def test_no_query_gets_more_than_the_maximum():
    rates = np.where(np.arange(N) < 6, 0.5, 1.0)
    tried = method(max_trials=20)
    _, own = sample_round(tried, SimulatedPolicy(rates, exact=False), make_pool(N), 0, [])
    tried.training_set(own)
    trials = np.bincount(own.query, minlength=N)
    boundary = np.flatnonzero(tried.levels == 1)
    assert 1 <= len(boundary) <= 6
    assert (trials[boundary] == 20).all()
    assert trials.sum() == 3 * N + 17 * len(boundary)
    assert tried.facts["trials_per_query"] == pytest.approx(3 + 17 * len(boundary) / N)


def test_who_gets_one_trial_more_is_drawn_fairly():
    boundary = np.arange(10) < 8
    got = sum(hs_star.shares(boundary, 11, 99, np.random.default_rng(seed)) for seed in range(4000))
    assert got[8:].tolist() == [0, 0]
    expected = 4000 * 3 / 8  # of one more than the single trial that each has
    np.testing.assert_allclose(got[:8] - 4000, expected, atol=5 * np.sqrt(expected))


def test_the_boundary_is_drawn_anew_each_round():
    """As the policy improves, hard queries become boundary queries, and those become easy."""
    start = np.array([0.9, 0.5, 0.15, 0.0])[mixed_levels(N)]
    policy = SimulatedPolicy(np.stack([start, np.minimum(start + 0.3, 1)]), exact=False)
    tried, pool = method(), make_pool(N)
    boundaries = []
    for (pairs, own), round in zip(run_rounds(tried, policy, pool, 1), itertools.count(), strict=False):
        assert (own.round == round).all()
        boundaries.append(set(pairs.query.tolist()))
    assert boundaries[0] - boundaries[1]
    assert boundaries[1] - boundaries[0]


def test_it_samples_zero_shot_without_exemplars():
    _, own = sample_round(method(exemplars=0), policy_of_all_kinds(), make_pool(N), 0, [])
    assert (own.kind == PromptKind.ZERO_SHOT).all()
