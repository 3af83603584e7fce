"""The package's log on stderr, with control characters escaped."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from dast_jax.runtime.visible import VisibleFormatter

__all__ = ["start_console"]


class _Console(logging.Handler):
    """Print what the package logs to the current stderr (which a live progress bar replaces)."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "file_only", False):
            prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            print(prefix + self.format(record), file=sys.stderr, flush=True)


def start_console() -> Callable[[], None]:
    """Show the package's log on stderr; returns the function that undoes it."""
    logger, console = logging.getLogger("dast_jax"), _Console()
    console.setFormatter(VisibleFormatter())
    before = (logger.propagate, logger.level)
    logger.addHandler(console)
    logger.propagate = False  # some libraries give the root logger a handler of its own
    logger.setLevel(logging.INFO)

    def restore() -> None:
        logger.removeHandler(console)
        logger.propagate = before[0]
        logger.setLevel(before[1])

    return restore
