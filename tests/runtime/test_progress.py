"""Progress off a terminal: a line at the start, now and then, and at the end, with the time left."""

from __future__ import annotations

import io
import time

import pytest

from dast_jax.runtime import interruption, progress
from dast_jax.runtime.progress import stage


def test_lines_tell_share_time_left_and_end(monkeypatch) -> None:
    clock = iter(float(t) for t in range(0, 1000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with stage("round 1: sampling", total=100, file=out) as bar:
        for done in range(10, 70, 10):
            bar.update(done, info=f"{done} in")
        bar.update(70, total=140)
    lines = out.getvalue().splitlines()
    assert lines[0] == "round 1: sampling: started"
    assert any(" left, " in line and "/100 (" in line and "? left" not in line for line in lines[1:-1])
    assert lines[-1].startswith("round 1: sampling: done in ")
    assert "70/140 (50%)" in lines[-1]


def test_lines_are_seconds_apart() -> None:
    out = io.StringIO()
    with stage("x", file=out) as bar:
        for done in range(1000):
            bar.update(done)
    assert len(out.getvalue().splitlines()) == 2


def test_a_stage_that_raises_says_stopped() -> None:
    out = io.StringIO()
    with pytest.raises(KeyError), stage("x", total=3, file=out) as bar:
        bar.update(1)
        raise KeyError
    assert "x: stopped in 0 s, 1/3 (33%)" in out.getvalue()


def test_terminal_bar_draws_and_ends() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with stage("training", total=4, file=out) as bar:
        for step in range(1, 5):
            bar.update(step, info="[loss] 1.5")
            time.sleep(0.01)
    assert "training" in out.getvalue()
    assert "4/4 (100%)" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1:00"), (185, "3:05"), (7800, "2:10:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert progress._clock(seconds) == text


def test_a_request_to_stop_that_was_swallowed_is_raised_by_the_next_update():
    with pytest.raises(KeyboardInterrupt), stage("work", total=2, file=io.StringIO()) as bar:
        bar.update(1)
        interruption.request(KeyboardInterrupt())
        bar.update(2)
    interruption.check()  # raised once only
