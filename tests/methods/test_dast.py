from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_policy import (
    LENGTH,
    PAPER_MIX,
    SimulatedPolicy,
    begin,
    bound,
    make_pool,
    mixed_levels,
    responses,
    rows,
    run_rounds,
    sample_round,
)

from dast_jax.errors import UserError
from dast_jax.estimators.levels import HARD, UNSOLVED, level_shares
from dast_jax.estimators.tally import TallyCounter
from dast_jax.methods import dast, restore, state_of
from dast_jax.options import build
from dast_jax.records import LEVELS, Pool, PromptKind, Query, Requests, Responses

ESTIMATED = np.array([14, 8, 2, 0]) / 16
"""A pass rate in the middle of each level."""

DAST_P = {
    1: (25.5, 28.5, 34.0, 12.0),
    2: (24.5, 27.9, 34.6, 13.0),
    3: (24.1, 27.0, 34.6, 14.3),
}
"""Level shares of the training data in percent, read off the paper's figure (arXiv 2503.09029)."""


def improving_policy(levels, **kwargs):
    """Estimated at the level's rate in round 0; after it even the unsolved are solved now and then."""
    return SimulatedPolicy(np.stack([ESTIMATED[levels], np.array([0.95, 0.6, 0.25, 0.1])[levels]]), **kwargs)


def shares(levels, training_set):
    return [100 * s for s in level_shares(levels, training_set.query).values()]


# --- proportion ---


def test_shares_are_those_of_the_paper_when_quotas_are_met():
    n = 2000
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(max_trials=512), seed=3)
    results = run_rounds(method, improving_policy(levels), pool, 3)

    assert np.array_equal(method.levels, levels)
    zero = results[0][0]
    assert zero.is_reference.all()
    assert zero.query.tolist() == list(range(n))
    np.testing.assert_allclose(shares(levels, zero), np.array(PAPER_MIX) * 100, atol=0.1)
    for round in (1, 2, 3):
        training_set = results[round][0]
        assert sum(training_set.shortfall.values()) == 0
        np.testing.assert_allclose(shares(levels, training_set), DAST_P[round], atol=2)
        counts = np.bincount(training_set.query, minlength=n)
        assert np.array_equal(counts, np.array([4, 4, 12, 8])[levels])


def test_proportion_off_is_vanilla_rejection_with_more_of_the_easy():
    n = 2000
    levels, pool = mixed_levels(n), make_pool(n)
    policy = SimulatedPolicy(np.array([0.9, 0.5, 0.1, 0.005])[levels])
    plain = bound(pool, dast.Options(proportion=False, length=False, max_trials=32), seed=3)
    dast_p = bound(pool, dast.Options(length=False, max_trials=32), seed=3)
    off = shares(levels, run_rounds(plain, policy, pool, 1)[1][0])
    on = shares(levels, run_rounds(dast_p, policy, pool, 1)[1][0])
    assert off[0] > 100 * PAPER_MIX[0]
    assert off[2] < 100 * PAPER_MIX[2]
    assert off[3] < 100 * PAPER_MIX[3] / 2
    assert on[0] < off[0] - 8
    assert on[2] > off[2] + 10


def test_proportion_off_spreads_the_same_total_evenly():
    levels, pool = mixed_levels(501), make_pool(501)
    policy = improving_policy(levels)
    methods = [bound(pool, dast.Options(proportion=p), seed=3) for p in (True, False)]
    for method in methods:
        run_rounds(method, policy, pool, 0)
    on, off = (m.quotas() for m in methods)
    assert off.sum() == on.sum()
    assert off.max() - off.min() == 1


# --- the trials ---


def test_round_zero_samples_k_trials_of_every_query_behind_one_set():
    pool = make_pool(30)
    method = bound(pool, dast.Options(trials=8), seed=1)
    _, own = sample_round(method, SimulatedPolicy(np.full(30, 0.5)), pool, 0, [])
    assert len(own) == 30 * 8
    assert (own.kind == PromptKind.FIXED).all()


