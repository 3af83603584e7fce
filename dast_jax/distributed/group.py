"""The processes of a run: process 0 leads, the others do what it says.

Process 0 alone holds the run directory, the method, the verifier and the scheduler. Before it calls a
compiled program it says so (`tell`), and the others call the same program with the same small arrays
(`hear`). What depends on a clock, a signal, the disk or an error is computed by process 0 for all of them
(`decide`).

Messages are numbered entries in the key-value store of jax's coordination service, which process 0 runs; a
large one is broadcast by a collective instead. The same service notices that a process is gone or silent,
and aborts the others (`distributed.supervise` makes an exit code and a sentence of that).

With one process `tell` does nothing, and `decide` only computes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dast_jax.distributed import messages
from dast_jax.errors import EndedError, InterruptedRunError, UserError
from dast_jax.runtime import interruption

__all__ = ["Group", "broadcast", "current", "decide", "everywhere", "leads", "set_current", "tell"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_LARGE = 2**16
"""Bytes from which a message is broadcast: the store takes 1 ms for 10 KB and 160 ms for a megabyte."""

_BLOCK = 1024
"""Messages are deleted in blocks of so many, when every process has read them."""

_END, _REPORT = "dast_jax/end", "dast_jax/report"
_POLL_MS = 1000
_LONG_MS = 3_600_000
_END_SECONDS = 10


class Group:
    """This process among those of the run."""

    def __init__(self, client: Any, index: int, size: int):
        """`client` is that of jax's coordination service."""
        self._client = client
        self.index = index
        self.size = size
        self.shares_folder = True
        """Whether every process sees the run's folder; else process 0 writes and reads for all."""
        self._sent = self._heard = self._asked = 0
        self._reported = self._over = False

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.index == 0

    # --- commands ----------------------------------------------------------------------------------

    def tell(self, name: str, **values: Any) -> None:
        """Say what the other processes should do now, with JSON values and numpy arrays (process 0)."""
        number, self._sent = self._sent, self._sent + 1
        if number and number % _BLOCK == 0:
            self._forget(number // _BLOCK - 1)
        content = messages.encode(name, values)
        if len(content) <= _LARGE:
            self._client.key_value_set_bytes(_key(number), content)
        else:
            head = messages.encode("large", {"bytes": len(content)})
            self._client.key_value_set_bytes(_key(number), head)
            broadcast(content, len(content))

    def hear(self) -> tuple[str, dict[str, Any]]:
        """Wait for what process 0 says next. Raises `EndedError` when it has ended the run."""
        number, self._heard = self._heard, self._heard + 1
        while True:
            self._report_signal()
            try:
                content = self._client.blocking_key_value_get_bytes(_key(number), _POLL_MS)
                break
            except Exception as error:
                if not _is_timeout(error):
                    raise
        if self._heard % _BLOCK == 0:
            self._client.key_value_set(f"dast_jax/read/{number // _BLOCK}/{self.index}", "")
        name, values = messages.decode(content)
        if name == "large":
            name, values = messages.decode(broadcast(None, values["bytes"]))
        if name == "end":
            raise EndedError(values["code"], values["message"])
        return name, values

    def _forget(self, block: int) -> None:
        """Delete a block of messages, when all have read it."""
        for index in range(1, self.size):
            self._client.blocking_key_value_get(f"dast_jax/read/{block}/{index}", _LONG_MS)
        self._client.key_value_delete(f"dast_jax/say/{block}/")

    # --- the other direction -----------------------------------------------------------------------

    def everywhere(self, value: bool) -> bool:
        """Return whether `value` is true on every process, when all of them have called it."""
        number, self._asked = self._asked, self._asked + 1
        if self.leads:
            keys = [f"dast_jax/answer/{number}/{index}" for index in range(1, self.size)]
            others = [json.loads(self._client.blocking_key_value_get(key, _LONG_MS)) for key in keys]
            return decide(lambda: value and all(others))
        self._client.key_value_set(f"dast_jax/answer/{number}/{self.index}", json.dumps(value))
        return decide(lambda: value)

    def _report_signal(self) -> None:
        """Pass a signal that has arrived here on to process 0, which decides when to stop."""
        error = interruption.pending()
        if error is not None and not self._reported:
            self._reported = True
            self.report("signal", f"{interruption.name(error)} at process {self.index}")

    def report(self, kind: str, message: str, code: int = InterruptedRunError.exit_code) -> None:
        """Tell process 0 that this one was asked to stop ("signal") or cannot continue ("failed")."""
        try:
            self._client.key_value_set(_REPORT, json.dumps([kind, message, code]))
        except Exception as error:  # another process was first, or process 0 is gone
            log.debug("not reported: %s", error)

    def watch(self) -> None:
        """Begin to wait for what the other side may say at any time, in a thread."""
        target = self._watch_reports if self.leads else self._watch_end
        threading.Thread(target=target, name="group-watch", daemon=True).start()

    def _watch_reports(self) -> None:
        """Turn the first report of another process into a request to stop."""
        text = self._wait_for(_REPORT)
        if text is None or self._over:
            return
        kind, message, code = json.loads(text)
        if kind == "signal":
            message = f"stopped by {message}; run the same command to continue"
        error = UserError if code == UserError.exit_code else InterruptedRunError
        interruption.request(error(message))
        if kind == "failed":
            time.sleep(_END_SECONDS)
            if not self._over:  # it may hang in a collective with the process that failed
                leave(error.exit_code, message)

    def _watch_end(self) -> None:
        """End this process some time after process 0 has ended the run, if it hangs in a collective."""
        text = self._wait_for(_END)
        if text is None:
            return
        time.sleep(_END_SECONDS)
        code, message = json.loads(text)
        if not self._over:
            leave(code, message)

    def _wait_for(self, key: str) -> str | None:
        while not self._over:
            try:
                text: str = self._client.blocking_key_value_get(key, _LONG_MS)
                return text
            except Exception as error:
                if not _is_timeout(error):
                    return None  # the coordination service is gone, and jax ends this process
        return None

    # --- the end ---------------------------------------------------------------------------------------

    def say_end(self, code: int, message: str) -> None:
        """End the run on the other processes (process 0)."""
        self._over = True
        try:
            self._client.key_value_set(_END, json.dumps([code, message]))
            content = messages.encode("end", {"code": code, "message": message})
            self._client.key_value_set_bytes(_key(self._sent), content)
        except Exception as error:
            log.debug("not said: %s", error)

    def await_end(self, seconds: float) -> tuple[int, str] | None:
        """Return what process 0 ends the run with, where it does so within `seconds`."""
        try:
            code, message = json.loads(self._client.blocking_key_value_get(_END, int(seconds * 1000)))
        except Exception as error:
            log.debug("no end: %s", error)
            return None
        return code, message

    def part(self, seconds: float) -> bool:
        """Wait until all processes have come to the end; return whether they have within `seconds`."""
        self._over = True
        try:
            self._client.wait_at_barrier("dast_jax/parted", int(seconds * 1000))
        except Exception as error:
            log.debug("parted alone: %s", error)
            return False
        return True


def leave(code: int, message: str) -> None:
    """End the process at once, with a message: its main thread may hang in a collective."""
    print(message, file=sys.stderr, flush=True)
    os._exit(code)


_current: Group | None = None


def set_current(group: Group | None) -> None:
    """Make `group` that of this process; None: it works alone."""
    global _current
    _current = group


def current() -> Group | None:
    """Return the group of this process, or None where it works alone."""
    return _current


def leads() -> bool:
    """Return whether this process decides and writes: it is process 0, or works alone."""
    return _current is None or _current.leads


def tell(name: str, **values: Any) -> None:
    """Say to the other processes, if there are any and this is process 0, what to do now."""
    if _current is not None and _current.leads:
        _current.tell(name, **values)


def decide(compute: Callable[[], T]) -> T:
    """Return what process 0 computes, a JSON value, on every process.

    An error that it raises there ends the run on the others, in their next `hear`.
    """
    if _current is None:
        return compute()
    if _current.leads:
        value = compute()
        _current.tell("decision", value=value)
        return value
    name, values = _current.hear()
    if name != "decision":
        raise RuntimeError(f"expected a decision of process 0, heard {name!r}")
    decided: T = values["value"]
    return decided


def everywhere(value: bool) -> bool:
    """Return whether `value` is true on every process, when all of them have called it."""
    return value if _current is None else _current.everywhere(value)


def broadcast(content: bytes | None, size: int) -> bytes:
    """Return the `size` bytes of process 0, on which `content` is given, on every process.

    A collective, which all of them have to call; it is compiled once per power of two.
    """
    from jax.experimental import multihost_utils

    padded = np.zeros(1 << max(10, (-(-size // 4) - 1).bit_length()), np.int32)
    if content is not None:
        padded.view(np.uint8)[:size] = np.frombuffer(content, np.uint8)
    whole: np.ndarray = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    return whole.tobytes()[:size]


def _key(number: int) -> str:
    return f"dast_jax/say/{number // _BLOCK}/{number}"


def _is_timeout(error: Exception) -> bool:
    return "DEADLINE_EXCEEDED" in str(error)
