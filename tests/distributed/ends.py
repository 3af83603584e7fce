"""A command that ends as its argument says, for a parent to watch."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from dast_jax.cli import command
from dast_jax.runtime import interruption


class _Again:
    """An output at whose flush the signal comes again, as late as a command can get it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
        os.kill(os.getpid(), signal.SIGTERM)


@command
def main(argv: Sequence[str] | None = None) -> int:
    how = (argv or [""])[0]
    if how.isdigit():
        return int(how)
    if how == "wait":
        with interruption.deferred(None):
            print("ready", flush=True)
            while interruption.pending() is None:
                time.sleep(0.01)
            time.sleep(0.2)  # while the same signal arrives once more
            interruption.check()
    if how == "at once":  # the same signal once more, before the first is noted
        note = interruption.request
        interruption.request = lambda error: (os.kill(os.getpid(), signal.SIGTERM), note(error))[1]
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "late":  # the same signal once more, when the command is over
        sys.stdout = _Again(sys.stdout)  # type: ignore[assignment]
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "hang":
        with interruption.deferred(0.2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)
    return 0


if __name__ == "__main__":
    from dast_jax.distributed.supervise import supervise

    sys.exit(command(lambda argv: supervise("tests.distributed.ends", sys.argv[1:], 9))())