def test_round_one_reuses_the_estimate_and_samples_only_what_is_missing():
    n = 400
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(max_trials=40), seed=1)
    results = run_rounds(method, improving_policy(levels), pool, 2)
    one, two = results[1][1], results[2][1]
    assert (one.trial[one.round == 0] < 16).all()
    assert set(one.round.tolist()) == {0, 1}
    assert (one.trial[one.round == 1] >= 16).all()
    # 14 or 8 correct of the estimate's 16 trials are more than an easy or middle query's 3.
    assert set(levels[one.query[one.round == 1]].tolist()) == {HARD, UNSOLVED}
    assert np.bincount(one.query).max() <= 40
    assert set(two.round.tolist()) == {2}
    assert (two.kind == PromptKind.MATCHED).all()


@pytest.mark.parametrize("loss", ["sft", "dpo"])
def test_without_reuse_round_one_samples_afresh_from_m_1(loss):
    """No trial of M_0 counts: all are of round 1 and numbered from 0, and easy queries are sampled too."""
    n = 200
    levels, pool = mixed_levels(n), make_pool(n)
    results = {}
    for reuse in (True, False):
        options = dast.Options(trials=16, max_trials=40, reuse_estimate=reuse, loss=loss)
        results[reuse] = run_rounds(bound(pool, options, seed=1), improving_policy(levels), pool, 2)
    (_, old), (_, fresh) = results[True][1], results[False][1]
    assert (old.round == 0).sum() == 16 * n
    assert set(fresh.round.tolist()) == {1}
    assert set(fresh.query.tolist()) == set(range(n))
    assert set(fresh.kind.tolist()) == {PromptKind.MATCHED}
    texts = results[False][1][0].chosen if loss == "dpo" else results[False][1][0].text
    assert not any(text.startswith("r0 ") for text in texts)
    assert np.array_equal(results[True][0][0].query, results[False][0][0].query)


def test_without_reuse_the_estimates_trials_are_not_within_the_budget():
    pool = make_pool(12)
    method = bound(pool, dast.Options(trials=8, max_trials=3, reuse_estimate=False), seed=1)
    results = run_rounds(method, SimulatedPolicy(np.zeros(12)), pool, 2)
    assert [len(own) // 12 for _, own in results] == [8, 3, 3]


def test_a_query_without_success_spends_exactly_its_budget():
    pool = make_pool(12)
    method = bound(pool, dast.Options(trials=8, max_trials=21), seed=1)
    results = run_rounds(method, SimulatedPolicy(np.zeros(12)), pool, 2)
    assert (np.bincount(results[1][1].query) == 21).all()
    assert (np.bincount(results[2][1].query) == 21).all()


def test_few_trials_beyond_the_target_and_few_ticks():
    n = 1000
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(max_trials=512), seed=1)
    policy = improving_policy(levels)
    round_0 = sample_round(method, policy, pool, 0, [])[1]
    method.training_set(round_0)
    ticks = Counter()
    inner = method.requests

    def counted(tally, news):
        requests = inner(tally, news)
        ticks.update(set(requests.query.tolist()))
        return requests

    method.requests = counted
    _, own = sample_round(method, policy, pool, 2, [round_0])
    target = method.quotas().sum() - n
    assert own.correct.sum() < 1.2 * target
    assert max(ticks.values()) <= 12
    assert np.mean([ticks[i] for i in range(n)]) < 4


def test_trials_in_flight_are_not_asked_for_again():
    pool = make_pool(2)
    method = bound(pool, dast.Options(), seed=1)  # quota 12: eleven responses and the reference
    restore(method, {"levels": np.array([HARD, HARD], np.int8)})
    begin(method, 2)
    counter = TallyCounter(2)
    asked = []
    for _ in range(3):
        requests = method.requests(counter.tally, Responses.none())
        counter.request(requests)
        asked.append(len(requests))
    assert asked == [22, 0, 0]
    arrived = responses([0] * 11, range(11), [True] * 5 + [False] * 6, round=2)
    counter.add(arrived)
    requests = method.requests(counter.tally, arrived)
    assert set(requests.query.tolist()) == {0}
    assert requests.trial.tolist() == list(range(11, 22))  # 6 lacking at a yield of 5.5 in 12


