"""How far a stage of work is, as events for whoever wants to show them. Nothing here draws.

    with progress_of(on_progress, "round 1: sampling", total=2048) as update:
        update(done, info="37 % correct")

`on_progress` is called with each event; `silent` ignores them, `dast_jax.cli.ProgressDisplay` draws them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["OnProgress", "Progress", "Update", "progress_of", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One event of the stage `title`: `done` of `total` units (None: not known yet)."""

    title: str
    done: float = 0.0
    total: float | None = None
    info: str = ""
    state: Literal["started", "running", "finished", "stopped"] = "running"


OnProgress = Callable[[Progress], None]
"""Receives every event of every stage, on the thread that does the work."""


class Update(Protocol):
    """Reports that `done` units are done; `total` and `info` keep their last value where they are None."""

    def __call__(self, done: float, total: float | None = None, info: str | None = None) -> None: ...


def silent(event: Progress) -> None:
    """Ignore the event."""


@contextmanager
def progress_of(on_progress: OnProgress, title: str, total: float | None = None) -> Iterator[Update]:
    """Report a stage as started, yield the function that updates it, and report it finished or stopped."""
    event = Progress(title=title, total=total, state="started")

    def update(done: float, total: float | None = None, info: str | None = None) -> None:
        nonlocal event
        event = Progress(
            title=title,
            done=done,
            total=event.total if total is None else total,
            info=event.info if info is None else info,
        )
        on_progress(event)

    on_progress(event)
    try:
        yield update
    except BaseException:
        on_progress(dataclasses.replace(event, state="stopped"))
        raise
    on_progress(dataclasses.replace(event, state="finished"))
