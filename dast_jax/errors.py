"""Errors meant for the person at the keyboard: one sentence each, and the exit code that goes with it."""

__all__ = ["DivergedError", "InterruptedRunError", "UserError"]


class UserError(Exception):
    """The person's mistake: the message says what is wrong, where (file, row, key), and what to do."""

    exit_code = 2


class DivergedError(Exception):
    """Training produced a loss or gradient that is not finite; the last good checkpoint is kept."""

    exit_code = 3


class InterruptedRunError(Exception):
    """The run was stopped from outside (signal, full disk); the same command resumes it."""

    exit_code = 75
