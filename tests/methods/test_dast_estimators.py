"""DAST with levels from other estimators than the pass rate; the judge is a real local server."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from simulated_policy import SimulatedPolicy, bound, make_pool, mixed_levels, run_rounds

from dast_jax.errors import UserError
from dast_jax.estimators.levels import UNSOLVED
from dast_jax.llm.judge import JudgeOptions
from dast_jax.methods import dast, make_method
from dast_jax.options import build
from dast_jax.records import Pool
from tests.helpers_chat_server import VARIABLE, serve

__all__ = ["serve"]

LATER = np.array([0.95, 0.6, 0.25, 0.1])
"""Pass rates by level after the estimate."""


def test_estimators_are_interchangeable():
    """The same rounds with levels from a ranking; the label knows the levels without a trial."""
    n = 400
    levels, pool = mixed_levels(n), make_pool(n)
    labelled = Pool(tuple(replace(q, level=f"Level {levels[i]}") for i, q in enumerate(pool.queries)))
    for estimator in ("label", "fail_rate", "self_aware", "uncertainty"):
        policy = SimulatedPolicy(np.stack([np.array([14, 8, 2, 0])[levels] / 16, LATER[levels]]))
        method = bound(labelled, dast.Options(estimator=estimator, trials=16), seed=1)
        results = run_rounds(method, policy, labelled, 1)
        if estimator in ("label", "fail_rate"):
            assert np.array_equal(method.levels, levels)
        elif estimator == "self_aware":  # first whether one of the trials was correct
            assert np.array_equal(method.levels == UNSOLVED, levels == UNSOLVED)
        counts = np.bincount(results[1][0].query, minlength=n)
        assert (counts <= np.array([4, 4, 12, 8])[method.levels]).all()


@pytest.mark.parametrize(
    "options", [{"estimator": "label"}, {"estimator": "judge", "judge": {"fallback": "label"}}]
)
def test_an_estimator_that_lacks_its_labels_is_refused_immediately(options):
    with pytest.raises(UserError, match=r"method\.estimator label: none of the queries has a level"):
        make_method(build(dast.Options, options, where="method"), make_pool(5), 0)


def test_a_pass_rate_is_not_looked_at_where_others_give_the_levels():
    for chosen in ({"estimator": "label"}, {"estimator": "judge", "judge": {"fallback": "median"}}):
        assert build(dast.Options, {"trials": 2, **chosen}, where="method").trials == 2


# --- the judge ---

RATED = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
"""Ten ratings in a row: places 0.05, 0.15, …, 0.95, cut at 0.364, 0.747 and 0.912."""
PASSED = [14, 8, 2, 0]
"""Of 16 trials of the four queries that the judge refuses."""
LABELS = [3, 1, 1, 2]
"""The data's own labels of those four; the ten others have `RATED`. Four, five, three and two queries have a
label each, in the middle at places 0.14, 0.46, 0.75 and 0.93, so the levels are the labels."""


def judged(serve, tmp_path, reply, **options):
    """DAST on fourteen queries, of which `reply` rates the first ten by their numbers, and its policy."""
    endpoint = serve(reply)
    judge = JudgeOptions(
        endpoint=endpoint.url,
        model="m",
        key_variable=VARIABLE,
        cache=str(tmp_path / "cache"),
        backoff=0.01,
        retries=0,
        **options,
    )
    pool = Pool(
        tuple(
            replace(query, question=str(i), level=str(LABELS[i - 10] if i >= 10 else RATED[i]))
            for i, query in enumerate(make_pool(14).queries)
        )
    )
    policy = SimulatedPolicy(np.array([8] * 10 + PASSED) / 16)
    made = dast.Options(estimator="judge", trials=16, max_trials=32, judge=judge)
    return pool, bound(pool, made, seed=1), policy, endpoint


def first_ten(question, _):
    return (200, str(int(question) + 1)) if int(question) < 10 else (400, b"no")


@pytest.mark.parametrize(
    ("fallback", "others"),
    [
        ("sampled", [0, 1, 2, 3]),
        ("label", LABELS),
        ("median", [1, 1, 1, 1]),
    ],
)
def test_what_the_judge_leaves_gets_the_fallbacks_level_and_is_reported(
    serve, tmp_path, caplog, fallback, others
):
    pool, method, policy, endpoint = judged(serve, tmp_path, first_ten, fallback=fallback)
    with caplog.at_level(logging.WARNING, logger="dast_jax"):
        results = run_rounds(method, policy, pool, 0)
    assert method.levels[:10].tolist() == RATED
    assert method.levels[10:].tolist() == others
    assert method.facts["unrated"] == 4
    assert any("judge" in r.getMessage() and "unrated 4" in r.getMessage() for r in caplog.records)
    assert results[0][0].is_reference.all()
    assert sorted(map(int, endpoint.asked)) == list(range(14))


def test_levels_of_the_judge_stay_and_make_the_quotas(serve, tmp_path):
    pool, method, policy, endpoint = judged(serve, tmp_path, first_ten)
    results = run_rounds(method, policy, pool, 2)
    levels = np.array([*RATED, 0, 1, 2, 3])
    assert method.levels.tolist() == levels.tolist()
    assert method.quotas().tolist() == np.array([4, 4, 12, 8])[levels].tolist()
    assert (np.bincount(results[2][0].query, minlength=14) <= method.quotas()).all()
    assert len(endpoint.asked) == 14  # nothing is asked a second time


def test_an_unrated_query_stops_the_run_where_the_fallback_says_so(serve, tmp_path):
    with pytest.raises(UserError, match=r"judge: 4 of 14 queries got no rating"):
        judged(serve, tmp_path, first_ten, fallback="stop")


def test_a_judge_that_never_answers_leaves_the_sampled_levels(serve, tmp_path, caplog):
    pool, method, policy, _ = judged(serve, tmp_path, lambda *_: (200, "hard to say"))
    with caplog.at_level(logging.WARNING, logger="dast_jax"):
        run_rounds(method, policy, pool, 0)
    assert method.levels.tolist() == [1] * 10 + [0, 1, 2, 3]
    assert any("judge" in r.getMessage() and "unrated 14" in r.getMessage() for r in caplog.records)


def test_levels_follow_the_ratings_in_every_round_though_the_judge_is_asked_once(serve):
    n = 12
    pool = make_pool(n)
    ratings = {f"what is {i}?": i % 10 + 1 for i in range(n)}
    server = serve(
        lambda question, _: (200, str(ratings[question])) if question != "what is 3?" else (400, b"")
    )
    judge = JudgeOptions(endpoint=server.url, model="m", cache="", retries=0, fallback="median")
    options = dast.Options(estimator="judge", judge=judge, trials=5, re_estimate="every_round")
    policy = SimulatedPolicy(np.array([14, 8, 2, 0])[mixed_levels(n)] / 16)
    method = bound(pool, options, seed=1)
    assert len(server.asked) == n
    run_rounds(method, policy, pool, 2)
    assert method.facts | {"exemplar_fallbacks": 0} == {
        "estimator": "judge",
        "unrated": 1,
        "exemplar_fallbacks": 0,
    }
    assert len(server.asked) == n
    known = [i for i in range(n) if i != 3]
    by_rating = sorted(known, key=lambda i: ratings[f"what is {i}?"])
    assert (np.diff(method.levels[by_rating]) >= 0).all()
    assert len(set(method.levels.tolist())) == 4
