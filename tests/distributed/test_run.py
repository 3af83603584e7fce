"""A run on two processes gives the result of one, also when it is stopped and resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmarks import hosts
from dast_jax.train import main


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_a_run_of_two_processes_that_is_stopped_and_resumed_is_the_run_of_one(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(["--config", "quickstart", f"run.dir={alone}", *hosts.SMALLEST]) == 0

    processes = hosts.start(together, 2, shared=True)
    hosts.wait_for("training", together, processes)
    hosts.to_group(processes[1], signal.SIGTERM)
    assert hosts.finish(processes) == [75, 75], hosts.output(together, 0).read_text()
    sentence = "stopped by SIGTERM at process 1; run the same command to continue"
    assert hosts.last_line(together, 0) == sentence
    assert hosts.last_line(together, 1) == f"process 0: {sentence}"

    codes = hosts.finish(hosts.start(together, 2))  # the other has a folder of its own now
    printed = [hosts.output(together, index).read_text() for index in range(2)]
    assert codes == [0, 0], printed
    assert "Traceback" not in "".join(printed)
    assert "checkpoints go through process 0" in printed[0]
    assert not together.with_name("together.folder1").exists()
    assert hosts.difference(alone, together).is_rounding


def test_processes_refuse_a_mesh_that_leaves_one_out_and_configs_that_differ(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert hosts.finish(hosts.start(run_dir, 2, "mesh.data=1", "mesh.cpu_data=0")) == [2, 2]
    assert "mesh: 1 of the 4 devices of all 2 processes" in hosts.last_line(run_dir, 0)


def test_the_others_say_what_differs_from_process_0(tmp_path: Path) -> None:
    from dast_jax.config import load_config
    from dast_jax.errors import UserError
    from dast_jax.loop.follow import _Follower
    from dast_jax.loop.lead import same_keys, sees_mark

    (tmp_path / ".process0").write_text("one")
    assert sees_mark(tmp_path, "one")
    assert not sees_mark(tmp_path, "another")
    assert not sees_mark(tmp_path / "elsewhere", "one")

    def config(*overrides: str):
        return load_config("quickstart", [f"run.dir={tmp_path}", *overrides])

    keys = same_keys(config())
    assert same_keys(config("distributed.process_id=1", "run.note=x", "verifier.workers=1")) == keys
    follower = _Follower(config("run.seed=3", "mesh.data=-1"))
    with pytest.raises(UserError, match=r"^mesh\.data, run\.seed: not the same as at process 0"):
        follower.open(keys, {}, "one")
