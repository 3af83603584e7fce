import numpy as np
import pytest
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
from dast_jax.records import PromptKind, Responses, Tally

# --- STaR ---


def test_star_tries_once_and_hints_what_failed():
    n = 200
    pool = make_pool(n, task="choice")
    method = bound(pool, star.Options(), 1)
    training_set, own = run_rounds(method, SimulatedPolicy(np.full(n, 0.4), exact=False), pool, 0)[0]
    first, second = own.take(own.trial == 0), own.take(own.trial == 1)
    assert len(first) == n
    assert (first.kind == PromptKind.FEW_SHOT).all()
    assert (second.kind == PromptKind.RATIONALIZED).all()
    assert set(second.query.tolist()) == set(first.query[~first.correct].tolist())
    assert training_set.query.tolist() == sorted(own.query[own.correct].tolist())
    solved, rationalized = int(first.correct.sum()), int(second.correct.sum())
    assert method.facts == {"tried": n, "solved": solved, "rationalized": rationalized}


@pytest.mark.parametrize(
    ("choice", "task", "tries"),
    [
        ("by_task", "math", 1),
        ("by_task", "label", 2),
        ("always", "math", 2),
        ("never", "choice", 1),
    ],
)
def test_who_is_hinted(choice, task, tries):
    pool = make_pool(5, task=task)
    method = bound(pool, star.Options(rationalize=choice), 1)
    _, own = sample_round(method, SimulatedPolicy(np.zeros(5)), pool, 0, [])
    assert (np.bincount(own.query) == tries).all()


def test_a_truncated_success_is_not_one():
    pool = make_pool(3)
    method = bound(pool, star.Options(rationalize="always"), 1)
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