@pytest.mark.parametrize("re_estimate", ["never", "every_round"])
def test_levels_are_estimated_once_or_every_round(re_estimate):
    n = 200
    levels, pool = mixed_levels(n), make_pool(n)
    rates = np.stack([ESTIMATED[levels], np.ones(n)])
    method = bound(pool, dast.Options(re_estimate=re_estimate), seed=1)
    _, responses_1 = run_rounds(method, SimulatedPolicy(rates), pool, 1)[1]
    if re_estimate == "never":
        assert np.array_equal(method.levels, levels)
    else:
        assert (method.levels == 0).all()
        assert (np.bincount(responses_1.query) == 16).all()  # all easy now: the fresh trials are enough
        assert set(responses_1.round.tolist()) == {1}


# --- what is trained ---


def test_kept_responses_are_the_first_distinct_ones_by_trial():
    pool = make_pool(1)
    method = bound(pool, dast.Options(trials=5, base_quota=2, multipliers=dict.fromkeys(LEVELS, 2)), 0)
    restore(method, {"levels": np.zeros(1, np.int8)})
    begin(method, 2)
    got = method.training_set(
        responses(
            [0] * 7,
            [6, 3, 5, 0, 1, 2, 4],
            [True, True, True, False, True, True, True],
            text=["six", "three", "five", "zero", "One", " one ", "four"],
            finish=[0, LENGTH, 0, 0, 0, 0, 0],
        )
    )
    # Trial 0 is wrong, 2 repeats 1, 3 is truncated; the reference counts toward the quota of 4.
    assert list(got.text[1:]) == ["One", "four", "five"]
    assert got.is_reference.tolist() == [True, False, False, False]


def test_a_response_that_repeats_the_reference_is_not_new():
    """It fills no quota, so sampling continues for another one, and it is not trained on twice."""
    pool = make_pool(2)
    method = bound(pool, dast.Options(trials=5, base_quota=3, multipliers=dict.fromkeys(LEVELS, 1)), 0)
    restore(method, {"levels": np.zeros(2, np.int8)})
    begin(method, 2)
    counter = TallyCounter(2)
    counter.request(method.requests(counter.tally, Responses.none()))
    same = pool.queries[0].solution
    arrived = responses([0, 0, 1, 1], [0, 1, 0, 1], [True] * 4, text=[same.upper(), "new", "one", "two"])
    counter.request(Requests(arrived.query, arrived.trial, arrived.kind))
    counter.tally.finished[:] = counter.tally.requested  # nothing is on its way any more
    assert set(method.requests(counter.tally, arrived).query.tolist()) == {0}
    got = method.training_set(arrived)
    assert Counter(got.query.tolist()) == {0: 3, 1: 3}
    assert Counter(got.text[got.query == 0]) == {same: 1, "new": 2}  # repeated, as it is one short


@pytest.mark.parametrize(
    ("distinct", "task", "kept"),
    [
        ("by_task", "math", ["So 4+9=13, 13-2=11\n#### 11"]),
        ("steps", "label", ["So 4+9=13, 13-2=11\n#### 11"]),
        ("by_task", "label", ["Well, 4 + 9 = 13\n#### 13", "So 4+9=13, 13-2=11\n#### 11"]),
        ("text", "math", ["Well, 4 + 9 = 13\n#### 13", "So 4+9=13, 13-2=11\n#### 11"]),
        ("none", "math", None),
    ],
)
def test_what_counts_as_new(distinct, task, kept):
    """The reference's own chain is known, and a response that states its answer twice is the same one."""
    solution = "4+9=13\n#### 13"
    pool = Pool((Query(id="a", question="?", answer="13", solution=solution, task=task),))
    options = dast.Options(
        trials=5, base_quota=9, multipliers=dict.fromkeys(LEVELS, 1), distinct=distinct, max_repeats=1
    )
    method = bound(pool, options, 0)
    restore(method, {"levels": np.zeros(1, np.int8)})
    begin(method, 2)
    text = [solution, "Well, 4 + 9 = 13\n#### 13", "4+9=13\n#### 13\n#### 13", "So 4+9=13, 13-2=11\n#### 11"]
    text.append(f"{text[-1]}\n#### 11")
    arrived = responses([0] * 5, range(5), [True] * 5, text=text, round=2)
    counter = TallyCounter(1, distinct=method.distinct)
    counter.request(method.requests(counter.tally, Responses.none()))
    counter.add(arrived)
    method.requests(counter.tally, arrived)
    got = method.training_set(arrived)
    assert got.text.tolist() == [solution, *(text if kept is None else kept)]
    assert method._found.usable.tolist() == [len(got) - 1]  # sampling and building count alike


