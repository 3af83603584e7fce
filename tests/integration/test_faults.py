"""Damage to a run: the same final bits, or a refusal in one sentence. Long form: `benchmarks.faults`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.run_results import results
from dast_jax.config import RunConfig, load_config, run_settings
from dast_jax.errors import UserError
from dast_jax.store import integrity
from dast_jax.store.run_store import RunStore
from tests.integration.conftest import SMALL


def _config(run_dir: Path, *overrides: str) -> RunConfig:
    return load_config("quickstart", [f"run.dir={run_dir}", *SMALL, *overrides])


def _open(run_dir: Path, *overrides: str) -> RunStore:
    return RunStore.open(run_settings(_config(run_dir, *overrides)))


@pytest.fixture
def copied(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copied"))


@pytest.mark.parametrize("fault", faults.FAULTS)
@pytest.mark.parametrize(
    "kind",
    ["manifest", "responses", "training set", "method state", "difficulty", "policy's index", "later policy"],
)
def test_damage_to_a_finished_round_is_refused_before_anything_is_computed(
    kind: str, fault: str, copied: Path
) -> None:
    path = faults.damage(copied, kind, fault, random.Random(0))
    assert path is not None
    before = (copied / "summary.json").read_bytes()
    with pytest.raises(UserError) as caught:
        _open(copied)
    message = str(caught.value)
    named = path if kind != "later policy" else copied / "checkpoints" / "round_01" / "1"
    assert str(named) in message
    assert "\n" not in message
    assert "restore" in message or "name a new folder" in message
    assert (copied / "summary.json").read_bytes() == before


def test_every_flipped_bit_of_a_policy_is_noticed(copied: Path) -> None:
    rng = random.Random(1)
    files = sorted(p for p in (copied / "checkpoints/round_01/1").rglob("*") if p.is_file())
    for path in files:
        content = bytearray(path.read_bytes())
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            whole = path.read_bytes()
            path.write_bytes(content)
            problem = integrity.check_folder(copied / "checkpoints/round_01/1")
            assert problem is not None, path
            assert path.name in problem
            path.write_bytes(whole)
    assert integrity.check_folder(copied / "checkpoints/round_01/1") is None
    (copied / "checkpoints/round_01/1/state/extra").write_text("")
    assert integrity.check_folder(copied / "checkpoints/round_01/1") is not None


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_damaged_config_switches_no_check_off(fault: str, copied: Path, caplog) -> None:
    faults.damage(copied, "config", fault, random.Random(0))
    with pytest.raises(UserError, match=r"run\.seed: 0 → 3"):
        _open(copied, "run.seed=3")
    _open(copied).close()
    assert "config.yaml: not what the run wrote; written again" in caplog.text
    assert RunStore.read(copied).config["run"]["seed"] == 0
    assert "seed: 0" in (copied / "config.yaml").read_text()


def test_repair_repeats_from_the_damaged_stage_on(copied: Path) -> None:
    faults.damage(copied, "later training set", "one bit flipped", random.Random(0))
    faults.damage(copied, "evaluation", "emptied", random.Random(0))
    with _open(copied, "run.repair=true") as store:
        assert list(store.stages)[-2:] == ["00/train", "01/sample"]
        assert not {"00/evaluate", "01/build", "01/train"} & store.stages.keys()
    assert (copied / "rounds/01/train.parquet.damaged").exists()
    assert not (copied / "checkpoints/round_01").exists()


def test_a_repaired_run_ends_in_the_same_bits(finished_run: Path, copied: Path, tmp_path: Path) -> None:
    faults.damage(copied, "later training set", "halved", random.Random(0))
    code, printed = faults.call(
        "train", faults.arguments(copied, "run.repair=true"), tmp_path / "printed.txt"
    )
    assert code == 0, printed
    assert "stage 01/build is repeated" in printed
    assert results(copied) == results(finished_run)


def test_a_run_that_has_finished_no_stage_is_not_locked(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as store:
        (store.round_path(0) / "responses").mkdir(parents=True)
    with _open(tmp_path / "run", "run.seed=3", "data.limit=4") as store:
        assert store.config["run"]["seed"] == 3
    assert not (tmp_path / "run" / "rounds").exists()


def test_report_and_export_refuse_damage(copied: Path, tmp_path: Path, capsys) -> None:
    from dast_jax.export import main as export
    from dast_jax.report import main as report

    faults.damage(copied, "metrics", "one bit flipped", random.Random(0))
    assert report(["--run", str(copied), "--out", str(tmp_path / "page.html")]) == 0
    assert "metrics.jsonl: it was changed; the curves of the loss are left out" in capsys.readouterr().err
    assert export(["--run", str(copied), "--out", str(tmp_path / "whole")]) == 0
    faults.damage(copied, "later policy", "one bit flipped", random.Random(0))
    assert export(["--run", str(copied), "--out", str(tmp_path / "none")]) == 2
    assert "was changed, though stage 01/train is done" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    (copied / "summary.json").rename(tmp_path / "summary.json")
    assert report(["--run", str(copied), "--out", str(tmp_path / "page.html")]) == 2
    assert "summary.json is missing, though stages are done" in capsys.readouterr().err
    (tmp_path / "summary.json").rename(copied / "summary.json")
    faults.damage(copied, "responses", "one bit flipped", random.Random(0))
    assert report(["--run", str(copied), "--out", str(tmp_path / "page.html")]) == 2
    assert "it was changed, though stage 00/sample is done" in capsys.readouterr().err


def test_damage_to_the_round_in_progress_is_repaired_to_the_same_bits(
    finished_run: Path, tmp_path: Path
) -> None:
    """The newest training state, a part of responses, the evaluation of an earlier round and the summary."""
    trials = faults.Trials(tmp_path)
    path = trials.stopped()
    rng = random.Random(0)
    newest = max((path / "checkpoints/training").glob("*.sha256"), key=lambda p: int(p.stem)).with_suffix("")
    faults.FAULTS["one bit flipped"](max(newest.rglob("d/*"), key=lambda p: p.stat().st_size), rng)
    for kind in ("later responses", "evaluation", "summary"):
        assert faults.damage(path, kind, "one bit flipped", rng) is not None
    code, printed = faults.call("train", faults.arguments(path), trials.output)
    assert code == 0, printed
    assert "stage 01/sample is repeated" in printed
    assert "stage 00/evaluate is repeated" in printed
    assert "Traceback" not in printed
    assert results(path) == results(finished_run)


def test_a_hangup_stops_like_a_termination_unless_it_is_ignored(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys, time\nfrom dast_jax.cli import command\n"
        "@command\ndef main(argv=None):\n    print('ready', flush=True)\n    time.sleep(float(sys.argv[1]))\n"
        "sys.exit(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for ignored, code in ((False, 75), (True, 0)):
        command = [sys.executable, str(script), "1" if ignored else "60"]
        process = subprocess.Popen(
            ["nohup", *command] if ignored else command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        _, printed = process.communicate(timeout=30)
        assert process.returncode == code, printed
        assert ("stopped by SIGHUP" in printed) is not ignored
