"""The wrapper around every command's `main`: exit codes and messages.

Exit codes: 0 done, 1 a bug (with its traceback), 2 a user error, 3 the training diverged, 75 interrupted but
resumable (signal, full disk). What the user can fix is reported in one sentence on stderr. Messages and
tracebacks may quote a file, a model or a server, so control characters in them are escaped.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from dast_jax.cli.arguments import OutputShown
from dast_jax.cli.console import start_console
from dast_jax.cli.signals import catch_signals
from dast_jax.errors import DivergedError, InterruptedRunError, UserError, disk_full
from dast_jax.runtime import interruption
from dast_jax.runtime.visible import visible

__all__ = ["command"]


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a command's `main(argv=None)` so that it returns the exit code, including on errors."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        restore_signals, restore_console = catch_signals(), start_console()
        try:
            return main(argv) or 0
        except OutputShown:
            return 0
        except (UserError, DivergedError, InterruptedRunError) as error:
            return _report(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            name = getattr(error, "name", "SIGINT")
            return _report(
                f"stopped by {name}; run the same command to continue", InterruptedRunError.exit_code
            )
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone
            return InterruptedRunError.exit_code
        except Exception as error:
            if (place := disk_full(error)) is not None:
                message = f"disk full{place}; free space and run the same command to continue"
                return _report(message, InterruptedRunError.exit_code)
            if isinstance(error, PermissionError) and error.filename:
                message = f"{error.filename}: permission denied; choose a path that you have access to"
                return _report(message, UserError.exit_code)
            print(visible(traceback.format_exc(), keep="\n\t"), end="", file=sys.stderr, flush=True)
            return 1
        finally:
            interruption.clear()
            restore_console()
            restore_signals()

    return wrapped


def _report(message: str, code: int) -> int:
    sys.stdout.flush()
    message = visible(message)
    print(f"error: {message}" if code == UserError.exit_code else message, file=sys.stderr, flush=True)
    return code
