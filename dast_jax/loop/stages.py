"""The stages of a run: which are done, and from when on one counts as done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

from dast_jax.distributed.group import current
from dast_jax.errors import DivergedError, InterruptedRunError, UserError
from dast_jax.runtime import interruption
from dast_jax.store.run_store import RunStore
from dast_jax.store.summary import write_summary

__all__ = ["Stages", "Written"]

log = logging.getLogger(__name__)

_ERRORS = (UserError, DivergedError, InterruptedRunError)


class Written(NamedTuple):
    """A stage's result that is written in the background."""

    wait: Callable[[], None]
    """Returns when the result is durable, or raises; called by a thread."""

    forget: Callable[[], None]
    """Removes what is not needed then; called by the thread."""

    finish: Callable[[], None]
    """Called by the main thread afterwards."""


class Stages:
    """Carries out stages that are not done.

    One whose result is written in the background is marked done, by a thread, as soon as it is durable. The
    next stage begins before that; its own mark waits for it, and so does the end of the block, also where the
    run is stopped or fails.
    """

    def __init__(self, store: RunStore):
        self._store = store
        self._waiting: tuple[Future[None], Callable[[], None]] | None = None

    def __call__(
        self, name: str, action: Callable[..., Any], *arguments: Any, written: Written | None = None
    ) -> None:
        """Do a stage, if it is not done."""
        interruption.check()
        if self._store.is_done(name):
            return
        started = time.monotonic()
        result = action(*arguments)
        seconds = time.monotonic() - started
        self._settle()
        if written is None:
            self._mark_done(name, result, seconds)
            return
        thread = ThreadPoolExecutor(1, "stage")
        self._waiting = thread.submit(self._mark_later, name, result, seconds, written), written.finish
        thread.shutdown(wait=False)

    def _mark_done(self, name: str, result: Any, seconds: float) -> None:
        self._store.mark_done(name, result, seconds=seconds)
        write_summary(self._store, status="running")

    def _mark_later(self, name: str, result: Any, seconds: float, written: Written) -> None:
        written.wait()
        self._mark_done(name, result, seconds)  # the main thread writes nothing of the sort before `_settle`
        written.forget()

    def _settle(self) -> None:
        """Wait until the last stage is marked done; raise the error that kept it from being so."""
        if self._waiting is not None:
            marked, finish = self._waiting
            marked.result()
            finish()
            self._waiting = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._settle()
        elif current() is None or isinstance(error, (*_ERRORS, KeyboardInterrupt)):
            # Of several processes another one may be gone otherwise, for which the save would wait.
            interruption.settle()  # the save may take longer than a signal leaves to what computes
            try:
                self._settle()
            except Exception as failure:
                log.error("%s", failure)
