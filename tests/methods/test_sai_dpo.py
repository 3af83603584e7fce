import numpy as np
import pytest
from simulated_policy import SimulatedPolicy, begin, bound, make_pool, responses, rows, sample_round

from dast_jax.estimators.estimate import TrialSums
from dast_jax.methods import sai_dpo, state_of
from dast_jax.methods.allocation import draw
from dast_jax.methods.cluster_means import cluster_errors, filled_by_cluster
from dast_jax.records import Pool, Query, Requests, Responses, Tally

# --- the formulas ---


def test_cluster_errors_by_hand():
    cluster = np.array([0, 0, 2])
    fail = np.array([1.0, 0.5, 0.0])  # mean 0.5
    got = cluster_errors(cluster, fail, 3, kappa=4.0)
    np.testing.assert_allclose(got, [(1.5 + 2) / 6, 2 / 4, (0 + 2) / 5])
    np.testing.assert_allclose(cluster_errors(cluster, fail, 3, kappa=0.0), [0.75, 0.5, 0.0])


def test_draw_frequencies_match_the_weights():
    """Chi-square on single draws, and on the second of two draws without replacement."""
    weight = np.array([0.0, 1.0, 2.0, 3.0, 6.0])
    rng = np.random.default_rng(0)
    n = 20_000
    single = np.bincount([draw(weight, 1, rng)[0] for _ in range(n)], minlength=5)
    assert single[0] == 0
    expected = n * weight[1:] / weight.sum()
    assert ((single[1:] - expected) ** 2 / expected).sum() < 16.3  # 3 df, p = 0.001

    pairs = np.zeros((5, 5))
    for _ in range(n):
        pairs[tuple(draw(weight, 2, rng))] += 1
    share = weight / weight.sum()
    expected = n * np.array(
        [
            [share[i] * share[j] * (1 / (1 - share[i]) + 1 / (1 - share[j])) for j in range(5)]
            for i in range(5)
        ]
    )
    upper = np.triu_indices(5, 1)
    got, expected = pairs[upper], expected[upper]
    possible = expected > 0
    assert got[~possible].sum() == 0
    assert ((got - expected)[possible] ** 2 / expected[possible]).sum() < 20.5  # 5 df, p = 0.001


def test_draw_takes_each_once_and_all_when_there_are_few():
    rng = np.random.default_rng(0)
    got = draw(rng.random(1000), 300, rng)
    assert len(set(got.tolist())) == 300
    assert draw(np.array([1.0, 0.0, 2.0]), 5, rng).tolist() == [0, 2]


# --- the rounds ---


def method_and_policy(n=400, **options):
    """Two kinds of queries: the policy is poor at those of odd numbers, and they are a cluster."""
    pool = Pool(
        tuple(
            Query(id=str(i), question="ab"[i % 2], answer=str(i), solution=f"solution {i}") for i in range(n)
        )
    )
    chosen = {"clusters": 2, "probe": 0.1, "trials": 8, "draw": 100, "warm_up": False} | options
    rates = np.where(np.arange(n) % 2, 0.3, 0.95)
    return (
        pool,
        bound(pool, sai_dpo.Options(**chosen), 1),
        SimulatedPolicy(rates, exact=False),
    )


def test_a_round_probes_then_draws_then_samples():
    pool, method, policy = method_and_policy()
    stages = []
    inner = method.requests

    def recorded(tally, news):
        requests = inner(tally, news)
        if len(requests):
            stages.append(np.bincount(requests.query, minlength=400))
        return requests

    method.requests = recorded
    _, own = sample_round(method, policy, pool, 0, [])
    probe, rest = stages
    assert (probe > 0).sum() == 40
    assert set(probe.tolist()) == {0, 8}
    assert (np.bincount(own.query, minlength=400)[np.flatnonzero(probe)] == 8).all()  # never sampled again
    pairs = method.training_set(own)
    facts = method.facts
    assert facts["probed"] == 40
    assert facts["drawn"] == 100
    drawn = np.flatnonzero(rest > 0)
    assert set(pairs.query.tolist()) <= set(drawn.tolist()) | set(np.flatnonzero(probe).tolist())
    assert facts["drawn_with_pairs"] == len(pairs) == len(np.unique(pairs.query))


def test_the_cluster_where_the_policy_fails_is_drawn_more():
    pool, method, policy = method_and_policy(probe=0.2, draw=100, width=100.0)
    _, own = sample_round(method, policy, pool, 0, [])
    method.training_set(own)
    weights = method.weights(TrialSums.of(own.take(np.isin(own.query, method._probe)), pool.queries))
    odd, even = weights[1::2], weights[::2]
    assert odd.min() > 3 * even.max()
    trials = np.bincount(own.query, minlength=400)
    trials[method._probe] = 0
    assert (trials[1::2] > 0).sum() > 2 * (trials[::2] > 0).sum()


