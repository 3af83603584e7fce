"""The results of a study: statistics, the comparison, its tables and its page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dast_jax.errors import UserError
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops
from dast_jax.reporting.findings import TIED, cut_points, findings
from dast_jax.reporting.study_page import render_comparison
from dast_jax.reporting.study_tables import print_comparison
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.comparison_results import Comparison, MissingRun, Target
from dast_jax.store.evaluation_results import EvalEntry, VerdictCounts
from dast_jax.store.results import (
    BaseResult,
    DataFacts,
    LevelShares,
    RoundFlops,
    RoundResult,
    RoundSeconds,
    SamplingResult,
    Summary,
    Total,
    TrainingResult,
    TrainingSource,
    Work,
)
from dast_jax.study.results import RunResult, compare, load_result
from tests.helpers_fake_run import make_run
from tests.helpers_tables import check_fits
from tests.reporting.test_report import Page


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (30, 2.045)])
def test_student_interval(n: int, quantile: float) -> None:
    """The quantiles are those of the printed tables, 0.975 for n − 1 degrees of freedom."""
    values = np.random.default_rng(n).uniform(0.49, 0.51, n)
    low, high = stats.seed_interval(values)
    mean, error = values.mean(), np.sqrt(((values - values.mean()) ** 2).sum() / (n - 1) / n)
    assert (low, high) == pytest.approx((mean - quantile * error, mean + quantile * error), abs=1e-5)


def test_an_interval_over_seeds_needs_two() -> None:
    assert stats.seed_interval([0.5]) is None
    assert stats.seed_interval([0.5, 0.5]) == (0.5, 0.5)
    assert stats.seed_interval([0.0, 1.0]) == (0.0, 1.0)


def evaluated(correct: list[int]) -> dict[str, EvalEntry]:
    """The evaluation of set `t`, from its questions' outcomes."""
    wrong = len(correct) - sum(correct)
    entry = EvalEntry(
        **vars(stats.accuracy_entry(correct)),
        by_level={
            level: LevelAccuracy(**vars(entry), mean_length=5.0)
            for level, entry in stats.by_level(correct, 1, ["1", "2"] * (len(correct) // 2)).items()
        },
        verdicts=VerdictCounts(correct=sum(correct), incorrect=wrong, no_answer=0, timed_out=0),
        truncated=0,
        mean_length=3.0 + 10 * sum(correct),
        trials=1,
        pass_at={},
        majority_at={},
    )
    return {"t": entry}


def rounds_of(rounds: list[tuple[list[int], int]]) -> tuple[RoundResult, ...]:
    """A summary's rounds, from each round's correct questions and its trained tokens."""
    work, found = Work(), []
    for r, (correct, tokens) in enumerate(rounds):
        sampled, trained = Flops(useful=1, padded=2), Flops(useful=tokens, padded=2 * tokens)
        work = Work(
            sampled_tokens=work.sampled_tokens + 10,
            trained_tokens=work.trained_tokens + tokens,
            flops=work.flops + sampled + trained,
        )
        found.append(
            RoundResult(
                round=r,
                evaluation=evaluated(correct),
                paired={},
                sampling=SamplingResult(
                    trials=4,
                    correct=4,
                    incorrect=0,
                    no_answer=0,
                    timed_out=0,
                    truncated=0,
                    tokens=10,
                    mean_length_by_level={},
                    notes={},
                ),
                training=TrainingResult(tokens=tokens),
                level_shares=None,
                shortfall={},
                method={},
                length_ratio=None,
                seconds=RoundSeconds(sample=1.0, build=0.0, train=1.0, evaluate=1.0),
                flops=RoundFlops(sample=sampled, train=trained, evaluate=Flops(useful=1e9, padded=1e9)),
                cumulative=work,
            )
        )
    return tuple(found)


def hand_made(label: str, seed: int, rounds: list[tuple[list[int], int]], base: list[int]) -> RunResult:
    """A run from each round's correct questions (0 or 1 each) and its trained tokens."""

    def scores(correct: list[int]) -> dict[str, dict[str, float]]:
        return {"t": {f"q{i}": float(c) for i, c in enumerate(correct)}}

    nothing = Flops()
    summary = Summary(
        status="finished",
        name=label,
        method={"name": label},
        seed=seed,
        model="m",
        parameters=7,
        mesh={},
        data=DataFacts(train=TrainingSource(source="d", queries=4, skipped=(), digest="d"), evaluation={}),
        versions={},
        device="1 x cpu",
        base=BaseResult(evaluation=evaluated(base), length_ratio=None, seconds=1.0, flops=nothing),
        rounds=rounds_of(rounds),
        total=Total(seconds=5.0, flops=nothing, peak_memory_gib=1.0),
        warnings=(),
    )
    found: dict[int | None, Mapping[str, Any]] = {None: scores(base)}
    found |= {r: scores(correct) for r, (correct, _) in enumerate(rounds)}
    return RunResult(label=label, seed=seed, summary=summary, scores=found)


BASE = [0, 0, 0, 1]


def compared(**changes: Any) -> Comparison:
    """`a` beats `b` on two questions of four with seed 0 and on one with seed 1, on over twice the tokens."""
    results = [
        hand_made("a", 0, [([0, 1, 0, 1], 100), ([1, 1, 1, 1], 300)], BASE),
        hand_made("a", 1, [([0, 1, 0, 1], 120), ([1, 1, 1, 0], 280)], BASE),
        hand_made("b", 0, [([0, 1, 0, 1], 90), ([1, 1, 0, 0], 70)], BASE),
        hand_made("b", 1, [([0, 1, 1, 1], 90), ([1, 1, 0, 0], 70)], BASE),
    ]
    options: dict[str, Any] = {"name": "hand", "labels": ["a", "b"], "seeds": [0, 1], "baselines": ["b"]}
    return compare(results, **{**options, **changes})


def test_accuracy_is_a_mean_over_seeds_with_its_interval() -> None:
    found = compared()
    cell = found.entries["a"].rounds[1].evaluation["t"]
    assert cell.by_seed == (1.0, 0.75)
    assert cell.accuracy == 0.875
    half = 12.706204736 * np.std([1, 0.75], ddof=1) / np.sqrt(2)
    assert cell.interval == pytest.approx((max(0.0, 0.875 - half), 1.0), abs=1e-6)
    assert {level: by.accuracy for level, by in cell.by_level.items()} == {"1": 1.0, "2": 0.75}
    assert found.base["t"].accuracy == 0.25
    assert found.base["t"].by_seed == (0.25, 0.25)
    assert found.status == "finished"


def test_work_is_cumulative_and_leaves_evaluation_out() -> None:
    rounds = compared().entries["a"].rounds
    assert [r.cumulative.trained_tokens for r in rounds] == [110, 400]
    assert [r.cumulative.sampled_tokens for r in rounds] == [10, 20]
    assert rounds[1].cumulative.flops == Flops(useful=402, padded=804)


def test_differences_are_paired_by_question_and_pooled_over_seeds() -> None:
    found = compared().differences["b"]["a"]["t"]
    # Per question, the mean over seeds of a - b: 0, 0, (1 + 1) / 2, (1 + 0) / 2.
    assert found.difference == pytest.approx((0 + 0 + 1 + 0.5) / 4)
    assert found.by_seed == (0.5, 0.25)
    expected = stats.paired_difference([0, 0, 1, 0.5], [0, 0, 0, 0]).interval
    assert found.interval_questions == expected
    low, high = found.interval  # seeds differ too
    assert low <= expected[0] < expected[1] < high
    assert found.n == 4


def test_matched_tokens_take_the_nearest_rounds() -> None:
    # b trained on 160 tokens in all. a: 100 or 400, and 120 or 400: its round 0 is nearer both times.
    found = compared().matched["b"]["a"]["t"]
    assert found.rounds == ((0, 1), (0, 1))
    assert found.trained_tokens == (110.0, 160.0)
    assert found.by_seed == (0.0, 0.0)


def test_rounds_too_far_apart_are_not_matched() -> None:
    """The budget is 100; of the other's 20 and 320 tokens neither is about as many."""
    few = [hand_made("a", seed, [(BASE, 100)], BASE) for seed in (0, 1)]
    many = [hand_made("b", seed, [(BASE, 20), (BASE, 300)], BASE) for seed in (0, 1)]
    found = compare([*few, *many], name="hand", labels=["a", "b"], seeds=[0, 1], baselines=["b"])
    assert found.matched["b"]["a"] == {}
    assert found.differences["b"]["a"]["t"].difference == 0


def test_work_to_the_strongest_baselines_best() -> None:
    found = compared()
    # b's best round is round 0, mean of 0.5 and 0.75; a reaches that only in round 1.
    assert found.targets["t"] == Target(baseline="b", round=0, accuracy=0.625)
    reached = found.to_target["t"]
    assert reached["a"].round == 1
    assert reached["a"].flops.useful == 402
    assert reached["b"].round == 0
    harder = compared(baselines=["a"]).to_target["t"]
    assert harder["a"].round == 1
    assert harder["b"] is None


def test_missing_runs_are_named_and_seeds_pair_up() -> None:
    found = compared(labels=["a", "b", "c"], seeds=[0, 1, 2], diverged={("c", 0): "training diverged"})
    assert MissingRun(label="c", seed=0, why="training diverged") in found.missing
    assert MissingRun(label="a", seed=2, why="not finished") in found.missing
    assert found.status == "running"
    assert list(found.entries) == ["a", "b"]
    assert compare([], name="x", labels=["a"], seeds=[0], baselines=["a"]).entries == {}


def test_tables_fit_80_columns_and_hold_the_numbers() -> None:
    names = [f"dart_prop2diff_{i}" for i in range(5)]
    results = [
        hand_made(name, seed, [([0, 1, 0, 1], 100_000), ([1, 1, 1 - seed, i % 2], 3_000_000)], BASE)
        for i, name in enumerate(names)
        for seed in (0, 1)
    ]
    found = compare(results, name="wide", labels=[*names, "none"], seeds=[0, 1], baselines=names[1:])
    lines = check_fits(print_comparison, found).splitlines()
    for phrase in (
        "87.5",
        "dart_prop2diff_4",
        "at matched training tokens",
        "3.1 M",
        "missing: none, seed 1",
        "38.0",
    ):
        assert any(phrase in line for line in lines), phrase


def test_a_finished_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert load_result(run, "dast", 0).summary.rounds  # type: ignore[union-attr]
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "schema": "dast_jax.summary/1"}))
    with pytest.raises(UserError, match=r"summary\.json: its schema is 'dast_jax\.summary/1'"):
        load_result(run, "dast", 0)


