from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_policy import (
    LENGTH,
    SimulatedPolicy,
    bound,
    make_pool,
    mixed_levels,
    responses,
    rows,
    run_rounds,
    sample_round,
)

from dast_jax.estimators.levels import UNSOLVED
from dast_jax.methods import dast, dpo, iterative_rpo, state_of
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.records import LEVELS, PreferenceSet, VerdictKind

ESTIMATED = np.array([13, 8, 2, 0]) / 16
LATER = np.array([0.85, 0.6, 0.3, 0.1])
MULTIPLIERS = np.array([1, 1, 3, 2])


def dast_d(n=400, rounds=2, *, texts=0, cut=0.0, arrival_seed=None, later=LATER, solutions=None, **options):
    levels, pool = mixed_levels(n), make_pool(n, solutions=solutions)
    policy = SimulatedPolicy(np.stack([ESTIMATED[levels], later[levels]]), texts=texts, cut=cut)
    method = bound(pool, dast.Options(loss="dpo", **options), seed=1)
    return levels, pool, run_rounds(method, policy, pool, rounds, arrival_seed=arrival_seed), method


# --- drawing ---


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 80), st.integers(1, 3))
def test_no_pair_is_used_again_before_all_have_been(c, r, wanted, max_repeats):
    made = responses([0] * (c + r), range(c + r), [True] * c + [False] * r)
    chosen, rejected = candidates(made, 1, [0])
    pairs = draw_pairs(chosen, rejected, np.array([wanted]), max_repeats=max_repeats)
    assert len(pairs) == min(wanted, c * r * max_repeats)
    counts = Counter(zip(pairs.chosen, pairs.rejected, strict=True))
    if counts:
        assert max(counts.values()) - (min(counts.values()) if len(counts) == c * r else 0) <= 1
        good, bad = Counter(pairs.chosen[: c * r]), Counter(pairs.rejected[: c * r])
        assert max(good.values()) - min(good.values()) <= 1  # each text as evenly as can be
        assert max(bad.values()) - min(bad.values()) <= 1


def test_only_whole_incorrect_responses_are_rejected_and_duplicates_count_once():
    made = responses(
        [0] * 8,
        range(8),
        [True, True, False, False, False, False, False, True],
        text=["Right", " right", "wrong", "WRONG", "cut wrong", "slow", "no answer", "cut right"],
        finish=[0, 0, 0, 0, LENGTH, 0, 0, LENGTH],
    )
    kinds = tuple(VerdictKind)
    made.verdict[5] = kinds.index(VerdictKind.TIMED_OUT)
    made.verdict[6] = kinds.index(VerdictKind.NO_ANSWER)
    chosen, rejected = candidates(made, 1, [0])
    assert chosen.text.tolist() == ["Right"]
    assert rejected.text.tolist() == ["wrong"]


def test_pairs_depend_on_the_seed_and_not_on_the_order():
    made = responses([0] * 20, range(20), [True, False] * 10)
    shuffled = made.take(np.random.default_rng(0).permutation(20))

    def drawn(responses, seed):
        return rows(draw_pairs(*candidates(responses, 1, seed), np.array([5])))

    assert drawn(made, [1]) == drawn(shuffled, [1])
    assert len({tuple(drawn(made, [seed])) for seed in range(8)}) == 8


def test_every_pair_is_equally_likely():
    made = responses([0] * 6, range(6), [True, True, False, False, False, True])
    counts = Counter()
    for seed in range(1800):
        (pair,) = rows(draw_pairs(*candidates(made, 1, [seed]), np.array([1])))
        counts[pair[1:3]] += 1
    assert len(counts) == 9
    expected = 200
    assert sum((k - expected) ** 2 / expected for k in counts.values()) < 26.1  # chi-square, 8 df, p = 0.001


# --- DAST-D ---


