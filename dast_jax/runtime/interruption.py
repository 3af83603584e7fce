"""A signal's request to stop, remembered until the program can act on it.

Raising from the handler is not enough: where the signal arrives inside a callback from C (jax has one in
the garbage collector), Python prints the exception and continues. So every long loop calls `check` once per
turn. Within `deferred` the handler does not raise at all, because a step should be finished first.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

__all__ = [
    "check",
    "clear",
    "deferred",
    "is_deferred",
    "is_settled",
    "limit",
    "name",
    "pending",
    "request",
    "settle",
    "waited",
]

_requested: BaseException | None = None
_settled = True
_since = 0.0
_limits: list[float | None] = []


def request(error: BaseException) -> None:
    """Remember that the program should stop by `error`."""
    global _requested, _settled, _since
    _requested = error
    _settled = False
    _since = time.monotonic()


def pending() -> BaseException | None:
    """Return what was requested and has not been acted on."""
    return _requested


def waited() -> float:
    """Return the seconds since the last request."""
    return time.monotonic() - _since


def name(error: BaseException) -> str:
    """Return the name of the signal that `error` stands for."""
    return str(getattr(error, "name", "SIGINT"))


def check() -> None:
    """Raise what was requested, if anything was; once."""
    global _requested
    if _requested is not None:
        error, _requested = _requested, None
        raise error


def clear() -> None:
    """Forget a request that has been acted on."""
    global _requested
    _requested = None
    settle()


def settle() -> None:
    """Note that what is to be saved before the program stops is saved."""
    global _settled
    _settled = True


def is_settled() -> bool:
    """Return whether nothing is left to be saved for the last request."""
    return _settled


@contextlib.contextmanager
def deferred(limit: float | None) -> Iterator[None]:
    """Let signals only be requests within the block, which calls `check`.

    If `limit` seconds after a signal it is not settled, the process ends at once; None: it may take any time.
    """
    _limits.append(limit)
    try:
        yield
    finally:
        _limits.pop()


def is_deferred() -> bool:
    """Return whether signals are only requests now."""
    return bool(_limits)


def limit() -> float | None:
    """Return the innermost limit in seconds."""
    return _limits[-1] if _limits else None
