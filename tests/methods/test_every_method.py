"""What holds for all methods: order, state at every boundary, pools where all or nothing is solved."""

import importlib

import numpy as np
import pytest
from simulated_policy import (
    SimulatedPolicy,
    begin,
    bound,
    make_pool,
    mixed_levels,
    rows,
    run_rounds,
    sample_round,
)

from dast_jax.config import build_config
from dast_jax.errors import UserError
from dast_jax.methods import METHODS, make_method, restore, state_of
from dast_jax.methods.exemplars import BLOCK, block_of
from dast_jax.options import build
from dast_jax.records import PreferenceSet, PromptKind, Responses
from dast_jax.store.durable import read_arrays, write_arrays

SETTINGS = {
    "dast": {"trials": 8, "max_trials": 24},
    "dast_d": {"method": "dast", "loss": "dpo", "trials": 8, "max_trials": 24},
    "dast_fail_rate": {"method": "dast", "estimator": "fail_rate", "trials": 4, "max_trials": 12},
    "dast_self_aware": {
        "method": "dast",
        "estimator": "self_aware",
        "re_estimate": "every_round",
        "trials": 4,
        "max_trials": 12,
    },
    "dast_d_p": {"method": "dast", "loss": "dpo", "trials": 8, "max_trials": 24, "length": False},
    "dast_l": {"method": "dast", "trials": 8, "max_trials": 24, "proportion": False},
    "dast_fresh": {"method": "dast", "trials": 8, "max_trials": 6, "reuse_estimate": False},
    "dast_d_fresh": {
        "method": "dast",
        "loss": "dpo",
        "trials": 8,
        "max_trials": 12,
        "reuse_estimate": False,
        "distinct": "text",
    },
    "dast_zero_shot": {"method": "dast", "trials": 8, "max_trials": 24, "exemplars": 0},
    "dast_label": {"method": "dast", "estimator": "label", "trials": 4, "max_trials": 12},
    "dast_uncertainty": {
        "method": "dast",
        "estimator": "uncertainty",
        "re_estimate": "every_round",
        "trials": 4,
        "max_trials": 12,
    },
    "vrt": {"trials": 6},
    "vrt_warm": {"method": "vrt", "trials": 6, "warm_up": True, "distinct": "steps"},
    "rft": {"trials": 6},
    "rest_em": {"trials": 6, "at_most": 2},
    "dart_uniform": {"trials": 4, "target": 3, "max_trials": 20},
    "dart_prop2diff": {"trials": 4, "target": 5, "max_trials": 20},
    "dart_every_round": {
        "method": "dart_prop2diff",
        "trials": 4,
        "target": 5,
        "max_trials": 20,
        "re_estimate": "every_round",
    },
    "dart_warm": {"method": "dart_uniform", "trials": 4, "target": 3, "max_trials": 20, "warm_up": True},
    "dart_raw": {
        "method": "dart_uniform",
        "trials": 4,
        "target": 3,
        "max_trials": 20,
        "distinct": "none",
    },
    "star": {"rationalize": "always", "batch": 4, "steps": 3},
    "star_warm": {"method": "star", "rationalize": "always", "warm_up": True, "beta": "full"},
    "star_acc": {"rationalize": "never", "trials": 3, "steps": 6},
    "adastar": {"batch": 4, "steps": 3, "rationalize": "always"},
    "adastar_paper": {"method": "adastar", "batch": 4, "steps": 3, "alpha": "train_accuracy", "trials": 3},
    "adastar_all": {"method": "adastar", "batch": 4, "steps": 3, "collect": "all", "rationalize": "always"},
    "adastar_warm": {"method": "adastar", "batch": 4, "steps": 3, "warm_up": True},
    "sai_dpo": {"clusters": 4, "probe": 0.2, "trials": 4, "draw": 30},
    "sai_dpo_pairs": {
        "method": "sai_dpo",
        "clusters": 4,
        "probe": 0.2,
        "trials": 4,
        "draw": 30,
        "band": "pairs",
    },
    "sai_dpo_flat": {
        "method": "sai_dpo",
        "clusters": 4,
        "probe": 0.2,
        "trials": 4,
        "draw": 30,
        "weights": "flat",
        "step_separators": [" "],
    },
    "sai_dpo_cold": {
        "method": "sai_dpo",
        "clusters": 4,
        "probe": 0.2,
        "trials": 4,
        "draw": 30,
        "warm_up": False,
    },
    "hs_star": {},
    "hs_star_cold": {"method": "hs_star", "boundary_trials": 8, "max_trials": 9, "warm_up": False},
    "sft": {},
    "dpo": {"trials": 6},
    "dpo_cold": {"method": "dpo", "trials": 6, "warm_up": False, "distinct": "none"},
    "b_star": {"trials": 4, "probe": 10, "temperatures": [0.5, 1.0]},
    "b_star_cold": {
        "method": "b_star",
        "trials": 4,
        "probe": 10,
        "temperatures": [0.5, 1.0],
        "warm_up": False,
    },
    "iterative_rpo": {"trials": 6},
}
"""Small settings that together go through every branch of every method."""