@pytest.mark.parametrize("arrival_seed", [None, 5])
def test_pairs_per_level_match_the_multipliers(arrival_seed):
    levels, pool, results, _ = dast_d(max_trials=600, arrival_seed=arrival_seed)
    assert results[0][0].is_reference.all()  # round 0 is SFT on the reference solutions
    for round in (1, 2):
        pairs, own = results[round]
        assert isinstance(pairs, PreferenceSet)
        assert sum(pairs.shortfall.values()) == 0
        assert np.array_equal(np.bincount(pairs.query, minlength=400), 4 * MULTIPLIERS[levels])
        assert max(Counter(rows(pairs)).values()) == 1
        right = set(zip(own.query[own.correct].tolist(), own.text[own.correct], strict=True))
        wrong = set(zip(own.query[~own.correct].tolist(), own.text[~own.correct], strict=True))
        for query, chosen, rejected, is_reference in rows(pairs):
            assert (query, rejected) in wrong
            assert is_reference == (levels[query] == UNSOLVED)
            assert chosen == pool.queries[query].solution if is_reference else (query, chosen) in right


def test_sampling_stops_when_the_pairs_are_there():
    levels, _, results, _ = dast_d(max_trials=600)
    two = results[2][1]
    trials = np.bincount(two.query, minlength=400)
    assert trials[levels == 0].mean() < 25  # 4 pairs at a pass rate of 0.85
    assert np.bincount(results[1][1].query, minlength=400)[levels == 1].max() == 16  # the estimate was enough


def test_only_the_trials_up_to_enough_pairs_are_used():
    levels, _, results, method = dast_d(80, texts=9, cut=0.1, max_trials=60)
    own, quotas, used = results[2][1], method.quotas(), state_of(method)["used"]
    for query in range(80):
        mine = own.take(own.query == query)
        mine = mine.take(np.argsort(mine.trial))
        right, wrong, expected = set(), set(), 60
        for text, good, finish, trial in zip(mine.text, mine.correct, mine.finish, mine.trial, strict=True):
            if finish != LENGTH:
                (right if good else wrong).add(text)
            if (1 if levels[query] == UNSOLVED else len(right)) * len(wrong) >= quotas[query]:
                expected = trial + 1
                break
        assert used[query] == expected
    pairs = results[2][0]
    allowed = own.take(own.trial < used[own.query])
    assert set(pairs.rejected) <= set(allowed.text[~allowed.correct])


@pytest.mark.parametrize("proportion", [True, False])
@pytest.mark.parametrize("texts", [3, 6])
def test_sampling_continues_until_the_pairs_are_different(texts, proportion):
    """With few different texts, a query's pairs are repeated or short only when its trials are spent."""
    _, _, results, method = dast_d(200, texts=texts, max_trials=60, proportion=proportion, base_quota=2)
    pairs, own = results[2]
    different = np.bincount([row[0] for row in set(rows(pairs))], minlength=200)
    lacking = different < method.quotas()
    assert (np.bincount(own.query, minlength=200)[lacking] == 60).all()
    assert lacking.sum() < 100


def test_quotas_are_filled_by_repeats_only_when_all_pairs_were_used():
    _, _, results, method = dast_d(
        60, rounds=1, texts=3, max_trials=16, trials=8, base_quota=8, max_repeats=3
    )
    pairs, own = results[1]
    for query in range(60):
        mine = Counter((c, r) for q, c, r, _ in rows(pairs) if q == query)
        good = len({t for q, t, c in zip(own.query, own.text, own.correct, strict=True) if q == query and c})
        bad = len(
            {t for q, t, c in zip(own.query, own.text, own.correct, strict=True) if q == query and not c}
        )
        if any(r[0] == query and r[3] for r in rows(pairs)):
            good = 1
        if mine and max(mine.values()) > 1:
            assert len(mine) == good * bad
            assert max(mine.values()) <= 3
    assert set(pairs.shortfall) == set(LEVELS)
    assert sum(pairs.shortfall.values()) == method.quotas().sum() - len(pairs) > 0


