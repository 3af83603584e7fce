"""A parent process that turns the abort of its child into an exit code and a sentence.

When a process of a run is gone or silent, jax aborts the others from a thread of its own, which Python
cannot catch. The parent imports no jax, passes signals on, and answers for what it sees: 75 for a child that
was ended by a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from dast_jax.errors import InterruptedRunError

__all__ = ["is_child", "supervise"]

_VARIABLE = "DAST_JAX_PARENT"

_PR_SET_PDEATHSIG = 1

_AGAIN_SECONDS = 2.0
"""A second signal ends the child at once; one that comes sooner is the first, sent to a group."""


def is_child() -> bool:
    """Return whether this process has such a parent."""
    return os.environ.get(_VARIABLE) == str(os.getppid())


def supervise(module: str, arguments: Sequence[str], silence: int) -> int:
    """Run the command `module` in a child process; return its exit code.

    Raises `InterruptedRunError` where a signal ended it, as jax does within about `silence` seconds after
    another process of the run is gone.
    """
    environment = {**os.environ, _VARIABLE: str(os.getpid())}
    child = subprocess.Popen([sys.executable, "-m", __name__, module, *arguments], env=environment)
    before = {}
    first: float | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal first
        first = time.monotonic() if first is None else first
        again = time.monotonic() - first > _AGAIN_SECONDS
        with contextlib.suppress(ProcessLookupError):
            if again:
                child.kill()
            else:
                child.send_signal(number)

    names = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows: no SIGHUP
    for number in (n for n in names if n is not None):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, pass_on)
    try:
        code = child.wait()
    finally:
        child.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    if name == "SIGABRT":
        raise InterruptedRunError(
            f"another process of the run is gone, or was silent for {silence} s (distributed."
            "silence_seconds): the lines of jax above say which; run the same command on every host to resume"
        )
    raise InterruptedRunError(
        f"this process was ended by {name}, and with it the run; run the same command on every host to resume"
    )


def _main(module: str, *arguments: str) -> None:
    """Run the command in this process, which ends with its parent."""
    if sys.platform == "linux":
        import resource

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.argv = [module, *arguments]
    code: int = importlib.import_module(module).main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # past jax's own end, which may wait for processes that are gone


if __name__ == "__main__":
    _main(*sys.argv[1:])
