"""A run that is killed and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import arguments, command, run_command, summary, weights

_PROCESSES = multiprocessing.get_context("forkserver")
_PRELOADED = [
    *(f"dast_jax.loop.{stage}" for stage in ("annotation", "build", "evaluation", "sampling", "training")),
    "dast_jax.reporting.report",
    "dast_jax.reporting.run_tables",
]
assert all(map(importlib.util.find_spec, _PRELOADED)), "the fork server passes over modules that are gone"
_PROCESSES.set_forkserver_preload(_PRELOADED)
"""Each attempt is a fresh process, forked from one that has done the imports: half of a start's time."""

STAGES = {
    "base/evaluate": "M_0: evaluating in_domain: started",
    "00/sample": "round 0: sampling: started",
    "00/build": "round 0: sampling: done",
    "00/train": "round 0: training: started",
    "00/evaluate": "round 0: evaluating in_domain: started",
    "01/sample": "round 1: sampling: started",
    "01/build": "round 1: sampling: done",
    "01/train": "round 1: training: started",
    "01/evaluate": "round 1: evaluating in_domain: started",
}
"""What the command prints as each stage begins."""


def _train(arguments: list[str], stderr: Path) -> None:
    descriptor = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from dast_jax.train import main

    sys.exit(main(arguments))


def _start(run_dir: Path, stderr: Path, *overrides: str) -> BaseProcess:
    process = _PROCESSES.Process(target=_train, args=(arguments(run_dir, *overrides), stderr))
    process.start()
    return process


def _wait_for(process: BaseProcess, stderr: Path, *texts: str) -> str | None:
    """The first of `texts` that the process has printed, waited for; None if it ended before."""
    while True:
        printed = stderr.read_text(errors="replace") if stderr.exists() else ""
        for text in texts:
            if text in printed:
                return text
        if not process.is_alive():
            return None
        time.sleep(0.01)


def _finished_stages(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "manifest.json").read_text())["stages"]


def _responses(run_dir: Path, round: int) -> list[tuple]:
    parts = sorted((run_dir / "rounds" / f"{round:02d}" / "responses").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]
    return sorted((r["query"], r["trial"], r["text"], *r["tokens"], r["logprob"], r["verdict"]) for r in rows)


def test_killed_in_every_stage_ends_in_the_same_bits(finished_run: Path, tmp_path: Path) -> None:
    seconds = {stage["name"]: stage["seconds"] for stage in _finished_stages(finished_run)}
    assert list(seconds) == list(STAGES)
    rng = random.Random(0)
    run_dir, stderr = tmp_path / "killed", tmp_path / "stderr"
    killed = []
    names = list(STAGES)
    for i, name in enumerate(names):
        stderr.unlink(missing_ok=True)
        process = _start(run_dir, stderr)
        # The last kill may have come after its stage was done; the process then begins with a later one.
        begun = _wait_for(process, stderr, *(STAGES[later] for later in names[i:]))
        if begun is None:
            pytest.fail(f"{name} never began: {stderr.read_text()}")
        process.join(rng.uniform(0, 0.7) * seconds[name])
        if process.is_alive():
            process.kill()
            process.join()
            killed.append(begun)
    assert len(killed) >= 8, f"only these stages were killed: {killed}"
    assert len(set(killed)) >= 6, f"the kills fell into too few stages: {killed}"
    process = _start(run_dir, stderr)
    process.join()
    assert process.exitcode == 0, stderr.read_text()
    for round in (0, 1):
        responses = _responses(run_dir, round)
        assert responses == _responses(finished_run, round)
        assert len({r[:2] for r in responses}) == len(responses)
        ours, unbroken = weights(run_dir, round), weights(finished_run, round)
        assert ours.keys() == unbroken.keys()
        for name in unbroken:
            np.testing.assert_array_equal(ours[name], unbroken[name], err_msg=name)
    for key in ("evaluation", "sampling", "level_shares", "paired", "length_ratio"):
        assert _untimed(run_dir, key) == _untimed(finished_run, key)


def _untimed(run_dir: Path, key: str) -> list[object]:
    """Return an entry of every round, without the speed."""
    entries = [entry[key] for entry in summary(run_dir)["rounds"]]
    return [{k: v for k, v in e.items() if k != "speed"} if isinstance(e, dict) else e for e in entries]


def test_a_finished_run_says_so_and_changes_nothing(finished_run: Path) -> None:
    before = (finished_run / "summary.json").read_bytes()
    result = run_command(command(finished_run))
    assert result.returncode == 0
    assert "nothing to do" in result.stderr
    assert (finished_run / "summary.json").read_bytes() == before


def test_a_changed_config_is_refused_with_the_keys(finished_run: Path) -> None:
    result = run_command(command(finished_run, "training.learning_rate=0.1", "run.seed=5"))
    assert result.returncode == 2
    assert "training.learning_rate: 0.0001 → 0.1" in result.stderr
    assert "run.seed: 0 → 5" in result.stderr
    assert "Traceback" not in result.stderr


def test_more_rounds_extend_a_finished_run(finished_run: Path, tmp_path: Path) -> None:
    run_dir, stderr = tmp_path / "extended", tmp_path / "stderr"
    shutil.copytree(finished_run, run_dir)
    process = _start(run_dir, stderr, "run.rounds=2")
    process.join()
    assert process.exitcode == 0, stderr.read_text()
    rounds = summary(run_dir)["rounds"]
    assert [r["round"] for r in rounds] == [0, 1, 2]
    assert rounds[:2] == summary(finished_run)["rounds"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_resumable_run(tmp_path: Path, number: signal.Signals) -> None:
    run_dir, stderr = tmp_path / "stopped", tmp_path / "stderr"
    process = _start(run_dir, stderr)
    assert _wait_for(process, stderr, "sampling: started")
    os.kill(process.pid or 0, number)
    process.join(60)
    assert process.exitcode == 75, stderr.read_text()
    assert "the same command" in stderr.read_text()
