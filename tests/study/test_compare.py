"""Studies: running and resuming them, and what their runs share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dast_jax.compare import main as compare_command
from dast_jax.store.trial_cache import TrialCache
from dast_jax.study.definition import build_study, run_directory
from dast_jax.study.sharing import base_fingerprint, sharing_tools
from tests.integration.conftest import weights
from tests.study.small_study import OVERRIDES, SMALL_STUDY


def results_of(run_dir: Path, *rounds: int) -> dict[str, Any]:
    """Everything that is determined by a run's method and seed, in comparable form."""
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
        entry["training"].pop("speed")
        entry["sampling"].pop("speed")
    found["rounds"] = summary["rounds"]
    found["base flops"] = summary["base"]["flops"]
    return found


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study, run from beginning to end; returns its folder."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(json.dumps(SMALL_STUDY))
    assert run_command(folder) == 0
    return folder / "out"


def run_command(folder: Path, *flags: str) -> int:
    config, out = str(folder / "study.yaml"), str(folder / "out")
    return compare_command(["--config", config, "--out", out, *flags, *OVERRIDES])


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
    assert (found["schema"], found["status"]) == ("dast_jax.comparison/5", "finished")
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


def test_gates_of_the_small_study(small_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Levels by every other trial of twice the study's five; what it has no entry for is not measured."""
    manifests = {path: path.read_bytes() for path in small_study.glob("runs/*/manifest.json")}
    assert run_command(small_study.parent, "--gates") == 0
    printed = capsys.readouterr().out
    gates = {gate["name"]: gate for gate in json.loads((small_study / "gates.json").read_text())["gates"]}
    assert len(gates) == 10
    assert [name for name, gate in gates.items() if gate["passed"] is None] == [
        "length after round 0 of sft, % off M_0",
        "length after round 0 of rft, % off M_0",
        "SD of sft over 5 seeds, points",
        "pass rate, few-shot against zero-shot, points",  # evaluation.probe=0 is set for every run
        "false positives among the correct responses of rft, %",
        "points that rft leaves on the hard strata",
    ]
    counts = gates["counts of correct trials that are hard"]
    assert (counts["value"], counts["passed"], counts["note"]) == (1.0, False, "1 of 5")
    rows = [
        row
        for part in (small_study / "gates" / "runs" / "estimate-s0").glob(
            "rounds/00/responses/part-*.parquet"
        )
        for row in pq.read_table(part, partitioning=None).to_pylist()
    ]
    assert len(rows) == 16 * 10
    sides = []
    for odd in (0, 1):
        right = [
            sum(r["verdict"] == "correct" for r in rows if r["query"] == q and r["trial"] % 2 == odd)
            for q in sorted({r["query"] for r in rows})
        ]
        sides.append(["UHMMEE"[count] for count in right])
    hard = [[level == "H" for level in side] for side in sides]
    both, either = sum(map(all, zip(*hard, strict=True))), sum(map(sum, hard))
    again = gates["hard queries that are hard again, %"]
    assert again["value"] == (pytest.approx(200 * both / either) if either else None)
    assert "miss" in printed
    assert printed.split().count("measured") == 6, "not measured, perhaps over two lines"
    assert {path: path.read_bytes() for path in manifests} == manifests


def test_sharing_changes_no_bit(small_study: Path, tmp_path: Path) -> None:
    """The entry that shares M_0's evaluation and trials against the same run outside a study."""
    from dast_jax.loop.selftrain import run

    shared = run_directory(small_study, "dast_p", 1)
    stages = {s["name"]: s for s in json.loads((shared / "manifest.json").read_text())["stages"]}
    assert stages["base/evaluate"]["shared_from"] == "dast-s1"
    alone = config_of(tmp_path, "dast_p", 1)
    run(alone)
    ours, theirs = results_of(shared, 0, 1), results_of(Path(alone.run.dir), 0, 1)
    for key in theirs:
        assert ours[key] == theirs[key], key


def test_trials_are_found_again_and_those_of_other_prompts_are_not(small_study: Path, tmp_path: Path) -> None:
    """With other exemplars a (query, trial) is another trial; with the same ones it comes from the cache."""
    from dast_jax.loop.selftrain import run

    class Counting(TrialCache):
        found = 0

        def get(self, *args: Any) -> Any:
            trial = super().get(*args)
            self.found += trial is not None
            return trial

    few = config_of(tmp_path / "alone", "dast", 0, exemplars=2)
    path = small_study / "shared" / f"trials-{base_fingerprint(few)}.parquet"
    assert path.exists()
    run(few)
    trials = Counting(path)
    before = len(trials)
    assert before >= 16 * 5
    mixed = config_of(tmp_path / "shared", "dast", 0, exemplars=2)
    for suffix in ("", ".sha256"):
        shutil.copy(f"{path}{suffix}", tmp_path / f"trials.parquet{suffix}")
    trials = Counting(tmp_path / "trials.parquet")
    engines: dict[Any, Any] = {}
    run(mixed, tools=sharing_tools(mixed, trials, engines))
    assert trials.found == 0
    assert len(trials) > before
    ours, theirs = results_of(Path(mixed.run.dir), 0, 1), results_of(Path(few.run.dir), 0, 1)
    for key in theirs:
        assert ours[key] == theirs[key], key
    compiled = [engine.compilations() for engine in engines.values()]
    same = config_of(tmp_path / "same", "dast", 0)
    run(same, tools=sharing_tools(same, trials, engines))
    assert trials.found >= 16 * 5
    assert [engine.compilations() for engine in engines.values()] == compiled  # the programs were reused
    ours, theirs = (
        results_of(Path(same.run.dir), 0, 1),
        results_of(run_directory(small_study, "dast", 0), 0, 1),
    )
    for key in theirs:
        assert ours[key] == theirs[key], key


def test_a_deleted_run_is_run_again_and_nothing_else(
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
    assert run_command(folder) == 0
    assert [(d / "summary.json").read_bytes() for d in kept] == marks
    again = results_of(lost, 0, 1)
    for key in expected:
        assert again[key] == expected[key], key
    after = json.loads((out / "comparison.json").read_text())
    for found in (before, after):
        found.pop("digest")  # the times are part of it
        for entry in found["entries"].values():
            entry.pop("seconds")
    assert after == before
    assert "dast_p" in capsys.readouterr().out


def test_a_changed_study_in_the_same_folder_is_refused(
    small_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(small_study.parent / "study.yaml"), "--out", str(small_study), *OVERRIDES]
    assert compare_command([*arguments, "training.learning_rate=0.1"]) == 2
    error = capsys.readouterr().err
    assert "entry dast, seed 0:" in error
    assert "training.learning_rate" in error