def make(name, pool, seed=1):
    settings = dict(SETTINGS[name])
    module = importlib.import_module(f"dast_jax.methods.{settings.pop('method', name)}")
    return bound(pool, build(module.Options, settings, where="method"), seed)


def rising(n, *, seed=0, **kwargs):
    """Pass rates from never to always, which rise from round to round."""
    start = np.array([0.9, 0.5, 0.15, 0.0])[mixed_levels(n)]
    return SimulatedPolicy(
        np.stack([start + (1 - start) * lift for lift in (0.0, 0.1, 0.2, 0.3)]),
        seed=seed,
        exact=False,
        **kwargs,
    )


def labelled_pool(n, **kwargs):
    return make_pool(n, levels=mixed_levels(n), **kwargs)


def test_the_settings_cover_every_method():
    assert {s.get("method", name) for name, s in SETTINGS.items()} == set(METHODS)
    assert len(METHODS) == 15


@pytest.mark.parametrize("name", SETTINGS)
def test_the_training_set_does_not_depend_on_arrival(name):
    n = 60
    pool, policy = labelled_pool(n), rising(n, texts=5, cut=0.1)
    results = []
    for arrival_seed in (None, 1, 2):
        method = make(name, pool)
        results.append([rows(s) for s, _ in run_rounds(method, policy, pool, 3, arrival_seed=arrival_seed)])
        results[-1].append({k: v.tolist() for k, v in state_of(method).items()})
    np.testing.assert_equal(results[1], results[0])
    np.testing.assert_equal(results[2], results[0])
    assert any(results[0][:3])


@pytest.mark.parametrize("name", SETTINGS)
def test_state_carries_over_every_boundary(name, tmp_path):
    """One method runs all rounds without a break; next to it, a fresh one takes every step from files."""
    n = 60
    pool, policy = labelled_pool(n), rising(n, texts=5, cut=0.1)
    whole = make(name, pool)
    whole_earlier, earlier = [], []

    def kept(method):
        write_arrays(tmp_path / "state.npz", state_of(method))
        return read_arrays(tmp_path / "state.npz")

    def fresh(state):
        method = make(name, pool)
        restore(method, state)
        return method

    state, accuracy = kept(make(name, pool)), None
    for round in range(4):
        whole_carried, whole_own = sample_round(whole, policy, pool, round, whole_earlier, accuracy=accuracy)
        whole_set = whole.training_set(Responses.concatenate([whole_carried, whole_own]))
        whole_earlier.append(whole_own)

        carried, own = sample_round(fresh(state), policy, pool, round, earlier, accuracy=accuracy)
        assert rows_of(carried) == rows_of(whole_carried)
        assert rows_of(own) == rows_of(whole_own)
        method = fresh(state)  # in another process than its sampling
        carried = begin(method, round, earlier, accuracy)
        assert rows_of(carried) == rows_of(whole_carried)
        training_set = method.training_set(Responses.concatenate([carried, own]))
        assert rows(training_set) == rows(whole_set)
        assert training_set.shortfall == whole_set.shortfall
        assert method.facts == whole.facts
        columns = (own.query, own.kind, own.trial)
        for query, kind, trial in zip(*(column[-5:].tolist() for column in columns), strict=True):
            block = block_of(kind, trial)
            assert method.exemplars(query, kind, block) == whole.exemplars(query, kind, block)
        state = kept(method)
        np.testing.assert_equal(state, state_of(whole))
        np.testing.assert_equal(fresh(state).levels, whole.levels)  # what evaluation looks at
        accuracy = 0.9 if len(training_set) else None
        earlier.append(own)


