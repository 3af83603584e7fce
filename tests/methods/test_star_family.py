import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from simulated_policy import (
    LENGTH,
    SimulatedPolicy,
    begin,
    bound,
    make_pool,
    responses,
    run_rounds,
    sample_round,
)

from dast_jax.methods import b_star, sft, star, star_acc
from dast_jax.methods.b_star import balance_score
from dast_jax.records import PromptKind, Requests, Responses, Tally

# --- STaR ---


def star_round(t, pool, correct, *, beta, batch, steps, tries=2):
    """STaR as arXiv 2505.16322 runs it, query by query; `correct(query, try)`.

    Returns (tries spent by query, successes as {query: try}, examples to train on, None for all of them).
    """
    spent, solved = {}, {}
    for i in range(len(pool)):
        for k in range(tries):
            spent[i] = k + 1
            if correct(i, k):
                solved[i] = k
                break
    return spent, solved, batch * math.floor(steps * 1.2 ** (t - 1)) if beta == "schedule" else None


@pytest.mark.parametrize("arrival_seed", [None, 5])
@pytest.mark.parametrize(
    ("module", "task", "beta", "tries"),
    [
        (star, "choice", "schedule", 2),
        (star, "math", "full", 2),
        (star_acc, "math", "schedule", 2),
        (star_acc, "choice", "full", 5),
    ],
)
def test_two_tries_of_the_whole_pool_cut_to_the_schedule(module, task, beta, tries, arrival_seed):
    """The last try shows the hint where the task has one; β^t = 8·⌊6·1.2^(t−1)⌋ of the successes are used."""
    n = 120
    pool = make_pool(n, task=task)
    policy = SimulatedPolicy(np.linspace(0, 0.9, n), exact=False, cut=0.1)
    method = bound(pool, module.Options(beta=beta, batch=8, steps=6, trials=tries), 1)
    drawn = []
    for round in range(3):
        asked = {}

        def correct(i, k, round=round, asked=asked):
            hint = k == tries - 1 and task == "choice"
            asked[i, k] = PromptKind.RATIONALIZED if hint else PromptKind.FIXED
            columns = [np.array([x], t) for x, t in ((i, np.int32), (k, np.int32), (asked[i, k], np.int8))]
            got = policy.respond(round, Requests(*columns))
            return got.correct[0] and got.finish[0] != LENGTH

        spent, solved, size = star_round(round + 1, pool, correct, beta=beta, batch=8, steps=6, tries=tries)
        _, own = sample_round(method, policy, pool, round, [], arrival_seed=arrival_seed)
        assert np.bincount(own.query, minlength=n).tolist() == [spent[i] for i in range(n)]
        columns = (own.query.tolist(), own.trial.tolist(), own.kind.tolist())
        assert {(q, k): kind for q, k, kind in zip(*columns, strict=True)} == asked
        training_set = method.training_set(own)
        counts = Counter(training_set.text)
        names = {f"r{round} q{i} t{k}" for i, k in solved.items()}
        assert len(training_set) == (size or len(solved))
        assert set(counts) <= names if size and size < len(solved) else set(counts) == names
        assert max(counts.values()) - min(counts.values()) <= 1
        rationalized = sum(asked[i, k] == PromptKind.RATIONALIZED for i, k in solved.items())
        assert method.facts == {
            "tried": n,
            "solved": len(solved),
            "solved_at_first_try": sum(k == 0 for k in solved.values()),
            "rationalized": rationalized,
            **({"beta": size} if size else {}),
        }
        drawn.append(frozenset(int(text.split()[1][1:]) for text in counts))
    assert bool(rationalized) == (task == "choice")
    assert len(set(drawn)) == 3


