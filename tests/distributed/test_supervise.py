"""The parent of a process of a run: exit codes, sentences and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dast_jax.distributed.supervise import supervise
from dast_jax.errors import InterruptedRunError

ROOT = Path(__file__).parents[2]
ENDS = "tests.distributed.ends"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_a_code_is_passed_on(code: int) -> None:
    assert supervise(ENDS, [str(code)], 9) == code


@pytest.mark.parametrize(
    ("signal_name", "sentence"),
    [
        ("SIGABRT", "another process of the run is gone, or was silent for 9 s"),  # as jax ends a process
        ("SIGKILL", "this process was ended by SIGKILL, and with it the run"),  # as the kernel does
    ],
)
def test_an_abort_is_a_resumable_end(signal_name: str, sentence: str) -> None:
    with pytest.raises(InterruptedRunError, match=sentence) as caught:
        supervise(ENDS, [signal_name], 9)
    assert "run the same command on every host to resume" in str(caught.value)


def test_a_process_that_does_not_act_on_a_signal_ends_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert supervise(ENDS, ["hang"], 9) == 75
    assert "stopped by SIGTERM without a new checkpoint, as 0.2 s have passed" in capfd.readouterr().err


def test_a_signal_to_the_group_is_one_signal() -> None:
    """The child gets it twice, directly and from its parent, and still stops cleanly."""
    process = subprocess.Popen(
        [sys.executable, "-m", ENDS, "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTERM)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 75
    assert printed == "stopped by SIGTERM; run the same command to continue\n"


@pytest.mark.parametrize("when", ["at once", "late"])
def test_the_same_signal_is_ignored_whenever_it_comes_again(
    when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert supervise(ENDS, [when], 9) == 75
    assert capfd.readouterr().err == "stopped by SIGTERM; run the same command to continue\n"


def test_the_child_ends_with_its_parent() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", ENDS, "wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    assert process.stdout.read() == b""  # the child held it open