def rows_of(responses):
    return list(
        zip(responses.query.tolist(), responses.round.tolist(), responses.trial.tolist(), strict=True)
    )


def own_rounds(name):
    """The rounds in which the method samples for itself, among 0..2."""
    warms = ("dast", "rft", "dpo", "iterative_rpo", "sai_dpo", "b_star", "hs_star")
    warm = SETTINGS[name].get("method", name) in warms
    return (1, 2) if SETTINGS[name].get("warm_up", warm) else (0, 1, 2)


WITHOUT_SOLVED = {"dast": "references", "rft": "references", "sft": "references"}
"""What is trained on when nothing was solved; nothing, where a method is not named."""


@pytest.mark.parametrize("name", SETTINGS)
def test_with_nothing_solved_each_does_what_its_docstring_says(name):
    n = 30
    pool = labelled_pool(n)
    method = make(name, pool)
    results = run_rounds(method, SimulatedPolicy(np.zeros(n)), pool, 2)
    kind = SETTINGS[name].get("method", name)
    for round in own_rounds(name):
        training_set = results[round][0]
        if SETTINGS[name].get("loss") == "dpo":
            assert training_set.chosen_is_reference.all()
            assert set(training_set.query.tolist()) == set(range(n))
        elif kind in WITHOUT_SOLVED:
            assert training_set.is_reference.all()
            assert set(training_set.query.tolist()) == set(range(n))
        else:
            assert len(training_set) == 0
    doc = importlib.import_module(f"dast_jax.methods.{kind}").__doc__
    assert "all queries" in doc or "all or none" in doc


@pytest.mark.parametrize("name", SETTINGS)
def test_with_all_solved_each_does_what_its_docstring_says(name):
    n = 30
    pool = labelled_pool(n)
    results = run_rounds(make(name, pool), SimulatedPolicy(np.ones(n)), pool, 2)
    for round in own_rounds(name):
        training_set = results[round][0]
        if isinstance(training_set, PreferenceSet):
            assert len(training_set) == 0
        else:
            counts = np.bincount(training_set.query, minlength=n)
            star = SETTINGS[name].get("method", name) in ("adastar", "star", "star_acc")
            if star and SETTINGS[name].get("beta") != "full":
                t = round if SETTINGS[name].get("warm_up") else round + 1
                batch, steps = SETTINGS[name].get("batch", 8), SETTINGS[name]["steps"]
                assert counts.sum() == batch * int(steps * 1.2 ** (t - 1))
                assert counts.max() - counts.min() <= 1 + (SETTINGS[name].get("collect") == "all")
            elif SETTINGS[name].get("estimator") in ("label", "uncertainty"):
                assert set(counts.tolist()) == {4, 8, 12}  # levels do not look at what was solved
            else:
                assert counts.min() == counts.max() > 0


def methods_with_exemplars():
    return [name for name in SETTINGS if name != "sft" and SETTINGS[name].get("exemplars") != 0]


@pytest.mark.parametrize("name", methods_with_exemplars())
def test_exemplars_are_of_others_and_hinted_ones_show_their_answers(name):
    pool = labelled_pool(30)
    method = make(name, pool)
    begin(method, 0)
    assert method.exemplars(3, PromptKind.ZERO_SHOT) == ()
    shown = {kind: method.exemplars(3, kind) for kind in (1, 3, 4)}
    for exemplars in shown.values():
        assert len({e.response for e in exemplars} - {pool.queries[3].solution}) == 4
    plain, hinted = shown[PromptKind.FIXED], shown[PromptKind.RATIONALIZED]
    for e, h in zip(plain, hinted, strict=True):
        answer = next(q.answer for q in pool.queries if q.question == e.question)
        assert h.question == f"{e.question} (hint: the answer is {answer})"
        assert h.response == e.response


