import math

import numpy as np
import pytest
from simulated_policy import SimulatedPolicy, begin, bound, make_pool, mixed_levels, responses, run_rounds

from dast_jax.methods import dart_prop2diff, dart_uniform, rest_em, rft, vrt
from dast_jax.records import LEVELS

RATES = np.array([15, 8, 2, 1]) / 16
"""Round 0's pass rates of the four groups: of its first 16 trials exactly this share is correct."""


def sampled(method_module, *, n=200, rounds=0, rates=RATES, arrival_seed=None, texts=0, **options):
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, method_module.Options(**options), seed=1)
    policy = SimulatedPolicy(rates[levels], texts=texts)
    return levels, method, run_rounds(method, policy, pool, rounds, arrival_seed=arrival_seed)


@pytest.mark.parametrize("arrival_seed", [None, 1])
def test_uniform_stops_at_exactly_the_target(arrival_seed):
    _, method, [(training_set, own)] = sampled(
        dart_uniform, trials=16, target=20, max_trials=2000, arrival_seed=arrival_seed
    )
    assert (np.bincount(training_set.query) == 20).all()
    assert sum(training_set.shortfall.values()) == 0
    assert method.facts["coverage"]["all"] == {
        "queries": 200, "covered": 1.0, "kept": 20.0, "target": 20.0, "reached": 1.0,
    }  # fmt: skip
    # They are the first twenty correct trials, the estimate's sixteen among them.
    for query in (0, 17, 101):
        mine = own.take(np.flatnonzero((own.query == query) & own.correct))
        first = [f"r0 q{query} t{t}" for t in sorted(mine.trial)[:20]]
        assert sorted(training_set.text[training_set.query == query]) == sorted(first)


@pytest.mark.parametrize("arrival_seed", [None, 1])
def test_prop2diff_keeps_what_the_formula_says_per_level(arrival_seed):
    levels, method, [(training_set, _)] = sampled(
        dart_prop2diff, trials=16, target=48, max_trials=3000, arrival_seed=arrival_seed
    )
    fail = 1 - RATES
    counts = np.bincount(training_set.query, minlength=200)
    for i in range(4):
        assert (counts[levels == i] == max(1, math.ceil(48 * fail[i] / fail.max()))).all()
    by_level = method.facts["coverage"]["by_level"]
    assert by_level["easy"]["kept"] == by_level["easy"]["target"] == 4
    assert by_level["hard"]["reached"] == 1.0


def test_queries_that_never_failed_get_one_response_or_none():
    rates = np.array([16, 16, 8, 4]) / 16
    for at_least_one in (True, False):
        levels, _, [(training_set, _)] = sampled(
            dart_prop2diff, rates=rates, trials=16, target=6, at_least_one=at_least_one
        )
        counts = np.bincount(training_set.query, minlength=200)
        assert (counts[levels < 2] == at_least_one).all()
        assert (counts[levels == 2] == 4).all()  # ceil(6 · 0.5 / 0.75)


def test_the_cap_is_spent_and_the_shortfall_reported_per_level():
    rates = np.array([16, 8, 0, 0]) / 16
    levels, method, [(training_set, own)] = sampled(
        dart_uniform, rates=rates, trials=16, target=10, max_trials=50
    )
    trials = np.bincount(own.query)
    assert (trials[levels >= 2] == 50).all()
    assert (trials[levels == 0] == 16).all()  # the estimate was enough
    assert set(training_set.query.tolist()) == set(np.flatnonzero(levels < 2).tolist())
    assert training_set.shortfall == {
        "easy": 0, "middle": 0, "hard": 0, "unsolved": 10 * int((levels >= 2).sum()),
    }  # fmt: skip
    assert method.facts["coverage"]["by_level"]["unsolved"]["covered"] == 0.0
    assert method.facts["coverage"]["all"]["reached"] == pytest.approx((levels < 2).mean())


def test_duplicates_do_not_count_unless_asked():
    rates = np.full(4, 1.0)
    _, _, [(distinct, own)] = sampled(dart_uniform, rates=rates, texts=3, trials=4, target=5, max_trials=20)
    assert (np.bincount(distinct.query) == 3).all()
    assert (np.bincount(own.query) == 20).all()
    _, _, [(raw, own)] = sampled(
        dart_uniform, rates=rates, texts=3, trials=4, target=5, max_trials=20, distinct="none"
    )
    assert (np.bincount(raw.query) == 5).all()