def test_page_holds_the_numbers_and_no_script(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    found = compared(name=f"hand{evil}")
    page = Page(html := render_comparison(found))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "87.5 %" in page.words
    assert (
        "highest after the last round is a with 87.5 % (38.0 tokens a response), "
        "from 25.0 % (13.0 tokens a response); +37.5 points over b"
    ) in page.words
    assert "100.0] · 38.0 tokens" in page.words
    assert "not reached" in Page(render_comparison(compared(baselines=["a"]))).words
    links = [v for _, attrs in page.tags for a, v in attrs.items() if a in ("src", "href")]
    assert links
    assert all(link.startswith("data:text/csv;") for link in links), "the charts' numbers, within the page"
    assert evil not in html
    empty = compare([], name="x", labels=["a"], seeds=[0], baselines=[])
    assert "a, seed 0: not finished" in Page(render_comparison(empty)).words


def test_ties_and_entries_that_do_not_beat_the_base_are_named() -> None:
    """Over forty questions, of which M_0 solves twenty: `good` gains all others, `even` trades as many."""
    base, even = [1] * 20 + [0] * 20, [1, 0] * 20
    good, near = [1] * 40, [1] * 39 + [0]
    by_label = {"good": good, "near": near, "even": even, "bad": [0] * 40}

    def found(*labels: str) -> Comparison:
        results = [
            hand_made(label, seed, [(by_label[label], 100)], base) for label in labels for seed in (0, 1)
        ]
        return compare(results, name="x", labels=labels, seeds=[0, 1], baselines=[])

    def said(comparison: Comparison) -> list[str]:
        return [finding.replace("\u202f", " ") for finding in findings(comparison)]

    every = found(*by_label)
    assert every.best == {"t": ("good", "near")}
    assert every.over_base["good"]["t"].difference == 0.5
    assert every.over_base["even"]["t"].difference == 0.0
    assert said(every) == [
        "t: highest is good (100.0 %), tied with near.",
        "t: 2 of 4 entries beat the base (50.0 %): good, near; significantly below it: bad.",
    ]
    assert said(found("even", "bad")) == [
        "t: best is even (50.0 %), and its lead over every other entry is significant.",
        "t: nothing beats the base (50.0 %); significantly below it: bad.",
    ]
    assert said(found("good", "near")) == [
        "t: no entry is best: all 2 are tied, good (100.0 %) being the highest.",
        "t: every entry beats the base (50.0 %).",
    ]
    assert said(found("even")) == ["t: nothing beats the base (50.0 %)."]
    assert every.identical == ()
    shown = " ".join(check_fits(print_comparison, every).split())
    page = Page(render_comparison(every)).words.replace("\u202f", " ")
    for finding in (*said(every), TIED):
        assert finding in shown
        assert finding in page


def test_entries_with_identical_results_are_named() -> None:
    """Two entries of the same results on every question, with every seed, are probably one."""
    base, good, other = [1, 0] * 4, [1] * 8, [0, 1] * 4
    ends = {
        "a": {0: (good, 100), 1: (other, 100)},
        "same": {0: (good, 100), 1: (other, 100)},
        "longer": {0: (good, 100), 1: (other, 101)},
        "swapped": {0: (other, 100), 1: (good, 100)},
        "shorter": {0: (good, 100)},
    }
    results = [
        hand_made(label, seed, [end], base)
        for label, by_seed in ends.items()
        for seed, end in by_seed.items()
    ]
    found = compare(results, name="x", labels=list(ends), seeds=[0, 1], baselines=[])
    assert found.identical == (("a", "same"),)
    said = "a and same have identical results on every question and seed: check that their settings differ."
    assert findings(found)[-1] == said
    assert said in " ".join(check_fits(print_comparison, found).split())


def test_different_cut_points_of_levels_are_named() -> None:
    """Levels of one entry cannot be compared with another's that are cut elsewhere."""

    def with_cuts(**methods: dict[str, Any]) -> Comparison:
        shares = LevelShares(before={"easy": 1.0}, after={"easy": 1.0})
        results = []
        for label, method in methods.items():
            made = hand_made(label, 0, [([1, 0] * 4, 100)], [1, 0] * 4)
            rounds = tuple(dataclasses.replace(r, level_shares=shares) for r in made.summary.rounds)
            summary = dataclasses.replace(made.summary, method={"name": label, **method}, rounds=rounds)
            results.append(dataclasses.replace(made, summary=summary))
        return compare(results, name="x", labels=list(methods), seeds=[0], baselines=[])

    cuts = {"estimator": "sampled", "easy_cut": 0.7, "hard_cut": 0.4}
    several = with_cuts(rft={}, dast=cuts, ranked={**cuts, "estimator": "label"})
    said = (
        "Levels are cut at different pass rates: easy from 0.75, hard below 0.25 (rft); easy from 0.7, hard "
    )
    assert cut_points(several) == said + "below 0.4 (dast)."
    assert said in " ".join(check_fits(print_comparison, several).split())
    assert said in Page(render_comparison(several)).words
    assert cut_points(with_cuts(dast=cuts, ranked=cuts)) == ""
    assert "easy from auto" in cut_points(with_cuts(rft={}, custom={"easy_cut": "auto", "hard_cut": None}))
    assert cut_points(with_cuts(rft={}, dast={**cuts, "easy_cut": 0.75, "hard_cut": 0.25})) == ""