def test_short_quotas_are_filled_by_repeats_and_the_rest_is_reported():
    pool = make_pool(3, solutions=[True, True, False])
    options = dast.Options(trials=5, base_quota=10, max_repeats=4, multipliers=dict.fromkeys(LEVELS, 1))
    method = bound(pool, options, 0)
    restore(method, {"levels": np.array([2, 3, 3], np.int8)})
    begin(method, 2)
    got = method.training_set(responses([0, 0, 1, 2], [0, 1, 0, 0], [True, True, False, True]))
    counts = Counter(zip(got.query.tolist(), got.text.tolist(), strict=True))
    ref = [q.solution for q in pool.queries]
    assert counts == {
        (0, "r1 q0 t0"): 4,
        (0, "r1 q0 t1"): 4,
        (0, ref[0]): 2,
        (1, ref[1]): 4,
        (2, "r1 q2 t0"): 4,
    }
    assert got.shortfall == {"easy": 0, "middle": 0, "hard": 0, "unsolved": 6 + 6}


def test_an_unsolved_query_contributes_its_reference_solution():
    n = 300
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(max_trials=16), seed=1)
    policy = SimulatedPolicy(ESTIMATED[levels])  # the unsolved stay unsolved
    for round, (training_set, _) in enumerate(run_rounds(method, policy, pool, 2)):
        for query in np.flatnonzero(levels == UNSOLVED):
            mine = training_set.query == query
            assert set(training_set.text[mine]) == {pool.queries[query].solution}
            assert mine.sum() == (4 if round else 1)


def test_a_round_without_a_correct_response_trains_on_references():
    pool = make_pool(20)
    method = bound(pool, dast.Options(trials=8, max_trials=8), seed=1)
    training_set, _ = run_rounds(method, SimulatedPolicy(np.zeros(20)), pool, 1)[1]
    assert training_set.is_reference.all()
    assert set(training_set.query.tolist()) == set(range(20))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_training_sets_keep_their_promises(data):
    n = data.draw(st.integers(2, 12))
    rates = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), min_size=n, max_size=n)))
    solutions = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any))
    options = dast.Options(
        trials=6,
        max_trials=data.draw(st.integers(6, 30)),
        base_quota=data.draw(st.integers(1, 4)),
        max_repeats=data.draw(st.integers(1, 4)),
        proportion=data.draw(st.booleans()),
        length=data.draw(st.booleans()),
        re_estimate=data.draw(st.sampled_from(["never", "every_round"])),
    )
    pool = make_pool(n, solutions=solutions)
    policy = SimulatedPolicy(rates, texts=data.draw(st.integers(0, 3)))
    method = bound(pool, options, seed=5)
    earlier = []
    for round in range(3):
        carried, own = sample_round(method, policy, pool, round, earlier)
        earlier.append(own)
        own = Responses.concatenate([carried, own])
        training_set, quotas = method.training_set(own), method.quotas()
        counts = np.bincount(training_set.query, minlength=n)
        if round:
            assert (counts <= np.maximum(quotas, solutions)).all()
            assert sum(training_set.shortfall.values()) == (quotas - counts).clip(0).sum()
            most = options.max_repeats if options.proportion else 1
            assert max(Counter(rows(training_set)).values(), default=0) <= most
        correct = {(q, t) for q, t, c in zip(own.query, own.text, own.correct, strict=True) if c}
        for query, text, is_reference in rows(training_set):
            assert text == pool.queries[query].solution if is_reference else (query, text) in correct
        assert set(training_set.query[training_set.is_reference]) == set(np.flatnonzero(solutions))
        assert np.bincount(own.query, minlength=n).max() <= options.max_trials


# --- order and state ---


