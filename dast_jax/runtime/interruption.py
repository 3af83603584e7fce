"""A signal's request to stop, remembered until the program can act on it.

Raising from the handler is not enough: where the signal arrives inside a callback from C (jax has one in
the garbage collector), Python prints the exception and continues. So every long loop calls `check` once per
turn.
"""

from __future__ import annotations

__all__ = ["check", "clear", "request"]

_requested: BaseException | None = None


def request(error: BaseException) -> None:
    """Remember that the program should stop by `error`."""
    global _requested
    _requested = error


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