def test_the_schedule_draws_without_preference():
    """40 queries are solved, 8 of them are trained on: over 200 seeds each about as often."""
    n = 40
    pool, counts = make_pool(n), np.zeros(n)
    own = responses(range(n), [0] * n, [True] * n, round=0)
    for seed in range(200):
        method = bound(pool, star.Options(batch=8, steps=1), seed)
        begin(method, 0)
        got = method.training_set(own)
        assert len(set(got.query.tolist())) == 8
        counts += np.bincount(got.query, minlength=n)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("choice", "task", "second"),
    [
        ("by_task", "math", PromptKind.FIXED),
        ("by_task", "label", PromptKind.RATIONALIZED),
        ("always", "math", PromptKind.RATIONALIZED),
        ("never", "choice", PromptKind.FIXED),
    ],
)
def test_who_is_hinted(choice, task, second):
    pool = make_pool(5, task=task)
    method = bound(pool, star.Options(rationalize=choice), 1)
    _, own = sample_round(method, SimulatedPolicy(np.zeros(5)), pool, 0, [])
    assert (own.kind[own.trial == 0] == PromptKind.FIXED).all()
    assert own.kind[own.trial == 1].tolist() == [second] * 5


def test_a_truncated_success_is_not_one():
    pool = make_pool(3)
    method = bound(pool, star.Options(rationalize="always", beta="full"), 1)
    begin(method, 0)
    got = method.training_set(
        responses([0, 1, 1, 2], [0, 0, 1, 0], [True] * 4, finish=[0, LENGTH, 0, LENGTH], round=0)
    )
    assert got.query.tolist() == [0, 1]
    assert got.text.tolist() == ["r0 q0 t0", "r0 q1 t1"]


def test_a_truncated_success_is_tried_again_with_the_hint():
    n = 200
    pool = make_pool(n, task="choice")
    policy = SimulatedPolicy(np.full(n, 0.6), exact=False, cut=0.4)
    _, own = sample_round(bound(pool, star.Options(), 1), policy, pool, 0, [])
    first, second = own.take(own.trial == 0), own.take(own.trial == 1)
    solved = first.query[first.correct & (first.finish != LENGTH)]
    assert (first.correct & (first.finish == LENGTH)).sum() > 20
    assert set(second.query.tolist()) == set(range(n)) - set(solved.tolist())


def test_where_training_starts():
    pool = make_pool(3)
    assert bound(pool, star.Options(), 1).start == "restart"
    assert bound(pool, star_acc.Options(), 1).start == "continue"


def test_sft_trains_on_the_reference_solutions_every_round():
    pool = make_pool(7, solutions=[True] * 5 + [False] * 2)
    for training_set, own in run_rounds(bound(pool, sft.Options(), 1), SimulatedPolicy(np.ones(7)), pool, 2):
        assert len(own) == 0
        assert training_set.text.tolist() == [q.solution for q in pool.queries[:5]]


# --- B-STaR ---


def test_balance_score_by_hand():
    # min(n'/6, 1) · n'/8 for n' = 0, 3, 6, 8
    assert balance_score(np.array([0, 3, 6, 8]), 8, 6) == pytest.approx((0 + 0.5 * 3 / 8 + 6 / 8 + 1) / 4)


class Tempered(SimulatedPolicy):
    """Higher is more diverse and more often incorrect: the middle has the most distinct correct ones."""

    def __init__(self, temperature_of_trial, **kwargs):
        super().__init__(np.zeros((1, 1)), exact=False, **kwargs)
        self.of_trial = temperature_of_trial
        self.asked = []

    def respond(self, round, requests):
        if requests.temperature is None:
            assert not len(requests)
            temperature = np.zeros(0)
        else:
            temperature = requests.temperature
        self.asked += list(
            zip(requests.query.tolist(), requests.trial.tolist(), temperature.tolist(), strict=True)
        )
        correct = self._uniform(round, requests) < 1.3 - temperature
        texts = np.maximum((temperature * 10).astype(int), 1)
        text = [
            f"q{q} version {t % k}" for q, t, k in zip(requests.query, requests.trial, texts, strict=True)
        ]
        return responses(requests.query, requests.trial, correct, round=round, kind=requests.kind, text=text)