@pytest.mark.parametrize("re_estimate", ["never", "every_round"])
@pytest.mark.parametrize("texts", [0, 6])
def test_the_training_set_does_not_depend_on_arrival(re_estimate, texts):
    n = 120
    levels, pool = mixed_levels(n), make_pool(n)
    policy = improving_policy(levels, texts=texts)
    results = []
    for arrival_seed in (None, 1, 2, 3):
        method = bound(pool, dast.Options(re_estimate=re_estimate), seed=1)
        rounds = run_rounds(method, policy, pool, 2, arrival_seed=arrival_seed)
        shown = [method.exemplars(q, PromptKind.MATCHED) for q in range(n)]
        results.append(([rows(training_set) for training_set, _ in rounds], shown))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("re_estimate", ["never", "every_round"])
def test_state_carries_over_every_boundary(re_estimate):
    n = 100
    pool = make_pool(n)
    options = dast.Options(re_estimate=re_estimate)
    policy = improving_policy(mixed_levels(n))
    whole = run_rounds(bound(pool, options, seed=1), policy, pool, 2)

    state, earlier = state_of(bound(pool, options, seed=1)), []
    for round in range(3):
        method = bound(pool, options, seed=1)  # restarted before the round
        restore(method, state)
        carried, own = sample_round(method, policy, pool, round, earlier)

        method = bound(pool, options, seed=1)  # and again after its sampling
        restore(method, state)
        begin(method, round, earlier)
        training_set = method.training_set(Responses.concatenate([carried, own]))
        assert rows(training_set) == rows(whole[round][0])

        state = {name: np.array(value) for name, value in state_of(method).items()}
        earlier.append(own)


# --- exemplars ---


@pytest.mark.parametrize("loss", ["sft", "dpo"])
@pytest.mark.parametrize(("length", "kind"), [(True, PromptKind.MATCHED), (False, PromptKind.FEW_SHOT)])
def test_length_decides_whose_solutions_are_shown_after_the_estimate(length, kind, loss):
    levels, pool = mixed_levels(60), make_pool(60)
    method = bound(pool, dast.Options(length=length, loss=loss, base_quota=30, max_trials=40), seed=1)
    results = run_rounds(method, improving_policy(levels), pool, 2)
    assert set(results[0][1].kind.tolist()) == {PromptKind.FIXED}
    for round in (1, 2):
        own = results[round][1]
        assert set(own.kind[own.round == round].tolist()) == {kind}


def test_matched_exemplars_are_of_the_level_and_never_the_query():
    n = 400
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(), seed=1)
    policy = improving_policy(levels)
    round_0 = sample_round(method, policy, pool, 0, [])[1]
    method.training_set(round_0)
    begin(method, 1, [round_0])
    level_of = {q.question: levels[i] for i, q in enumerate(pool.queries)}
    verified = {
        (pool.queries[q].question, t)
        for q, t, c in zip(round_0.query, round_0.text, round_0.correct, strict=True)
        if c
    }
    references = {(q.question, q.solution) for q in pool.queries}
    sources = Counter()
    for i, query in enumerate(pool.queries):
        shown = method.exemplars(i, PromptKind.MATCHED)
        assert len({e.question for e in shown}) == 4
        assert query.question not in {e.question for e in shown}
        assert {level_of[e.question] for e in shown} == {levels[i]}
        for e in shown:
            assert (e.question, e.response) in verified | references
            sources[(e.question, e.response) in references] += 1
    assert min(sources.values()) > 50
    _, own = sample_round(method, policy, pool, 1, [round_0])
    method.training_set(Responses.concatenate([round_0, own]))
    assert method.facts == {}


def test_exemplars_are_long_for_the_hard_and_short_for_the_easy():
    n = 400
    levels, pool = mixed_levels(n), make_pool(n)
    method = bound(pool, dast.Options(), seed=1)
    restore(method, {"levels": levels.astype(np.int8)})
    begin(method, 2)  # reference solutions only
    length = np.array([len(q.solution) for q in pool.queries])
    for i in range(n):
        shown = [len(e.response) for e in method.exemplars(i, PromptKind.MATCHED)]
        median = np.median(length[levels == levels[i]])
        if levels[i] in (HARD, UNSOLVED):
            assert min(shown) >= median
        elif levels[i] == 0:
            assert max(shown) <= median
    middle = [len(e.response) for i in np.flatnonzero(levels == 1) for e in method.exemplars(i, 2)]
    assert min(middle) < np.median(length[levels == 1]) < max(middle)


