"""Whole runs on other data and other mesh layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dast_jax.evaluate import main as evaluate
from dast_jax.store.metrics_log import read_metrics
from dast_jax.train import main
from tests.integration.conftest import arguments, summary

SAMPLE = Path(__file__).parents[1] / "data" / "gsm8k_sample.jsonl"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "train.jsonl"


@pytest.mark.parametrize("source", [SAMPLE, SHARED], ids=["sample", "shared"])
def test_gsm8k_rows_go_through_the_whole_pipeline(tmp_path: Path, source: Path) -> None:
    if not source.exists():
        pytest.skip(f"{source} is not there: the real data sets are not part of the repository")
    run_dir = tmp_path / "run"
    overrides = (
        f"data.train={source}",
        f"evaluation.sets={{gsm8k: {SAMPLE}}}",
        "data.limit=8",
        "evaluation.limit=4",
        "sampling.prompt_buckets=[1024]",
        "sampling.max_new_tokens=16",
        "evaluation.max_new_tokens=16",
        "evaluation.length_probe=2",
        "evaluation.probe=2",
        "evaluation.probe_trials=1",
        "training.sequence_length=1024",
        "training.epochs=1",
    )
    if source is SAMPLE:  # one of the two trains adapters
        overrides += ("training.lora.rank=4", "training.learning_rate=1e-3")
    assert main(arguments(run_dir, *overrides)) == 0
    if source is SAMPLE:
        facts = json.loads((run_dir / "manifest.json").read_text())["facts"]
        assert facts["trained_parameters"] < facts["parameters"] / 10
        for round in ("00", "01"):
            kept = (run_dir / f"checkpoints/round_{round}").rglob("*")
            assert sum(f.stat().st_size for f in kept if f.is_file()) < facts["parameters"]  # 4 bytes each
    result = summary(run_dir)
    assert result["status"] == "finished"
    assert result["data"]["train"]["queries"] == 8
    for entry in result["rounds"]:
        assert entry["sampling"]["trials"] >= (40 if entry["round"] == 0 else 8)
        assert entry["training"]["skipped"] == 0
        assert entry["training"]["reference_examples"] >= 8
        assert np.isfinite(entry["training"]["final_loss"])
        assert entry["evaluation"]["gsm8k"]["n"] == 4
        assert (entry["probe"]["zero_shot"]["n"], entry["probe"]["few_shot"]["n"]) == (2, 2)
        assert entry["analysis"]["progress"]
    assert result["base"]["probe"]["trials"] == 1


def test_every_training_row_is_the_response_that_its_origin_names(finished_run: Path) -> None:
    sampled = {
        (row["query"], row["round"], row["trial"]): row["text"]
        for part in finished_run.glob("rounds/*/responses/part-*.parquet")
        for row in pq.read_table(part, partitioning=None).to_pylist()
    }
    rows = pq.read_table(finished_run / "rounds/01/train.parquet").to_pylist()
    own = [row for row in rows if not row["is_reference"]]
    assert own
    for row in own:
        assert sampled[row["query"], row["round"], row["trial"]] == row["text"]
        assert row["policy"] == f"M_{row['round']}"
    counts = pq.read_table(finished_run / "rounds/01/difficulty.parquet").to_pydict()
    assert sum(counts["own_rows"]) == len(own)
    assert sum(counts["reference_rows"]) == len(rows) - len(own)


def test_a_mesh_gives_the_same_losses_and_greedy_responses(finished_run: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "mesh"
    assert main(arguments(run_dir, "mesh.fsdp=2", "mesh.tensor=2", "run.rounds=0")) == 0
    assert summary(run_dir)["mesh"] == {"data": 1, "fsdp": 2, "tensor": 2}

    def losses(folder: Path) -> list[float]:
        lines = read_metrics(folder / "metrics.jsonl")
        return [line["loss"] for line in lines if line["stage"] == "train" and line["round"] == 0]

    def greedy(folder: Path, round: str) -> list[tuple[str, str]]:
        samples = json.loads((folder / "rounds" / round / "eval.json").read_text())["samples"]
        return [(row["id"], row["text"]) for row in samples]

    assert len(losses(run_dir)) == len(losses(finished_run)) > 0
    np.testing.assert_allclose(losses(run_dir), losses(finished_run), rtol=1e-5)
    for round in ("base", "00"):
        assert greedy(run_dir, round) == greedy(finished_run, round)


def test_evaluating_a_run_repeats_its_own_evaluation(finished_run: Path, tmp_path: Path, capsys) -> None:
    """`evaluate --run` samples the same responses, of any round, on all of the run's sets or one."""
    assert evaluate(["--run", str(finished_run), "--out", str(tmp_path / "m.json"), "round=0"]) == 0
    own = json.loads((finished_run / "rounds/00/eval.json").read_text())["sets"]
    shown = capsys.readouterr().out
    for name, expected in own.items():
        found = json.loads((tmp_path / f"m-{name}.json").read_text())
        assert f"{name}: accuracy" in shown
        for key in ("ids", "correct", "accuracy", "interval", "mean_length", "verdicts", "truncated"):
            assert found[key] == expected[key], (name, key)
    name = next(iter(own))
    one = ["--run", str(finished_run), "--data", name, "--out", str(tmp_path / "one.json")]
    assert evaluate([*one, "round=base", "evaluation.limit=3"]) == 0
    found = json.loads((tmp_path / "one.json").read_text())
    base = json.loads((finished_run / "rounds/base/eval.json").read_text())["sets"][name]
    assert found["correct"] == base["correct"][:3]
    assert found["model"] == f"{finished_run}, M_0"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--run", "{tmp}"], "is no run directory (it has no config.yaml)"),
        (["--run", "{run}", "--model", "m"], "--model: is that of the run; give --run or --model"),
        (
            ["--run", "{run}", "--config", "quickstart"],
            "--config: is that of the run; give --run",
        ),
        (["--run", "{run}", "round=7"], "round 7 has not been trained; choose one of 0, 1"),
        (
            ["--run", "{run}", "round=worst"],
            "round: expected a number from 0, or last, best, base",
        ),
        (["--run", "{run}", "--data", "nope"], "nope: no such data file"),
        (["--model", "m", "--data", "d", "round=1"], "round: is that of a run; name the run with --run"),
    ],
)
def test_mistakes_in_evaluating_a_run_are_named(given, said, finished_run, tmp_path, capsys) -> None:
    assert evaluate([text.format(run=finished_run, tmp=tmp_path) for text in given]) == 2
    assert said in capsys.readouterr().err
