"""The wrapper around every command's `main`: exit codes and messages.

Exit codes: 0 done, 1 a bug (with its traceback), 2 a user error, 3 the training diverged, 75 interrupted but
resumable (signal, full disk, too little memory, a reader of its output that has gone).
What the user can fix is reported in one sentence on stderr.
Messages and tracebacks may quote a file, a model or a server, so control characters in them are escaped.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from dast_jax.cli.arguments import OutputShown
from dast_jax.cli.console import start_console
from dast_jax.cli.signals import catch_signals
from dast_jax.distributed.supervise import is_child
from dast_jax.errors import DivergedError, EndedError, InterruptedRunError, UserError, disk_full
from dast_jax.runtime import interruption
from dast_jax.runtime.compilation_cache import use_compilation_cache
from dast_jax.runtime.visible import visible

__all__ = ["command"]


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a command's `main(argv=None)` so that it returns the exit code, including on errors."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _accept_any_text()
        # transformers would print that it lacks PyTorch, which nothing here uses
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        use_compilation_cache()
        restore_signals, restore_console = catch_signals(twice=is_child()), start_console()
        try:
            code = main(argv) or 0
            sys.stdout.flush()  # here, and not as the interpreter ends, where a closed pipe is a traceback
            return code
        except OutputShown:
            return 0
        except (UserError, DivergedError, InterruptedRunError, EndedError) as error:
            return _report(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            name = getattr(error, "name", "SIGINT")
            return _report(
                f"stopped by {name}; run the same command to continue", InterruptedRunError.exit_code
            )
        except BrokenPipeError:
            _discard_output()
            return InterruptedRunError.exit_code
        except Exception as error:
            if (known := _known(error)) is not None:
                return _report(*known)
            print(visible(traceback.format_exc(), keep="\n\t"), end="", file=sys.stderr, flush=True)
            return 1
        finally:
            interruption.clear()
            restore_console()
            restore_signals()

    return wrapped


def _known(error: Exception) -> tuple[str, int] | None:
    """Return the message and exit code for what the system refused; None for a bug."""
    if (place := disk_full(error)) is not None:
        message = f"disk full{place}; free space and run the same command to continue"
        return message, InterruptedRunError.exit_code
    if _out_of_memory(error):
        message = (
            "out of memory; run the same command with more memory to continue, or with fewer sampling.slots "
            "or a smaller training.micro_batch_size"
        )
        return message, InterruptedRunError.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.errno in _REFUSALS:
        return f"{error.filename}: {_REFUSALS[error.errno]}", UserError.exit_code
    return None


_REFUSALS = {
    errno.EACCES: "permission denied; choose a path that you have access to",
    errno.EPERM: "permission denied; choose a path that you have access to",
    errno.EROFS: "the file system is read-only; choose a path that can be written",
    errno.EISDIR: "is a folder where a file is expected; move it away",
    errno.ENOTDIR: "is not in a folder: a part of the path is a file; move that away",
    errno.EEXIST: "is in the way; move it away",
    errno.EIO: "the disk reports an error; check it, or choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose another path",
    errno.ELOOP: "its symbolic links lead in a circle; choose another path",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ESTALE: "the network file system has lost it; mount it again",
}
"""Error number → what is wrong, and what to do."""


def _out_of_memory(error: BaseException) -> bool:
    """Return whether Python, the system or the accelerator had no memory left."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return type(error).__name__ in ("XlaRuntimeError", "JaxRuntimeError", "ArrowMemoryError") and (
        "RESOURCE_EXHAUSTED" in str(error) or "malloc" in str(error) or "out of memory" in str(error).lower()
    )


def _accept_any_text() -> None:
    """Let stdout and stderr escape what their encoding lacks, in an ASCII locale for example."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send the rest of the output nowhere: its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _report(message: str, code: int) -> int:
    message = visible(message)
    try:
        sys.stdout.flush()
        print(f"error: {message}" if code == UserError.exit_code else message, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard_output()
    return code
