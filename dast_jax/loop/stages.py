"""The stages of a run: which are done, and from when on one counts as done."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from dast_jax.errors import DivergedError, InterruptedRunError, UserError
from dast_jax.runtime import interruption
from dast_jax.store.run_store import RunStore
from dast_jax.store.summary import write_summary

__all__ = ["Stages", "Written"]

log = logging.getLogger(__name__)

_ERRORS = (UserError, DivergedError, InterruptedRunError)


class Written(NamedTuple):
    """A stage's result that is written in the background: waiting for it, and what can go then."""

    wait: Callable[[], None]
    forget: Callable[[], None]


class Stages:
    """Carries out stages that are not done.

    One whose result is written in the background is marked done when it is durable. The next stage begins
    before that; its own mark waits for it, and so does the end of the block, also where the run is stopped or
    ends with an error meant for users.
    """

    def __init__(self, store: RunStore):
        self._store = store
        self._unmarked: Callable[[], None] | None = None

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
        self._mark()
        self._unmarked = functools.partial(self._mark_done, name, result, seconds, written)
        if written is None:
            self._mark()

    def _mark(self) -> None:
        if self._unmarked is not None:
            self._unmarked()
            self._unmarked = None

    def _mark_done(self, name: str, result: Any, seconds: float, written: Written | None) -> None:
        if written is not None:
            written.wait()
        if not self._store.is_done(name):  # a signal may have come after it was
            self._store.mark_done(name, result, seconds=seconds)
        write_summary(self._store, status="running")
        if written is not None:
            written.forget()

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._mark()
        elif isinstance(error, (*_ERRORS, KeyboardInterrupt)):
            interruption.settle()  # the save may take longer than a signal leaves to what computes
            try:
                self._mark()
            except _ERRORS as failure:
                log.error("%s", failure)
