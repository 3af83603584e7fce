"""What a worker process may use: CPU time of one task, memory, files. The kernel ends it beyond that.

    limits = ProcessLimits(cpu_seconds=2, memory_mb=1024)
    with limits.task():
        ...

SIGPROF, whose default action is to end the process, works inside long C calls, where a Python handler would
wait. libtpu ignores it in the process that loads it, and children would inherit that. Where the kernel has
no such limits (Windows, and memory on macOS), a thread looks at the clock and at psutil several times a
second and ends the process itself; a C call that keeps Python's lock then lasts until the parent's own
deadline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

__all__ = ["OVERTIME_STATUS", "ProcessLimits", "ended_by_overtime", "peak_memory"]

OVERTIME_STATUS = 124
"""The exit status of a process that ended itself after too much CPU time."""

_MEMORY_STATUS = 125
_LOOK_EVERY = 0.05
_MIB = 1 << 20


class ProcessLimits:
    """Limits of this process, from now on: memory at once, CPU time within each `task`."""

    def __init__(self, *, cpu_seconds: float, memory_mb: int, writes: bool = True):
        """Set the limits, in the main thread; without `writes` no file may grow."""
        self._cpu_seconds = cpu_seconds
        self._memory = memory_mb * _MIB
        self._deadline: float | None = None
        memory_watched = not _set_limit("AS", self._memory)
        _set_limit("CORE", 0)
        if not writes:
            _set_limit("FSIZE", 0)
        self._timer = hasattr(signal, "setitimer")
        if self._timer:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
        if memory_watched or not self._timer:
            threading.Thread(target=self._watch, args=(memory_watched,), daemon=True).start()

    @contextlib.contextmanager
    def task(self) -> Iterator[None]:
        """Limit the CPU time of the block; the process ends where it takes more."""
        if self._timer:
            signal.setitimer(signal.ITIMER_PROF, self._cpu_seconds)
        else:
            self._deadline = time.process_time() + self._cpu_seconds
        try:
            yield
        finally:
            if self._timer:
                signal.setitimer(signal.ITIMER_PROF, 0)
            self._deadline = None

    def _watch(self, memory: bool) -> None:
        """End the process beyond a limit that the kernel does not enforce."""
        import psutil

        this = psutil.Process()
        while True:
            time.sleep(_LOOK_EVERY)
            deadline = self._deadline
            if deadline is not None and time.process_time() > deadline:
                os._exit(OVERTIME_STATUS)
            if memory and this.memory_info().rss > self._memory:
                os._exit(_MEMORY_STATUS)


def ended_by_overtime(status: int) -> bool:
    """Return whether a process with this exit status (negative: a signal) took too much CPU time."""
    by_signal = [-int(found) for name in ("SIGPROF", "SIGXCPU") if (found := getattr(signal, name, None))]
    return status in (OVERTIME_STATUS, *by_signal)


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes; what it holds now where that is unknown."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        now = psutil.Process().memory_info()
        return int(getattr(now, "peak_wset", now.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, elsewhere KiB


def _set_limit(name: str, soft: int) -> bool:
    """Set a limit of this process; return whether the kernel has it."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        return False
    hard = resource.getrlimit(kind)[1]
    limit = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    try:
        resource.setrlimit(kind, (limit, limit))
    except (ValueError, OSError):  # macOS refuses a limit of memory
        return False
    return True
