"""Errors meant for users: one sentence each, and the exit code of the command."""

import errno

__all__ = ["DivergedError", "EndedError", "InterruptedRunError", "UserError", "disk_full"]


class UserError(Exception):
    """A user error: the message says what is wrong, where (file, row, key), and what to do."""

    exit_code = 2


class DivergedError(Exception):
    """Training produced a loss or gradient that is not finite; the last good checkpoint is kept."""

    exit_code = 3


class InterruptedRunError(Exception):
    """The run was stopped from outside (signal, full disk); the same command resumes it."""

    exit_code = 75


class EndedError(Exception):
    """Process 0 of a run on several has ended it, with this exit code."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.exit_code = code


def disk_full(error: BaseException) -> str | None:
    """Return " (writing PATH)" or "" where `error` or its cause is a full disk or quota, else None."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in (errno.ENOSPC, errno.EDQUOT):
            return f" (writing {current.filename})" if current.filename else ""
        if "No space left on device" in str(current):  # raised by writers that are not Python's own
            return ""
        current = current.__cause__ or current.__context__
    return None
