"""Progress on stderr: lines at the start, now and then, and at the end; a live bar on a terminal."""

from __future__ import annotations

import io
import time

import pytest

from dast_jax.cli import progress_display
from dast_jax.cli.progress_display import ProgressDisplay
from dast_jax.runtime.progress import progress_of


def test_lines_show_share_time_left_and_end(monkeypatch) -> None:
    clock = iter(float(t) for t in range(0, 1000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with progress_of(ProgressDisplay(out), "round 1: sampling", total=100) as update:
        for done in range(10, 70, 10):
            update(done, info=f"{done} in")
        update(70, total=140)
    lines = out.getvalue().splitlines()
    assert lines[0] == "round 1: sampling: started"
    assert any(" left, " in line and "/100 (" in line and "? left" not in line for line in lines[1:-1])
    assert lines[-1].startswith("round 1: sampling: done in ")
    assert "70/140 (50%)" in lines[-1]


def test_lines_are_seconds_apart() -> None:
    out = io.StringIO()
    with progress_of(ProgressDisplay(out), "x") as update:
        for done in range(1000):
            update(done)
    assert len(out.getvalue().splitlines()) == 2


def test_a_stage_that_raises_says_stopped() -> None:
    out = io.StringIO()
    with pytest.raises(KeyError), progress_of(ProgressDisplay(out), "x", total=3) as update:
        update(1)
        raise KeyError
    assert "x: stopped in 0 s, 1/3 (33%)" in out.getvalue()


def test_terminal_bar_draws_and_ends() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with progress_of(ProgressDisplay(out), "training", total=4) as update:
        for step in range(1, 5):
            update(step, info="[loss] 1.5")
            time.sleep(0.01)
    assert "training" in out.getvalue()
    assert "4/4 (100%)" in out.getvalue()


def test_without_a_file_it_draws_on_the_current_stderr(capsys) -> None:
    display = ProgressDisplay()
    with progress_of(display, "one"), progress_of(display, "two"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["one: started", "two: started", "two: done in 0 s", "one: done in 0 s"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1:00"), (185, "3:05"), (7800, "2:10:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert progress_display._clock(seconds) == text


def test_there_is_a_line_while_nothing_happens() -> None:
    """The block's thread prints while a program compiles, between stages, and before the first."""
    out = io.StringIO()
    with ProgressDisplay(out, silence=0.02) as display:
        _wait_for(out, "starting: working, 0 s elapsed")
        with progress_of(display, "round 1: sampling", total=64) as update:
            update(8, info="compiling sampler (2 of 4)")
            _wait_for(out, "round 1: sampling: 8/64 (12%), 0 s elapsed, ? left, compiling sampler (2 of 4)")
        _wait_for(out, "after round 1: sampling: working, 0 s elapsed")
    length = len(out.getvalue())
    time.sleep(0.1)
    assert len(out.getvalue()) == length  # nothing after the block


def _wait_for(out: io.StringIO, line: str) -> None:
    deadline = time.monotonic() + 20
    while line not in out.getvalue().splitlines():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)


def test_half_a_minute_is_never_silent() -> None:
    assert progress_display._EVERY < progress_display._SILENCE < 30