def test_a_warm_up_estimates_in_round_zero_and_reuses_its_trials():
    _, _, results = sampled(dart_uniform, rounds=2, trials=16, target=4, max_trials=400, warm_up=True)
    (zero, first), (one, second), (two, third) = results
    assert zero.is_reference.sum() == len(zero) == 200
    assert (np.bincount(first.query) == 16).all()
    assert (second.round == 0).sum() == len(first)
    assert (np.bincount(one.query) == 4).all()
    assert (np.bincount(two.query) == 4).all()
    assert set(third.round.tolist()) == {2}


def test_re_estimating_follows_the_policy():
    n = 100
    pool = make_pool(n)
    policy = SimulatedPolicy(np.stack([np.full(n, 0.25), np.ones(n)]))
    for re_estimate, expected in (("never", [8, 8]), ("every_round", [8, 1])):
        options = dart_prop2diff.Options(trials=16, target=8, re_estimate=re_estimate, max_trials=500)
        results = run_rounds(bound(pool, options, 0), policy, pool, 1)
        assert [np.bincount(s.query).tolist() for s, _ in results] == [[k] * n for k in expected]


# --- equal trials ---


def test_vrt_and_rft_sample_all_alike_and_rft_drops_duplicates():
    n = 40
    pool, policy = make_pool(n), SimulatedPolicy(np.full(n, 0.5), texts=6, exact=False)
    methods = {
        "vrt": bound(pool, vrt.Options(trials=12), 1),
        "rft": bound(pool, rft.Options(trials=12, warm_up=False), 1),
    }
    results = {name: run_rounds(m, policy, pool, 1)[1] for name, m in methods.items()}
    for _, own in results.values():
        assert (np.bincount(own.query) == 12).all()
    kept, own = results["vrt"]
    assert np.array_equal(
        np.bincount(kept.query, minlength=n), np.bincount(own.query[own.correct], minlength=n)
    )
    kept, own = results["rft"]
    solutions = kept.is_reference
    assert solutions.sum() == n
    pairs = list(zip(kept.query[~solutions].tolist(), kept.text[~solutions], strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == set(zip(own.query[own.correct].tolist(), own.text[own.correct], strict=True))
    for name, m in methods.items():
        assert m.facts["coverage"]["all"]["queries"] == n, name
        assert m.start == "restart"


@pytest.mark.parametrize("references", [True, False])
def test_rft_treats_a_response_as_new_only_if_it_differs_from_the_solutions_it_trains_on(references):
    pool = make_pool(2)
    method = bound(pool, rft.Options(trials=3, warm_up=False, references=references), 1)
    begin(method, 0)
    same = pool.queries[0].solution
    text = [f" {same.upper()}", "other", "other", "one", same, "two"]
    got = method.training_set(responses([0, 0, 0, 1, 1, 1], [0, 1, 2] * 2, [True] * 6, round=0, text=text))
    own = got.text[~got.is_reference].tolist()
    assert own == [*([] if references else text[:1]), "other", "one", same, "two"]


def test_rest_em_keeps_at_most_its_limit():
    pool = make_pool(30)
    method = bound(pool, rest_em.Options(trials=32), 1)
    policy = SimulatedPolicy(np.linspace(0, 1, 30), exact=False)
    training_set, own = run_rounds(method, policy, pool, 0)[0]
    solved = np.bincount(own.query[own.correct], minlength=30)
    assert np.array_equal(np.bincount(training_set.query, minlength=30), np.minimum(solved, 10))


def test_rest_em_keeps_different_ones():
    """Each query's responses say one of two things, in turn, and three could be kept."""
    pool = make_pool(10)
    method = bound(pool, rest_em.Options(trials=8, at_most=3), 1)
    training_set, _ = run_rounds(method, SimulatedPolicy(np.ones(10), texts=2), pool, 0)[0]
    assert training_set.query.tolist() == [q for q in range(10) for _ in range(2)]
    assert training_set.text.tolist() == [f"q{q} version {k}" for q in range(10) for k in range(2)]


def test_coverage_distinguishes_the_datas_own_labels():
    pool = make_pool(8)
    labelled = type(pool)(
        tuple(
            type(q)(id=q.id, question=q.question, answer=q.answer, level=f"Level {i % 2 + 1}")
            for i, q in enumerate(pool.queries)
        )
    )
    method = bound(labelled, vrt.Options(trials=5), 0)
    run_rounds(method, SimulatedPolicy(np.array([1.0, 0.0] * 4)), labelled, 0)
    by_label = method.facts["coverage"]["by_label"]
    assert {name: entry["covered"] for name, entry in by_label.items()} == {"Level 1": 1.0, "Level 2": 0.0}
    assert set(method.facts["coverage"]["by_level"]) <= set(LEVELS)