def test_estimates_and_tries_show_every_query_the_same_set_in_every_round_and_method():
    """A query that is in the set is shown the next one instead; another seed has another set."""
    pool = make_pool(20)
    for names, seed in ((("dast", "dart_uniform", "dart_warm", "star", "adastar"), 1), (("dast",), 2)):
        sets = set()
        for name in names:
            method = make(name, pool, seed)
            for round in (0, 2):
                begin(method, round)
                sets.add(tuple(method.exemplars(q, PromptKind.FIXED) for q in range(20)))
        (shown,) = sets
        common, count = max(((s, shown.count(s)) for s in shown), key=lambda pair: pair[1])
        inside = {q for q in range(20) if pool.queries[q].question in {e.question for e in common}}
        assert count == 16
        assert len(inside) == 4
        spare = {e for q in inside for e in shown[q]} - set(common)
        assert len(spare) == 1
        for q in inside:
            assert shown[q] == (*(e for e in common if e.question != pool.queries[q].question), *spare)


ESTIMATES = {"dast": 8, "dast_d": 8, "dast_fresh": 8, "dart_uniform": 4, "dart_prop2diff": 4, "dart_warm": 4}


@pytest.mark.parametrize("name", methods_with_exemplars())
def test_the_prompt_of_a_trial_is_that_of_an_estimate_a_try_or_a_sample(name):
    """Only what measures difficulty, and STaR's tries, show the fixed set; all else is drawn."""
    n = 40
    pool = labelled_pool(n)
    policy = SimulatedPolicy(np.full((4, n), 0.15), exact=False)
    kind = SETTINGS[name].get("method", name)
    for round, (_, responses) in enumerate(run_rounds(make(name, pool), policy, pool, 2)):
        own = responses.take(responses.round == round)
        if kind in ("star", "star_acc", "adastar"):
            assert set(own.kind.tolist()) <= {PromptKind.FIXED, PromptKind.RATIONALIZED}
        else:
            fixed = own.kind == PromptKind.FIXED
            if round == 0 and name in ESTIMATES:
                assert np.array_equal(fixed, own.trial < ESTIMATES[name])
            elif name in ESTIMATES or kind in ("vrt", "rft", "rest_em", "dpo", "iterative_rpo", "b_star"):
                assert not fixed.any()
            elif kind == "sai_dpo" and round in own_rounds(name):
                assert fixed.sum() == 8 * 4  # the probe
                assert len(own) > fixed.sum()
            assert set(own.kind[~fixed].tolist()) <= {PromptKind.FEW_SHOT, PromptKind.MATCHED}


@pytest.mark.parametrize("kind", [PromptKind.FEW_SHOT, PromptKind.MATCHED])
def test_samples_are_drawn_by_query_and_block_of_trials(kind):
    """The draw is the same in whatever order it is made, and different for a block, a query and a round."""
    n = 100
    pool = make_pool(n)

    def shown(round, order):
        method = make("dast", pool)
        restore(method, {"levels": np.zeros(n, np.int8)})
        begin(method, round)
        return {(q, b): method.exemplars(q, kind, b) for q, b in order}

    order = [(q, b) for q in range(20) for b in range(5)]
    first = shown(2, order)
    assert first == shown(2, order[::-1])
    assert len(set(first.values())) > 95
    again = shown(3, order)
    assert sum(first[name] == again[name] for name in order) < 5
    assert [block_of(kind, trial) for trial in range(2 * BLOCK + 1)] == [0] * BLOCK + [1] * BLOCK + [2]
    for same in (PromptKind.ZERO_SHOT, PromptKind.FIXED, PromptKind.RATIONALIZED):
        assert {block_of(same, trial) for trial in range(100)} == {0}