def test_b_star_samples_all_at_the_temperature_of_the_best_score():
    n, offered = 60, [0.3, 0.7, 1.25]
    pool = make_pool(n)
    options = b_star.Options(temperatures=tuple(offered), probe=20, trials=8, enough=4, warm_up=False)
    method = bound(pool, options, 1)
    policy = Tempered(None)
    _, own = sample_round(method, policy, pool, 0, [], arrival_seed=2)
    training_set = method.training_set(own)
    facts = method.facts
    scores = list(facts["balance_scores"].values())
    assert facts["temperature"] == pytest.approx(0.7)
    assert int(np.argmax(scores)) == 1
    probe = np.flatnonzero(np.bincount(own.query) == 24)
    assert len(probe) == 20
    for query, trial, temperature in policy.asked:
        expected = offered[trial // 8] if query in probe else 0.7
        assert temperature == pytest.approx(expected)
    # The scores are the mean over the probe of min(n'/n*, 1) · n'/n.
    for i, score in enumerate(scores):
        at = own.take((own.trial // 8 == i) & np.isin(own.query, probe) & own.correct)
        distinct = np.array([len(set(at.text[at.query == q])) for q in probe])
        assert score == pytest.approx((np.minimum(distinct / 4, 1) * distinct / 8).mean())
    # Of the probe's trials only those at 0.7 are trained on.
    used = own.take(own.correct & ((own.trial // 8 == 1) | ~np.isin(own.query, probe)))
    assert set(zip(training_set.query.tolist(), training_set.text, strict=True)) == set(
        zip(used.query.tolist(), used.text, strict=True)
    )


def test_of_equal_scores_b_star_takes_the_lowest_temperature_for_sampling_and_training():
    """Every trial is correct and different, so all temperatures have the same score."""
    n = 20
    pool = make_pool(n)
    options = b_star.Options(temperatures=(1.0, 0.25, 0.5), probe=5, trials=3, warm_up=False)
    method = bound(pool, options, 1)
    asked = {}
    policy = SimulatedPolicy(np.ones(n))
    respond = policy.respond

    def noted(round, requests):
        temperatures = () if requests.temperature is None else requests.temperature.tolist()
        asked.update(
            zip(zip(requests.query.tolist(), requests.trial.tolist(), strict=True), temperatures, strict=True)
        )
        return respond(round, requests)

    policy.respond = noted
    _, own = sample_round(method, policy, pool, 0, [])
    training_set = method.training_set(own)
    probe = set(np.flatnonzero(np.bincount(own.query) == 9).tolist())
    assert len(probe) == 5
    assert {asked[q, t] for q, t in asked if q not in probe} == {0.25}
    assert method.facts["temperature"] == 0.25
    assert len(set(method.facts["balance_scores"].values())) == 1
    trained = {(int(text.split()[1][1:]), int(text.split()[2][1:])) for text in training_set.text}
    assert {asked[name] for name in trained} == {0.25}
    assert {q for q, _ in trained} == set(range(n))


def test_b_star_probes_other_queries_each_round():
    pool = make_pool(60)
    method = bound(pool, b_star.Options(temperatures=(0.5,), probe=10, trials=2, warm_up=False), 1)
    probes = []
    for round in range(3):
        begin(method, round)
        probes.append(frozenset(method.requests(Tally.zeros(60), Responses.none()).query.tolist()))
    assert {len(probe) for probe in probes} == {10}
    assert len(set(probes)) == 3


def test_b_star_with_a_pool_smaller_than_its_probe():
    pool = make_pool(5)
    options = b_star.Options(temperatures=(0.5, 1.0), probe=64, trials=3, warm_up=False)
    _, own = sample_round(bound(pool, options, 1), Tempered(None), pool, 0, [])
    assert (np.bincount(own.query) == 6).all()
