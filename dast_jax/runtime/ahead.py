"""Work that is begun before it is needed, in a thread of its own: compiling programs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["one_after_another", "wait_for"]


@contextmanager
def one_after_another() -> Iterator[Executor]:
    """Give an executor of one thread, which is not waited for at the end; what has not begun is cancelled."""
    executor = ThreadPoolExecutor(1, "ahead")
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def wait_for(work: Future[Any]) -> None:
    """Return once the work has ended, was cancelled, or failed: whoever needs it does it then, and fails."""
    with suppress(CancelledError):
        work.exception()
