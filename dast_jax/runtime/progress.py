"""How far a stage is and how long it will take: a live bar on a terminal, a line now and then elsewhere.

with stage("round 1: sampling", total=2048) as bar:
    bar.update(done, info="37 % correct")
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from dast_jax.runtime import interruption

__all__ = ["Bar", "stage"]

_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""


class Bar(Protocol):
    """What a stage reports its progress to."""

    def update(self, done: float, total: float | None = None, info: str | None = None) -> None:
        """`done` of `total` units are done; a `total` once given stays until another is, and may grow."""


@contextmanager
def stage(title: str, total: float | None = None, *, file: TextIO | None = None) -> Iterator[Bar]:
    """A progress display on stderr (or `file`) for the length of the block."""
    file = file or sys.stderr
    bar: _Live | _Lines = _Live(title, total, file) if file.isatty() else _Lines(title, total, file)
    bar.start()
    try:
        yield bar
    except BaseException:
        bar.stop(finished=False)
        raise
    bar.stop(finished=True)


class _Pace:
    """Counts, and the time left at the mean pace since the first unit was done."""

    def __init__(self, total: float | None):
        self.started = time.monotonic()
        self.done = 0.0
        self.total = total
        self.info = ""
        self._first: tuple[float, float] | None = None

    def update(self, done: float, total: float | None, info: str | None) -> None:
        self.done = done
        self.total = self.total if total is None else total
        self.info = self.info if info is None else info
        if self._first is None and done > 0:
            self._first = (time.monotonic(), done)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds, or None while unknown. The wait for the first unit (compilation) does not count."""
        if self._first is None or not self.total:
            return None
        since, base = self._first
        if self.done <= base:
            return None
        pace = (time.monotonic() - since) / (self.done - base)
        return max(0.0, self.total - self.done) * pace

    def count(self) -> str:
        if not self.total:
            return f"{self.done:g}"
        share = min(1.0, self.done / self.total)
        return f"{self.done:g}/{self.total:g} ({share:.0%})"


class _Lines:
    """A line when the stage begins to move, one every few seconds, and one at its end."""

    def __init__(self, title: str, total: float | None, file: TextIO):
        self._title = title
        self._file = file
        self._pace = _Pace(total)
        self._printed_at = self._pace.started

    def start(self) -> None:
        self._print(f"{self._title}: started")

    def update(self, done: float, total: float | None = None, info: str | None = None) -> None:
        interruption.check()
        self._pace.update(done, total, info)
        if time.monotonic() - self._printed_at >= _EVERY:
            left = self._pace.left
            when = f"{_clock(self._pace.elapsed)} gone, {'?' if left is None else _clock(left)} left"
            self._print(
                ", ".join(t for t in (f"{self._title}: {self._pace.count()}", when, self._pace.info) if t)
            )

    def stop(self, *, finished: bool) -> None:
        how = "done" if finished else "stopped"
        parts = (f"{self._title}: {how} in {_clock(self._pace.elapsed)}", self._pace.count(), self._pace.info)
        self._print(", ".join(t for t in parts if t and t != "0"))

    def _print(self, text: str) -> None:
        self._printed_at = time.monotonic()
        print(text, file=self._file, flush=True)


class _Live:
    """One bar that redraws itself."""

    def __init__(self, title: str, total: float | None, file: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._pace = _Pace(total)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[info]}", style="dim"),
            console=Console(file=file),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(title, total=total, count="", left="", info="", markup=False)

    def start(self) -> None:
        self._progress.start()

    def update(self, done: float, total: float | None = None, info: str | None = None) -> None:
        interruption.check()
        pace = self._pace
        pace.update(done, total, info)
        self._progress.update(
            self._task,
            completed=done,
            total=pace.total,
            count=pace.count(),
            left="" if pace.left is None else f"{_clock(pace.left)} left",
            info=pace.info,
        )

    def stop(self, *, finished: bool) -> None:
        if finished:  # a stage without a known total, or one that ended early, is whole all the same
            whole = self._pace.done or 1
            self._progress.update(self._task, completed=whole, total=whole, left="")
        self._progress.stop()


def _clock(seconds: float) -> str:
    """12 s, 3:05, 2:10:00."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