def test_drawing_in_the_run_matches_the_weights():
    """Over many seeds, how often each query is drawn first fits the weights that its round computed."""
    counts, expected = np.zeros(4), np.zeros(4)
    for seed in range(400):
        pool, _, policy = method_and_policy(40)
        options = sai_dpo.Options(clusters=2, probe=0.25, trials=4, draw=1, warm_up=False)
        method = bound(pool, options, seed)
        policy.seed = seed
        begin(method, 0)
        probe = method._probe
        query = np.repeat(probe, 4).astype(np.int32)
        trial = np.tile(np.arange(4, dtype=np.int32), len(probe))
        own = policy.respond(0, Requests(query, trial, np.ones(len(query), np.int8)))
        weights = method.weights(TrialSums.of(own, pool.queries))
        quarter = np.minimum(np.argsort(np.argsort(-weights, kind="stable")) // 10, 3)
        counts[quarter[method._draw(TrialSums.of(own, pool.queries))[0]]] += 1
        expected += np.bincount(quarter, weights=weights, minlength=4) / weights.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 3 df, p = 0.001


def test_what_was_seen_is_remembered_and_the_rest_takes_its_clusters_mean():
    pool, method, policy = method_and_policy()
    _, own = sample_round(method, policy, pool, 0, [])
    method.training_set(own)
    last = state_of(method)["last"]
    seen = np.bincount(own.query, minlength=400) > 0
    assert np.array_equal(~np.isnan(last[0]), seen)
    query = int(own.query[0])
    mine = own.take(own.query == query)
    np.testing.assert_allclose(
        last[:, query], [mine.correct.any(), mine.correct.mean(), 1, mine.length.mean()], rtol=1e-6
    )
    filled = filled_by_cluster(last, method.pool.columns["cluster"], 2)
    unseen_odd = np.flatnonzero(~seen & (np.arange(400) % 2 == 1))
    np.testing.assert_allclose(filled[1, unseen_odd], last[1, 1::2][seen[1::2]].mean(), rtol=1e-5)


@pytest.mark.parametrize("band", ["rank", "pairs"])
def test_the_band_prefers_the_middle(band):
    """Always solved in few tokens, solved half the time in more, never solved."""
    n = 300
    pool = make_pool(n)
    options = sai_dpo.Options(clusters=1, probe=1.0, trials=8, draw=n, band=band, warm_up=False)
    method = bound(pool, options, 1)
    _, own = sample_round(method, SimulatedPolicy(np.repeat([1.0, 0.5, 0.0], 100)), pool, 0, [])
    own.length[:] = np.repeat([5, 50, 20], 100)[own.query]
    weights = method.weights(TrialSums.of(own, pool.queries))
    assert weights[100:200].min() > 2 * max(weights[:100].max(), weights[200:].max())


# --- the weights by hand ---

PASSED = (4, 1, 0, 3, 0, 1)
STEPS = (2, 2, 1, 1, 3, 2)
LENGTHS = (50, 10, 5, 90, 4, 50)
ERRORS = ((1.75 + 4 * 0.625) / 7, (2.0 + 4 * 0.625) / 7)
"""Of a cluster of three: fail rates 0, 3/4, 1 and 1/4, 1, 3/4; their mean over both is 0.625, κ is 4."""


def six_probed(**options):
    """The weights of six queries in two clusters, after four trials of each, given by the tables above."""
    pool = Pool(
        tuple(
            Query(id=str(i), question=f"q{i}", answer="1", tags=(cluster,))
            for i, cluster in enumerate("aaabbb")
        )
    )
    chosen = {"clusters": 2, "probe": 1.0, "trials": 4, "warm_up": False} | options
    method = bound(pool, sai_dpo.Options(**chosen), 1)
    begin(method, 0)
    query, trial = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    text = [f"step {t}\n\n" * STEPS[q] for q, t in zip(query, trial, strict=True)]
    own = responses(query, trial, trial < np.array(PASSED)[query], text=text, round=0)
    own.length[:] = np.array(LENGTHS)[query]
    return method.weights(TrialSums.of(own, pool.queries))


def test_weights_by_rank_by_hand():
    """Any correct trial, then steps, then length: queries 3, 1, 0 and 5 alike, then the unsolved 2, 4."""
    quantile = np.array([2.5, 1, 4, 0, 5, 2.5]) / 5
    band = np.exp(-((quantile - 0.4) ** 2) / (2 * 0.3**2))
    error = np.repeat(ERRORS, 3)
    np.testing.assert_allclose(six_probed(centre=0.4, width=0.3), (0.05 + error) * band, rtol=1e-6)
    np.testing.assert_allclose(six_probed(centre=0.4, width=0.3, epsilon=0.0), error * band, rtol=1e-6)


def test_weights_by_the_chance_of_a_pair_by_hand():
    """At pass rate 1/4 or 3/4, four trials have a correct and an incorrect one at 1 − (81 + 1) / 256."""
    chance = np.array([0, 1, 0, 1, 0, 1]) * (1 - 82 / 256)
    expected = (0.05 + np.repeat(ERRORS, 3)) * chance
    np.testing.assert_allclose(six_probed(band="pairs"), expected, rtol=1e-6)


def test_with_flat_weights_as_many_queries_are_drawn_with_equal_chances():
    """The control: no query is preferred, whatever its cluster and its difficulty."""
    counts = np.zeros(40)
    for seed in range(300):
        pool, _, policy = method_and_policy(40)
        options = {"clusters": 2, "probe": 0.25, "trials": 4, "draw": 10, "warm_up": False, "weights": "flat"}
        method = bound(pool, sai_dpo.Options(**options), seed)
        policy.seed = seed
        begin(method, 0)
        own = policy.respond(0, method.requests(Tally.zeros(40), Responses.none()))
        drawn = method._draw(TrialSums.of(own, pool.queries))
        assert len(set(drawn.tolist())) == 10
        counts[drawn] += 1
    assert ((counts - 75) ** 2 / (75 * 0.75)).sum() < 72.1  # 39 df, p = 0.001
    assert abs(counts[1::2].sum() - counts[::2].sum()) < 4 * np.sqrt(3000 * 0.75)


def test_flat_weights_sample_and_pair_what_was_drawn():
    pool, method, policy = method_and_policy(weights="flat")
    _, own = sample_round(method, policy, pool, 0, [])
    pairs = method.training_set(own)
    assert (method.facts["probed"], method.facts["drawn"]) == (40, 100)
    assert method.facts["drawn_with_pairs"] == len(pairs) > 20
    tried = np.flatnonzero(np.bincount(own.query, minlength=400) == 8)
    assert 100 <= len(tried) <= 140
    assert set(pairs.query.tolist()) <= set(tried.tolist())


def test_steps_end_where_the_task_or_the_option_says():
    """Two queries that are solved alike: one in a line with four equal signs, one in three lines."""
    long, broken = "1 = 2 = 3 = 4 = 5", "1\n2\n3"
    pool = Pool(tuple(Query(id=str(i), question=f"q{i}", answer="5", task="number") for i in range(2)))
    query, trial = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    own = responses(query, trial, trial < 2, text=[long] * 4 + [broken] * 4, round=0)
    own.length[:] = 10
    easier = {}
    for separators in ((), ("\n",), ("=",)):
        options = {"clusters": 1, "probe": 1.0, "trials": 4, "centre": 0.0, "warm_up": False}
        method = bound(pool, sai_dpo.Options(step_separators=separators, **options), 1)
        begin(method, 0)
        weights = method.weights(method._sums(own))  # a centre of 0 prefers what is easiest
        easier[separators] = int(np.argmax(weights))
        method.training_set(own)
        expected = {(): [5, 3], ("\n",): [1, 3], ("=",): [5, 1]}[separators]
        assert state_of(method)["last"][2].tolist() == expected
    assert easier == {(): 1, ("\n",): 0, ("=",): 1}


# --- what differs from round to round ---


def test_each_round_probes_other_queries():
    _, method, _ = method_and_policy()
    probes = []
    for round in range(3):
        begin(method, round)
        probes.append(frozenset(method.requests(Tally.zeros(400), Responses.none()).query.tolist()))
    assert len(set(probes)) == 3
    assert {len(probe) for probe in probes} == {40}


def test_each_round_draws_other_queries_and_other_pairs():
    """Although the trials of the whole pool have the same outcomes in both rounds."""
    _, method, _ = method_and_policy(100, probe=1.0, draw=50)
    query, trial = np.repeat(np.arange(100), 8), np.tile(np.arange(8), 100)
    text = [f"q{q} t{t}" for q, t in zip(query, trial, strict=True)]
    drawn = []
    for round in range(2):
        begin(method, round)
        pairs = method.training_set(responses(query, trial, trial % 2 == 0, round=round, text=text))
        assert len(pairs) == 50
        drawn.append({q: (c, r) for q, c, r, _ in rows(pairs)})
    both = set(drawn[0]) & set(drawn[1])
    assert 10 <= len(both) < 50
    same = sum(drawn[0][q] == drawn[1][q] for q in both)
    assert same < len(both) / 2  # one in sixteen by chance


@pytest.mark.parametrize(
    ("n", "share", "probed"), [(50, 0.03, 2), (6, 0.25, 2), (50, 0.02, 1), (40, 0.03, 1)]
)
def test_the_probe_is_the_nearest_whole_number_of_queries(n, share, probed):
    pool, method, policy = method_and_policy(n, probe=share, draw=1)
    _, own = sample_round(method, policy, pool, 0, [])
    method.training_set(own)
    assert method.facts["probed"] == probed
