"""SIGINT, SIGTERM and SIGHUP as exceptions: the first stops the work cleanly, a second ends the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from dast_jax.errors import InterruptedRunError
from dast_jax.runtime import interruption

__all__ = ["Signalled", "catch_signals"]


class Signalled(KeyboardInterrupt):
    """One of the signals arrived. A KeyboardInterrupt, so that no `except Exception` swallows it."""

    def __init__(self, number: int):
        super().__init__(number)
        self.name = signal.Signals(number).name


def _in_gc_callback(frame: FrameType | None) -> bool:
    """Return whether the signal arrived inside a callback of the garbage collector, such as jax's."""
    while frame is not None:
        if frame.f_code.co_name.endswith("gc_callback"):
            return True
        frame = frame.f_back
    return False


def catch_signals(*, twice: bool = False) -> Callable[[], None]:
    """Turn the first of the signals into an exception; a second one ends the process immediately.

    SIGHUP stays ignored where it is: nohup does that, so that the work continues when the terminal is closed.
    `twice`: what comes after the first is ignored until the process ends. A signal to a group reaches both
    the process and its parent, which passes it on, however late; the parent ends the process at a second one.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows: no SIGHUP
    before = {s: signal.getsignal(s) for s in known if s is not None}
    caught = [s for s, handler in before.items() if (s.name, handler) != ("SIGHUP", signal.SIG_IGN)]
    came = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and twice:
            return
        came = True
        for s in caught if not twice else ():
            signal.signal(s, signal.SIG_DFL)
        error = Signalled(number)
        interruption.request(error)
        if interruption.is_deferred():
            _limit(error.name)
        elif not _in_gc_callback(frame):  # what is raised there is printed and lost
            raise error

    for s in caught:
        signal.signal(s, stop)

    def restore() -> None:
        if came and twice:
            return
        for s in caught:
            handler = before[s]
            signal.signal(s, handler if handler is not None else signal.SIG_DFL)

    return restore


def _limit(name: str) -> None:
    """End the process when the time that it has to act on a signal is over."""
    seconds = interruption.limit()
    if seconds is None:
        return

    def end() -> None:
        if interruption.is_settled():
            return
        message = f"stopped by {name} without a new checkpoint, as {seconds:g} s have passed; "
        print(f"{message}run the same command to continue from the last one", file=sys.stderr, flush=True)
        os._exit(InterruptedRunError.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