@pytest.mark.parametrize("name", [*methods_with_exemplars(), "dast_zero_shot"])
def test_zero_exemplars_sample_everything_zero_shot(name, caplog):
    """Estimates, samples, matched ones and probes; a hinted try keeps its hint, without exemplars."""
    n = 40
    settings = dict(SETTINGS[name])
    module = importlib.import_module(f"dast_jax.methods.{settings.pop('method', name)}")
    pool = labelled_pool(n)
    method = bound(pool, build(module.Options, {**settings, "exemplars": 0}, where="method"), 1)
    kinds = set()
    for _, responses in run_rounds(method, rising(n), pool, 2):
        kinds |= set(responses.kind.tolist())
    hinted = settings.get("rationalize") == "always"
    assert kinds == {PromptKind.ZERO_SHOT} | ({PromptKind.RATIONALIZED} if hinted else set())
    assert all(method.exemplars(q, kind, 1) == () for q in range(n) for kind in kinds)
    matched = settings.get("length", name.startswith("dast"))
    assert ("method.length has no effect with method.exemplars=0" in caplog.text) == matched


# --- config ---


def config(**method):
    return build_config(
        {"run": {"dir": "x"}, "model": {"path": "m"}, "data": {"train": "d"}, "method": method}
    )


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"name": "adstar"}, ["adstar", "did you mean adastar"]),
        ({"name": "dart"}, ["did you mean dart_prop2diff or dart_uniform"]),
        ({"name": "star", "base_quotas": 3}, ["method.base_quotas", "unknown key"]),
        ({"name": "star", "base_quota": 3}, ["method.base_quota", "option of dast", "method.name is star"]),
        ({"name": "vrt", "max_trials": 3}, ["of dart_prop2diff, dart_uniform, dast,", "remove it"]),
        ({"name": "sft", "trials": 3}, ["method.trials", "option of adastar", "method.name is sft"]),
        ({"name": "dart_uniform", "at_least_one": False}, ["method.at_least_one", "of dart_prop2diff,"]),
        ({"name": "dart_uniform", "trials": 8, "max_trials": 4}, ["max_trials", "4", "8"]),
        ({"name": "adastar", "alpha": "accuracy"}, ["method.alpha", "train_accuracy", "solved_share"]),
        ({"name": "adastar", "collect": "last"}, ["method.collect", "first", "all"]),
        ({"name": "star", "beta": "some"}, ["method.beta", "schedule", "full"]),
        ({"name": "rft", "distinct": "words"}, ["method.distinct", "by_task", "steps", "text", "none"]),
        ({"name": "star", "distinct": "text"}, ["method.distinct", "method.name is star"]),
        ({"name": "b_star", "temperatures": []}, ["temperatures"]),
        ({"name": "sai_dpo", "step_separators": [""]}, ["step_separators", "empty"]),
        ({"name": "hs_star", "budget": 2}, ["method.budget", "2", "pre_trials (3)"]),
    ],
)
def test_bad_options_are_refused(method, words):
    with pytest.raises(UserError) as error:
        config(**method)
    assert all(word in str(error.value) for word in words)


def test_every_method_is_configured_by_its_name():
    for name in METHODS:
        assert config(name=name).method_name == name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clusters": 21, "probe": 0.5}, ["method.clusters", "21", "20 queries"]),
        ({"clusters": 2, "probe": 0.01}, ["method.probe", "20 queries", "less than one"]),
    ],
)
def test_a_pool_too_small_for_sai_dpo_is_refused(options, words):
    module = importlib.import_module("dast_jax.methods.sai_dpo")
    with pytest.raises(UserError) as error:
        make_method(build(module.Options, options), make_pool(20), 0)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "name", ["dast", "sft", "rft", "dpo", "sai_dpo", "hs_star", "iterative_rpo", "b_star", "dart_warm"]
)
def test_data_without_solutions_is_refused_where_round_zero_needs_them(name):
    with pytest.raises(UserError, match="none of its 30 queries has a reference solution"):
        make(name, make_pool(30, solutions=[False] * 30))


@pytest.mark.parametrize("name", ["vrt", "star", "adastar", "dart_uniform", "rest_em"])
def test_the_others_do_without_solutions(name):
    pool = make_pool(30, solutions=[False] * 30)
    method = make(name, pool)
    assert len(run_rounds(method, rising(30), pool, 1)[1][0]) > 0
    assert method.exemplars(0, PromptKind.FEW_SHOT) == ()