def test_always_solved_queries_make_no_pair_and_are_reported():
    levels, _, results, _ = dast_d(100, rounds=2, later=np.array([1.0, 0.6, 0.3, 0.1]), max_trials=40)
    pairs, own = results[2]
    assert not (levels[pairs.query] == 0).any()
    assert pairs.shortfall["easy"] == 4 * (levels == 0).sum()
    assert (np.bincount(own.query, minlength=100)[levels == 0] == 40).all()


def test_an_unsolved_query_without_a_solution_pairs_its_own_responses():
    solutions = np.arange(40) % 2 == 0
    levels, _, results, _ = dast_d(40, rounds=1, solutions=solutions, max_trials=300)
    pairs = results[1][0]
    assert set(pairs.query.tolist()) == set(range(40))
    assert np.array_equal(
        pairs.chosen_is_reference, (levels[pairs.query] == UNSOLVED) & solutions[pairs.query]
    )


def test_cut_responses_are_neither_chosen_nor_rejected():
    _, _, results, _ = dast_d(100, rounds=2, cut=0.3, max_trials=300)
    for pairs, own in results[1:]:
        whole = {t for t, f in zip(own.text, own.finish, strict=True) if f != LENGTH}
        assert set(pairs.rejected) <= whole
        assert set(pairs.chosen[~pairs.chosen_is_reference]) <= whole


@pytest.mark.parametrize("proportion", [True, False])
def test_proportion_off_spreads_the_same_pairs_evenly(proportion):
    _, _, results, method = dast_d(200, rounds=1, proportion=proportion, max_trials=600)
    counts = np.bincount(results[1][0].query, minlength=200)
    assert counts.sum() == (4 * MULTIPLIERS[mixed_levels(200)]).sum()
    assert np.array_equal(counts, method.quotas())
    assert (counts.max() - counts.min() == 8) == proportion
    assert (counts.max() - counts.min() <= 1) == (not proportion)


# --- dpo and iterative_rpo ---


def test_dpo_trains_on_the_pairs_of_one_sampling_pass():
    n = 50
    pool, policy = make_pool(n), SimulatedPolicy(np.linspace(0, 1, n), exact=False)
    method = bound(pool, dpo.Options(trials=8, pairs=3), 1)
    (zero, none), (one, first), (two, second), (three, _) = run_rounds(method, policy, pool, 3)
    assert zero.is_reference.all()
    assert len(none) == 0
    assert (np.bincount(first.query) == 8).all()
    assert set(second.round.tolist()) == {1}
    assert rows(one) == rows(two) == rows(three)
    solved = np.bincount(first.query[first.correct], minlength=n)
    assert np.array_equal(np.bincount(one.query, minlength=n), np.minimum(3, solved * (8 - solved)))
    assert (method.start, method.preference_loss) == ("continue", "sigmoid")


def test_iterative_rpo_samples_again_each_round():
    n = 30
    pool, policy = make_pool(n), SimulatedPolicy(np.full(n, 0.5), exact=False)
    method = bound(pool, iterative_rpo.Options(trials=8), 1)
    (_, _), (one, first), (two, second) = run_rounds(method, policy, pool, 2)
    assert set(first.round.tolist()) == {1}
    assert set(second.round.tolist()) == {2}
    assert rows(one) != rows(two)
    assert max(Counter(rows(two)).values()) == 1
    assert method.preference_loss == "rpo"


def test_queries_without_both_kinds_have_no_pair_and_are_reported():
    pool = make_pool(10)
    method = bound(pool, dpo.Options(trials=8, warm_up=False), 1)
    policy = SimulatedPolicy(np.array([1.0] * 3 + [0.0] * 5 + [0.5] * 2))
    _, own = sample_round(method, policy, pool, 0, [])
    assert set(method.training_set(own).query.tolist()) == {8, 9}
    assert method.facts == {"with_pairs": 0.2, "without_correct": 0.5, "without_incorrect": 0.3}
