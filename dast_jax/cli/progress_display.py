"""Progress on stderr: a live bar on a terminal, a line every few seconds elsewhere.

with ProgressDisplay() as progress:
    run(config, on_progress=progress)
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Self, TextIO

from dast_jax.runtime.progress import Progress
from dast_jax.runtime.visible import visible

__all__ = ["ProgressDisplay"]

_EVERY = 5.0
"""Seconds between two lines when there is no terminal."""

_SILENCE = 25.0
"""Seconds without an event (a program compiles, a model is read) after which there is a line all the same."""


class ProgressDisplay:
    """An `OnProgress` that draws the stages on `file` (None: stderr as it is when a stage starts).

    Within its `with` block there is a line at least every half minute, whatever the program waits for.
    """

    def __init__(self, file: TextIO | None = None, *, silence: float = _SILENCE):
        self._file = file
        self._silence = silence
        self._stages: dict[str, _Lines | _Live] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._spoke = self._began = time.monotonic()
        self._last = ""

    def __call__(self, event: Progress) -> None:
        """Show the event."""
        with self._lock:
            if event.state == "started":
                file = self._file or sys.stderr
                self._stages[event.title] = _Live(event, file) if file.isatty() else _Lines(event, file)
                self._last, self._spoke = event.title, time.monotonic()
            elif event.state == "running":
                if self._stages[event.title].update(event):
                    self._spoke = time.monotonic()
            else:
                self._stages.pop(event.title).stop(event)
                self._spoke = self._began = time.monotonic()

    def __enter__(self) -> Self:
        if not (self._file or sys.stderr).isatty():
            threading.Thread(target=self._break_silence, name="progress", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def _break_silence(self) -> None:
        """Print a line whenever there was none for so long, until the end."""
        wait = self._silence
        while not self._ended.wait(wait):
            with self._lock:
                wait = self._silence - (time.monotonic() - self._spoke)
                if wait <= 0:
                    self._say_waiting()
                    self._spoke, wait = time.monotonic(), self._silence

    def _say_waiting(self) -> None:
        """Print what the program is at: the latest stage that is open, or what comes after the last one."""
        if self._stages:
            stage = list(self._stages.values())[-1]
            if isinstance(stage, _Lines):
                stage.repeat()
            return
        after = f"after {self._last}" if self._last else "starting"
        elapsed = _clock(time.monotonic() - self._began)
        print(visible(f"{after}: working, {elapsed} elapsed"), file=self._file or sys.stderr, flush=True)


class _Pace:
    """Counts, and the time left at the mean pace since the first unit was done."""

    def __init__(self, event: Progress):
        self.started = time.monotonic()
        self.event = event
        self._first: tuple[float, float] | None = None

    def update(self, event: Progress) -> None:
        self.event = event
        if self._first is None and event.done > 0:
            self._first = (time.monotonic(), event.done)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds, or None while unknown. The wait for the first unit (compilation) does not count."""
        done, total = self.event.done, self.event.total
        if self._first is None or not total:
            return None
        since, base = self._first
        if done <= base:
            return None
        pace = (time.monotonic() - since) / (done - base)
        return max(0.0, total - done) * pace

    def count(self) -> str:
        """Return the units done: `70/140 (50%)`, or `70` where the total is unknown."""
        done, total = self.event.done, self.event.total
        if not total:
            return f"{done:g}"
        share = min(1.0, done / total)
        return f"{done:g}/{total:g} ({share:.0%})"


class _Lines:
    """A line when the stage starts, one every few seconds, and one at its end."""

    def __init__(self, event: Progress, file: TextIO):
        self._file = file
        self._pace = _Pace(event)
        self._printed_at = self._pace.started
        self._print(f"{event.title}: started")

    def update(self, event: Progress) -> bool:
        """Return whether there was a line."""
        self._pace.update(event)
        due = time.monotonic() - self._printed_at >= _EVERY
        if due:
            self.repeat()
        return due

    def repeat(self) -> None:
        """Print a line about the last event."""
        event, left = self._pace.event, self._pace.left
        when = f"{_clock(self._pace.elapsed)} elapsed, {'?' if left is None else _clock(left)} left"
        self._print(", ".join(t for t in (f"{event.title}: {self._pace.count()}", when, event.info) if t))

    def stop(self, event: Progress) -> None:
        how = "done" if event.state == "finished" else "stopped"
        parts = (f"{event.title}: {how} in {_clock(self._pace.elapsed)}", self._pace.count(), event.info)
        self._print(", ".join(t for t in parts if t and t != "0"))

    def _print(self, text: str) -> None:
        self._printed_at = time.monotonic()
        print(visible(text), file=self._file, flush=True)


class _Live:
    """One bar that redraws itself."""

    def __init__(self, event: Progress, file: TextIO):
        from rich import progress
        from rich.console import Console

        self._pace = _Pace(event)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[count]}", markup=False),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[left]}"),
            progress.TextColumn("{task.fields[info]}", style="dim", markup=False),
            console=Console(file=file),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(visible(event.title), total=event.total, count="", left="", info="")
        self._bar.start()

    def update(self, event: Progress) -> bool:
        """Return whether it was drawn, as it always is."""
        pace = self._pace
        pace.update(event)
        self._bar.update(
            self._task,
            completed=event.done,
            total=event.total,
            count=pace.count(),
            left="" if pace.left is None else f"{_clock(pace.left)} left",
            info=visible(event.info),
        )
        return True

    def stop(self, event: Progress) -> None:
        if event.state == "finished":  # a stage without a known total, or one that ended early, fills its bar
            whole = event.done or 1
            self._bar.update(self._task, completed=whole, total=whole, left="")
        self._bar.stop()


def _clock(seconds: float) -> str:
    """Return `12 s`, `3:05` or `2:10:00`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
