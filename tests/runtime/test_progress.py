"""Progress events: what a stage of work reports."""

from __future__ import annotations

import pytest

from dast_jax.runtime.progress import Progress, progress_of, silent


def test_a_stage_reports_start_updates_and_end() -> None:
    events: list[Progress] = []
    with progress_of(events.append, "round 1: sampling", total=100) as update:
        update(10, info="10 correct")
        update(20)
        update(30, total=140)
    assert events == [
        Progress(title="round 1: sampling", total=100, state="started"),
        Progress(title="round 1: sampling", total=100, done=10, info="10 correct"),
        Progress(title="round 1: sampling", total=100, done=20, info="10 correct"),
        Progress(title="round 1: sampling", total=140, done=30, info="10 correct"),
        Progress(title="round 1: sampling", total=140, done=30, info="10 correct", state="finished"),
    ]


def test_a_stage_that_raises_reports_that_it_stopped() -> None:
    events: list[Progress] = []
    with pytest.raises(KeyError), progress_of(events.append, "x", total=3) as update:
        update(1)
        raise KeyError
    assert [event.state for event in events] == ["started", "running", "stopped"]
    assert events[-1].done == 1


def test_silent_shows_nothing(capsys) -> None:
    with progress_of(silent, "x") as update:
        update(1)
    assert capsys.readouterr() == ("", "")