def test_random_exemplars_are_reference_solutions_of_others():
    pool = make_pool(60, solutions=[i % 3 > 0 for i in range(60)])
    method = bound(pool, dast.Options(), seed=1)
    begin(method, 0)
    by_question = {q.question: q.solution for q in pool.queries}
    for i, query in enumerate(pool.queries):
        shown = method.exemplars(i, PromptKind.FEW_SHOT)
        assert len({e.question for e in shown} - {query.question}) == 4
        assert all(by_question[e.question] == e.response for e in shown)
    assert method.exemplars(0, PromptKind.ZERO_SHOT) == ()


def test_exemplars_change_with_round_query_and_seed_only():
    pool = make_pool(60)

    def shown(seed, round, queries):
        method = bound(pool, dast.Options(), seed)
        begin(method, round)
        return {q: method.exemplars(q, PromptKind.FEW_SHOT) for q in queries}

    first = shown(1, 0, range(60))
    assert first == shown(1, 0, reversed(range(60)))
    assert first != shown(2, 0, range(60))
    assert first != shown(1, 1, range(60))
    assert len(set(first.values())) > 50


def test_a_level_with_too_few_falls_back_to_the_nearest_and_is_counted():
    levels = np.array([0] * 20 + [1] * 20 + [2] * 3 + [3] * 8, np.int8)
    pool = make_pool(len(levels))
    method = bound(pool, dast.Options(), seed=1)
    restore(method, {"levels": levels})
    begin(method, 2)
    level_of = {q.question: levels[i] for i, q in enumerate(pool.queries)}
    shown = [level_of[e.question] for e in method.exemplars(40, PromptKind.MATCHED)]
    assert sorted(shown) == [2, 2, 3, 3]  # of its own level all others, then the harder neighbour
    method.training_set(responses([0], [0], [True], round=2, kind=PromptKind.MATCHED))
    assert method.facts == {"exemplar_fallbacks": 3}


def test_duplicated_questions_never_show_each_other():
    pool = make_pool(6)
    twin = pool.queries[0].__class__(id="twin", question=pool.queries[0].question, answer="0", solution="s")
    pool = type(pool)((*pool.queries, twin))
    method = bound(pool, dast.Options(), seed=1)
    begin(method, 0)
    for query in (0, 6):
        assert pool.queries[0].question not in {e.question for e in method.exemplars(query, 1)}


# --- options ---


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"trials": 4}, ["method.trials", "hard", "at least 5"]),
        ({"trials": 9, "hard_cut": 0.1}, ["method.trials", "at least 11"]),
        ({"trials": 4, "estimator": "judge"}, ["method.trials", "hard", "at least 5"]),
        ({"loss": "ppo"}, ["method.loss", "dpo", "sft"]),
        ({"easy_cut": 0.2}, ["hard_cut", "easy_cut"]),
        ({"max_trials": 10}, ["method.max_trials", "10", "method.trials", "16"]),
        ({"max_trials": 10, "reuse_estimate": False, "re_estimate": "every_round"}, ["method.max_trials"]),
        ({"distinct": "paths"}, ["method.distinct", "by_task", "steps", "text", "none"]),
        ({"multipliers": {"difficult": 2}}, ["method.multipliers.difficult"]),
        ({"multipliers": {"hard": 0}}, ["method.multipliers.hard"]),
        ({"re_estimate": "always"}, ["method.re_estimate", "every_round"]),
    ],
)
def test_bad_options_are_refused(mapping, words):
    with pytest.raises(UserError) as error:
        build(dast.Options, mapping, where="method")
    assert all(word in str(error.value) for word in words)


def test_data_without_solutions_is_refused():
    with pytest.raises(UserError, match="none of its 5 queries has a reference solution"):
        bound(make_pool(5, solutions=[False] * 5), dast.Options(), 0)
