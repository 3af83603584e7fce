"""Two processes without a model: what they say to each other, and how they end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from dast_jax.training.checkpoint import load_policy

ROOT = Path(__file__).parents[2]
GONE = "another process of the run is gone"


def _start(how: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.talk", str(index), str(port), how],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for index in range(2)
    ]


def _ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Return the exit code and the output of each."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        found.append((process.returncode, out, err))
    return found


def _ready(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()


def test_messages_arrive_in_order_and_whole() -> None:
    for code, out, err in _ends(_start("talk")):
        assert code == 0, err
        assert out.endswith("heard it all\nready\n")  # after a line of the collectives' library


def test_states_come_back_with_and_without_a_folder_that_both_see(tmp_path: Path) -> None:
    for code, out, err in _ends(_start(f"states {tmp_path}")):
        assert code == 0, err
        assert "came back\n" in out, err
    assert (tmp_path / "of process 0" / "2.sha256").is_file()
    assert not (tmp_path / "of process 1").exists()
    # What process 0 wrote for both is read by one process, as any other.
    like = {
        "by column": jnp.zeros((7, 6)),
        "by row": jnp.zeros((6, 6), jnp.bfloat16),
        "on both": jnp.zeros(3, jnp.int32),
        "a number": jnp.float32(0),
    }
    policy = load_policy(tmp_path / "of process 0" / "policy", like)
    assert policy["on both"].tolist() == [0, 1, 2]


def test_an_error_of_a_follower_ends_both_with_its_message() -> None:
    leader, follower = _ends(_start("follower fails"))
    assert leader[0] == follower[0] == 2
    assert "process 1: its disk is gone" in leader[2]
    assert "its disk is gone" in follower[2]


def test_an_error_of_both_is_reported_once_each() -> None:
    leader, follower = _ends(_start("both diverge"))
    assert leader[0] == follower[0] == 3
    assert leader[2].count("the loss is not finite") == 1
    assert follower[2].count("process 0: the loss is not finite") == 1


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_process_ends_the_other(index: int) -> None:
    processes = _start("wait")
    _ready(processes)
    os.killpg(processes[index].pid, signal.SIGKILL)
    code, _, err = _ends(processes)[1 - index]
    assert code == 75, err
    assert GONE in err, err  # lines of jax may follow


def test_a_silent_process_ends_the_other_and_itself_when_it_continues() -> None:
    processes = _start("wait")
    _ready(processes)
    silent, other = processes[1], processes[0]
    os.killpg(silent.pid, signal.SIGSTOP)
    try:
        _, err = other.communicate(timeout=300)
        assert other.returncode == 75, err
        assert GONE in err, err  # lines of jax may follow
        assert silent.poll() is None
    finally:
        os.killpg(silent.pid, signal.SIGCONT)
    _, err = silent.communicate(timeout=300)
    assert silent.returncode == 75, err
    assert GONE in err, err  # lines of jax may follow


@pytest.mark.parametrize("index", [0, 1])
def test_a_signal_to_one_stops_both(index: int) -> None:
    processes = _start("wait")
    _ready(processes)
    os.killpg(processes[index].pid, signal.SIGTERM)
    leader, follower = _ends(processes)
    assert leader[0] == follower[0] == 75, (leader, follower)
    if index == 0:
        assert leader[2] == "stopped by SIGTERM; run the same command to continue\n"
        assert follower[2] == "process 0 was stopped by SIGTERM\n"
    else:
        sentence = "stopped by SIGTERM at process 1; run the same command to continue\n"
        assert leader[2] == sentence
        assert follower[2] == f"process 0: {sentence}"
