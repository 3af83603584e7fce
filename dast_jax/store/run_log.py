"""`log.txt` of a run: the package's lines of level INFO and above."""

from __future__ import annotations

import logging
from pathlib import Path

from dast_jax.runtime.visible import VisibleFormatter

__all__ = ["RunLog"]


class RunLog:
    """Writes the package's lines to `log.txt` until it is closed, and shows no more of them than before."""

    def __init__(self, folder: Path):
        """Begin to write to the folder's `log.txt`, which is created with its first line."""
        self._logger = logging.getLogger("dast_jax")
        self._file = _LogFile(folder / "log.txt", encoding="utf-8", delay=True)
        self._file.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger.addHandler(self._file)
        self._upward: logging.Handler | None = None
        if self._logger.level == logging.NOTSET:  # only the file asks for lines of level INFO
            self._upward = _Upward()
            self._logger.addHandler(self._upward)
            self._logger.setLevel(logging.INFO)
            self._logger.propagate = False

    def close(self) -> None:
        """Close the file and leave the logger as it was."""
        self._logger.removeHandler(self._file)
        self._file.close()
        if self._upward is not None:
            self._logger.removeHandler(self._upward)
            self._logger.setLevel(logging.NOTSET)
            self._logger.propagate = True
            self._upward = None


class _Upward(logging.Handler):
    """Passes records on to the root logger by that logger's level, as if this package's were not set."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.root.level:
            logging.root.handle(record)


class _LogFile(logging.FileHandler):
    """`log.txt`; a disk too full for a log line is reported by the next write of a result."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass
