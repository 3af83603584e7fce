"""Studies: reading, running and resuming them, what their runs share, what is made of the results."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
from rich.console import Console

from dast_jax import compare as face
from dast_jax.config import packaged_configs, study_path
from dast_jax.errors import UserError
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops
from dast_jax.options import load_yaml
from dast_jax.records import FinishReason, Rollout, Verdict, VerdictKind
from dast_jax.reporting.study_page import render_comparison
from dast_jax.reporting.study_tables import print_comparison
from dast_jax.reporting.terminal import WIDTH
from dast_jax.store.comparison_results import Comparison, MissingRun, Target
from dast_jax.store.results import (
    BaseResult,
    DataFacts,
    EvalEntry,
    RoundFlops,
    RoundResult,
    RoundSeconds,
    SamplingResult,
    Summary,
    Total,
    TrainingResult,
    TrainingSource,
    VerdictCounts,
    Work,
)
from dast_jax.study.results import RunResult, compare, load_result
from dast_jax.study.runner import build_study, run_directory
from dast_jax.study.sharing import Shared, SharedTrials, base_fingerprint
from tests.helpers_fake_run import make_run
from tests.integration.conftest import SMALL, weights
from tests.reporting.test_report import Page

SMALL_STUDY = {
    "name": "small",
    "base": "quickstart",
    "seeds": [0, 1],
    "baselines": ["dast_p"],
    "entries": [
        {"label": "dast", "method": {"trials": 5, "max_trials": 6}},
        {"label": "dast_p", "method": {"trials": 5, "max_trials": 6, "length": False}},
    ],
}
OVERRIDES = [*(o for o in SMALL if not o.startswith("method.")), "evaluation.length_probe=0"]


# --- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(packaged_configs("studies")))
def test_packaged_studies_are_valid(name: str, tmp_path: Path) -> None:
    study = build_study(load_yaml(study_path(f"configs/studies/{name}.yaml")))
    assert study_path(name) == study_path(f"studies/{name}")
    for one in (study, study.shortened()):
        for entry in one.entries:
            for seed in one.options.seeds:
                one.config(entry, seed, tmp_path)
    assert build_study(study.plain) == study


def test_quickstart_study_has_what_was_promised() -> None:
    study = build_study(load_yaml(study_path("quickstart")))
    methods = {entry.settings["method"]["name"] for entry in study.entries}
    wanted = "sft rft dast dpo vrt dart_uniform dart_prop2diff sai_dpo adastar star_acc"
    assert methods >= set(wanted.split())
    assert {"dast_s", "dast_p", "dast_l", "dast_d"} <= {entry.label for entry in study.entries}
    assert len(study.options.seeds) == 3


def change(**changes: Any) -> dict[str, Any]:
    return {**SMALL_STUDY, **changes}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (change(seed=[0]), "^seed: unknown key of a study; did you mean seeds"),
        (change(entries=[]), "^entries: expected a list"),
        (change(entries=[{"method": {"name": "sft"}}]), r"^entries\[0\]: expected a section with `label`"),
        (change(entries=[{"label": "../x"}]), r"^entries\[0\].label: '../x' is to name a folder"),
        (
            change(entries=[{"label": "dast_p"}, {"label": "dast_p"}]),
            r"^entries\[1\].label: there are two entries 'dast_p'",
        ),
        (
            change(entries=[{"label": "dast_p", "trainin": {}}]),
            "^entry dast_p: trainin: unknown key; did you mean training",
        ),
        (change(baselines=["dastp"]), "^baselines: there is no entry 'dastp'; did you mean dast_p"),
        (change(seeds=[1, 1]), "^seeds: expected different seeds"),
        (change(quick={"entries": ["sft"]}), "^quick.entries: there is no entry 'sft'"),
        (change(quick={"entry": ["sft"]}), "^quick.entry: unknown key; did you mean entries"),
        (change(settings={"run": {"seed": 3}}), "^settings: run.seed is the study's own"),
        (change(evaluatio={"limit": 3}), "^evaluatio: unknown key of a study; did you mean evaluation"),
        (change(base=None), "^base: "),
    ],
)
def test_a_bad_study_is_told_in_one_sentence(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_study(mapping)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"method": {"name": "dart_unifrom"}},
            "entry x: method.name: there is no method 'dart_unifrom'; did",
        ),
        ({"method": {"name": "sft", "trials": 3}}, "entry x: method.trials: is an option of"),
        ({"training": {"epoch": 3}}, "entry x: training.epoch: unknown key; did you mean training.epochs"),
    ],
)
def test_a_bad_entry_is_told_before_anything_runs(
    entry: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "study.json"
    config.write_text(json.dumps(change(entries=[{"label": "dast_p"}, {"label": "x", **entry}])))
    assert face.main(["--config", str(config), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_settings_are_laid_over_each_other_in_order(tmp_path: Path) -> None:
    mapping = change(
        settings={"training": {"epochs": 3, "batch_size": 7}, "evaluation": {"limit": 33}},
        entries=[
            {"label": "dast_p", "method": {"length": False}, "training": {"batch_size": 5}},
            {"label": "sft", "method": {"name": "sft"}},
        ],
        quick={"seeds": [4], "entries": ["sft"], "settings": {"evaluation": {"limit": 11}}},
        training={"clip_norm": 0.5},
    )
    study = build_study(mapping)
    config = study.config(study.entries[0], 1, tmp_path)
    assert (config.training.epochs, config.training.batch_size, config.training.clip_norm) == (3, 5, 0.5)
    assert config.method.base_quota == 2  # the base config's: the same method
    assert config.run.dir == str(tmp_path / "runs" / "dast_p-s1")
    assert config.run.seed == 1
    quick = study.shortened()
    assert [e.label for e in quick.entries] == ["sft"]  # another method: nothing left of the base's options
    assert quick.options.seeds == (4,)
    assert quick.options.baselines == ()
    assert quick.options.name == "small-quick"
    limits = [s.config(s.entries[0], 4, tmp_path).evaluation.limit for s in (study, quick)]
    assert limits == [33, 11]


# --- statistics -------------------------------------------------------------------------------------


def test_student_interval_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 30):
        values = rng.uniform(0.4, 0.6, n)
        ours = stats.seed_interval(values)
        theirs = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
        assert ours == pytest.approx(np.clip(theirs, 0, 1), rel=1e-9)
    assert stats.seed_interval([0.5]) is None
    assert stats.seed_interval([0.5, 0.5]) == (0.5, 0.5)


def evaluated(correct: list[int]) -> dict[str, EvalEntry]:
    """The evaluation of set `t`, from its questions' outcomes."""
    wrong = len(correct) - sum(correct)
    entry = EvalEntry(
        **vars(stats.accuracy_entry(correct)),
        by_level=stats.by_level(correct, 1, ["1", "2"] * (len(correct) // 2)),
        verdicts=VerdictCounts(correct=sum(correct), incorrect=wrong, no_answer=0, timed_out=0),
        truncated=0,
        mean_length=3.0,
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
        data=DataFacts(train=TrainingSource(source="d", queries=4, skipped=()), evaluation={}),
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
    names = [f"sai_dpo_{i}" for i in range(5)]
    results = [
        hand_made(name, seed, [([0, 1, 0, 1], 100_000), ([1, 1, 1 - seed, i % 2], 3_000_000)], BASE)
        for i, name in enumerate(names)
        for seed in (0, 1)
    ]
    found = compare(results, name="wide", labels=[*names, "none"], seeds=[0, 1], baselines=names[1:])
    console = Console(file=io.StringIO(), width=WIDTH)
    print_comparison(found, console=console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for phrase in ("87.5", "− sai_dpo_4", "at matched training tokens", "3.1 M", "missing: none, seed 1"):
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
    assert "highest after the last round is a with 87.5 %, from 25.0 %; +37.5 points over b" in page.words
    assert "not reached" in Page(render_comparison(compared(baselines=["a"]))).words
    assert not [v for _, attrs in page.tags for a, v in attrs.items() if a in ("src", "href")]
    assert evil not in html
    empty = compare([], name="x", labels=["a"], seeds=[0], baselines=[])
    assert "a, seed 0: not finished" in Page(render_comparison(empty)).words


# --- sharing ----------------------------------------------------------------------------------------


def test_shared_trials_are_found_by_prompt_and_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "trials.parquet"
    rollout = Rollout(
        query=3,
        trial=1,
        kind=1,
        text="1+1=2",
        tokens=(4, 5, 2),
        logprob=-0.1 - 0.2,
        entropy=1 / 3,
        finish_reason=FinishReason.EOS,
    )
    verdict = Verdict(VerdictKind.CORRECT, "2", "same")
    trials = SharedTrials(path)
    trials.keep(rollout, verdict, (7, 8), None)
    trials.keep(rollout, Verdict(VerdictKind.INCORRECT), (7, 8), None)  # the first one stays
    trials.save()
    again = SharedTrials(path)
    assert again.find(3, 1, [7, 8], None) == (rollout, verdict)
    assert again.find(3, 1, [7, 9], None) is None
    assert again.find(3, 2, [7, 8], None) is None
    assert again.find(3, 1, [7, 8], 0.7) is None


def results_of(run_dir: Path, *rounds: int) -> dict[str, Any]:
    """Everything that a run's method and seed decide, in comparable form."""
    found: dict[str, Any] = {}
    for name in ("base", *(f"{r:02d}" for r in rounds)):
        found[f"{name}/eval"] = json.loads((run_dir / "rounds" / name / "eval.json").read_text())
    for r in rounds:
        parts = sorted((run_dir / "rounds" / f"{r:02d}" / "responses").glob("part-*.parquet"))
        rows = [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]
        found[f"{r}/responses"] = sorted(rows, key=lambda row: (row["query"], row["trial"]))
        found[f"{r}/weights"] = {k: v.tobytes() for k, v in weights(run_dir, r).items()}
    summary = json.loads((run_dir / "summary.json").read_text())
    for entry in summary["rounds"]:
        entry.pop("seconds")
        entry["training"].pop("seconds")
    found["rounds"] = summary["rounds"]
    found["base flops"] = summary["base"]["flops"]
    return found


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study, run from beginning to end; returns its folder."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(json.dumps(SMALL_STUDY))
    assert run_face(folder) == 0
    return folder / "out"


def run_face(folder: Path) -> int:
    return face.main(["--config", str(folder / "study.yaml"), "--out", str(folder / "out"), *OVERRIDES])


def config_of(out: Path, label: str, seed: int, **method: Any) -> Any:
    mapping = {**SMALL_STUDY, "entries": [dict(e) for e in SMALL_STUDY["entries"]]}  # type: ignore[attr-defined]
    for entry in mapping["entries"]:
        entry["method"] = {**entry["method"], **method}
    from dast_jax.options import apply_overrides

    study = build_study(apply_overrides(mapping, OVERRIDES))
    return study.config(next(e for e in study.entries if e.label == label), seed, out)


def test_a_study_ends_with_a_comparison_of_ordinary_runs(
    small_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads((small_study / "comparison.json").read_text())
    assert (found["schema"], found["status"]) == ("dast_jax.comparison/2", "finished")
    assert found["sets"] == ["in_domain", "out_of_domain"]
    assert {label: entry["seeds"] for label, entry in found["entries"].items()} == {
        "dast": [0, 1],
        "dast_p": [0, 1],
    }
    for label, entry in found["entries"].items():
        accuracies = [
            json.loads((run_directory(small_study, label, seed) / "summary.json").read_text())["rounds"][-1][
                "evaluation"
            ]["in_domain"]["accuracy"]
            for seed in (0, 1)
        ]
        assert entry["rounds"][-1]["evaluation"]["in_domain"]["by_seed"] == accuracies
    assert (small_study / "comparison.html").stat().st_size > 10_000


def test_sharing_changes_no_bit(small_study: Path, tmp_path: Path) -> None:
    """The entry that took over M_0's evaluation and trials against the same run on its own."""
    from dast_jax.loop.selftrain import run

    shared = run_directory(small_study, "dast_p", 1)
    stages = {s["name"]: s for s in json.loads((shared / "manifest.json").read_text())["stages"]}
    assert stages["base/evaluate"]["shared_from"] == "dast-s1"
    alone = config_of(tmp_path, "dast_p", 1)
    run(alone)
    ours, theirs = results_of(shared, 0, 1), results_of(Path(alone.run.dir), 0, 1)
    for key in theirs:
        assert ours[key] == theirs[key], key


def test_trials_are_lent_and_other_prompts_are_not(small_study: Path, tmp_path: Path) -> None:
    """With other exemplars a (query, trial) is another trial; with the same ones it is taken over."""
    from dast_jax.loop.selftrain import run

    class Counting(SharedTrials):
        lent = 0

        def find(self, *args: Any) -> Any:
            found = super().find(*args)
            self.lent += found is not None
            return found

    few = config_of(tmp_path / "alone", "dast", 0, exemplars=2)
    path = small_study / "shared" / f"trials-{base_fingerprint(few)}.parquet"
    assert path.exists()
    run(few)
    trials = Counting(path)
    before = len(trials)
    assert before >= 16 * 5
    mixed = config_of(tmp_path / "shared", "dast", 0, exemplars=2)
    shutil.copy(path, tmp_path / "trials.parquet")
    trials = Counting(tmp_path / "trials.parquet")
    engines: dict[Any, Any] = {}
    run(mixed, Shared(trials=trials, engines=engines))
    assert trials.lent == 0
    assert len(trials) > before
    ours, theirs = results_of(Path(mixed.run.dir), 0, 1), results_of(Path(few.run.dir), 0, 1)
    for key in theirs:
        assert ours[key] == theirs[key], key
    compiled = [engine.compilations() for engine in engines.values()]
    same = config_of(tmp_path / "same", "dast", 0)
    run(same, Shared(trials=trials, engines=engines))
    assert trials.lent >= 16 * 5
    assert [engine.compilations() for engine in engines.values()] == compiled  # the programs were reused
    ours, theirs = (
        results_of(Path(same.run.dir), 0, 1),
        results_of(run_directory(small_study, "dast", 0), 0, 1),
    )
    for key in theirs:
        assert ours[key] == theirs[key], key


def test_a_deleted_run_is_made_again_and_nothing_else(
    small_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(small_study.parent, folder)
    out = folder / "out"
    before = json.loads((out / "comparison.json").read_text())
    kept = [run_directory(out, *name) for name in (("dast", 0), ("dast", 1), ("dast_p", 0))]
    marks = [(d / "summary.json").read_bytes() for d in kept]
    lost = run_directory(out, "dast_p", 1)
    expected = results_of(lost, 0, 1)
    shutil.rmtree(lost)
    (out / "comparison.json").unlink()
    assert run_face(folder) == 0
    assert [(d / "summary.json").read_bytes() for d in kept] == marks
    again = results_of(lost, 0, 1)
    for key in expected:
        assert again[key] == expected[key], key
    after = json.loads((out / "comparison.json").read_text())
    for found in (before, after):
        for entry in found["entries"].values():
            entry.pop("seconds")
    assert after == before
    assert "dast_p" in capsys.readouterr().out


def test_a_changed_study_in_the_same_folder_is_refused(
    small_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(small_study.parent / "study.yaml"), "--out", str(small_study), *OVERRIDES]
    assert face.main([*arguments, "training.learning_rate=0.1"]) == 2
    error = capsys.readouterr().err
    assert "entry dast, seed 0:" in error
    assert "training.learning_rate" in error
