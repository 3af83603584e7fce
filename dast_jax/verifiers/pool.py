"""Workers: processes that are started when first needed, and killed and replaced at a deadline.

They compare answers symbolically, or call a user's own verifier on whole responses.

Each worker has a thread that feeds it batches and waits for its answers. A pair that a worker was judging
when it ran out of CPU time counts as timed out; one that it was judging when it died otherwise, or was
silent for too long, is tried once more, so that the machine's load decides no verdict. The rest of its batch
goes to its successor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dast_jax.errors import UserError
from dast_jax.records import Verdict, VerdictKind
from dast_jax.runtime.limits import ended_by_overtime
from dast_jax.verifiers.equivalence import Tolerance
from dast_jax.verifiers.functions import Functions
from dast_jax.verifiers.options import VerifierOptions

__all__ = ["WorkerPool"]

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_START_ATTEMPTS = 4
_BATCH_BYTES = 32 * 1024  # below what a pipe holds, so that writing a batch never waits
_KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TMPDIR",
    "PYTHONPATH",
)


@dataclass(slots=True)
class _Item:
    line: bytes
    future: Future[Verdict]
    answer: str | None
    deaths: int = field(default=0)


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of one call, and its function, if any: a task among the config's `functions`."""

    function: str | None
    functions: Functions
    cpu_seconds: float
    wall_seconds: float
    memory_mb: int

    @classmethod
    def of(cls, options: VerifierOptions, function: str | None, functions: Functions) -> _Limits:
        if function is None:
            return cls(None, {}, options.cpu_seconds, options.wall_seconds, options.memory_mb)
        cpu = options.function_cpu_seconds
        return cls(function, functions, cpu, max(options.wall_seconds, 2 * cpu), options.function_memory_mb)

    @property
    def named(self) -> str:
        """The task as messages name it, with the function behind a name of the config's."""
        code = self.functions.get(self.function or "", self.function)
        return f"task {self.function}" if code == self.function else f"task {self.function} ({code})"


class WorkerPool:
    """Judges pairs in worker processes, started with the first one. Thread-safe.

    Answers are compared symbolically, or `function`, a task of the config's `functions`, is called on them.
    """

    def __init__(
        self, options: VerifierOptions, function: str | None = None, functions: Functions | None = None
    ):
        self._options = options
        self._function = function
        self._limits = _Limits.of(options, function, functions or {})
        self._size = options.workers or min(8, len(_usable_cores()))
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._feeders: list[_Feeder] = []
        self._lock = threading.Lock()
        self._closed = False

    def check(self) -> None:
        """Start a worker and end it. Raises `UserError` where the config's function is not available."""
        for left in reversed(range(_START_ATTEMPTS)):
            worker = _Worker(self._options, self._limits)
            try:
                worker.wait_ready()
                return
            except RuntimeError as error:
                if not (left and worker.killed):
                    raise UserError(f"{self._limits.named}: {error}") from None
            finally:
                worker.kill()

    def submit(self, reference: str, answer: str, tolerance: Tolerance | None = None) -> Future[Verdict]:
        """Return the future verdict on two texts that passed the guard. Raises `RuntimeError` once closed."""
        future: Future[Verdict] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the verifier is closed")
            if not self._feeders:
                self._feeders = [
                    _Feeder(self._queue, self._options, self._limits, self._size) for _ in range(self._size)
                ]
            if self._function is None:
                near = None if tolerance is None else [float(tolerance.amount), tolerance.relative]
                message = [0, _as_latex(reference), _as_latex(answer), near]
                shown: str | None = answer
            else:
                message, shown = [0, reference, answer, None], None
            self._queue.put(_Item((json.dumps(message) + "\n").encode("ascii"), future, shown))
        return future

    def pids(self) -> list[int]:
        """Process ids of the workers that are up."""
        return [pid for feeder in self._feeders if (pid := feeder.pid) is not None]

    def close(self) -> None:
        """End the workers; pairs not yet compared are cancelled."""
        with self._lock:
            self._closed = True
            feeders, self._feeders = self._feeders, []
        for feeder in feeders:
            feeder.stop()
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item.future.cancel()
        for _ in feeders:
            self._queue.put(None)
        for feeder in feeders:
            feeder.join()


class _Feeder:
    """One worker and the thread that feeds it."""

    def __init__(
        self, source: queue.SimpleQueue[_Item | None], options: VerifierOptions, limits: _Limits, peers: int
    ):
        self._source, self._options, self._limits, self._peers = source, options, limits, peers
        self._worker: _Worker | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        worker = self._worker
        return worker.pid if worker is not None else None

    def stop(self) -> None:
        self._stopping = True
        if (worker := self._worker) is not None:
            worker.kill()

    def join(self) -> None:
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self._start()
        while (item := self._source.get()) is not None and not self._stopping:
            batch = self._batch(item)
            try:
                self._work(batch)
            except Exception as error:  # nobody may wait for an answer that never comes
                for item in batch:
                    _settle(item.future, error)
            if self._worker is not None:  # let a worker that is up have the next pair, if this one is not
                with contextlib.suppress(RuntimeError):
                    self._worker.wait_ready()
        if item is not None:
            item.future.cancel()
        self._drop()

    def _start(self) -> None:
        """Start a worker ahead of need; a failure to start is reported when there is work."""
        try:
            self._worker = _Worker(self._options, self._limits)
        except OSError:
            self._worker = None

    def _make_ready(self) -> None:
        """Wait until a worker is ready; one that is killed while it starts is replaced.

        One that ends by itself, or by a limit of its own, would do so again: `RuntimeError`.
        """
        for left in reversed(range(_START_ATTEMPTS)):
            if self._worker is None:
                self._worker = _Worker(self._options, self._limits)
            try:
                self._worker.wait_ready()
                return
            except RuntimeError:
                if self._stopping or not (left and self._worker.killed):
                    raise
                self._drop()

    def _batch(self, first: _Item) -> deque[_Item]:
        """Return `first` and this worker's share of what else is waiting."""
        batch, size = deque([first]), len(first.line)
        share = min(self._options.batch, 1 + self._source.qsize() // self._peers)
        while len(batch) < share and size < _BATCH_BYTES // 2:
            try:
                item = self._source.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._source.put(None)
                break
            batch.append(item)
            size += len(item.line)
        return batch

    def _work(self, batch: deque[_Item]) -> None:
        """Answer every item, with as many workers as it takes; the batch is empty afterwards."""
        while batch and not self._stopping:
            try:
                self._make_ready()
            except (OSError, RuntimeError) as error:
                self._drop()
                raise RuntimeError(f"the verifier's worker does not start: {error}") from error
            self._exchange(batch)
        for item in batch:
            item.future.cancel()

    def _exchange(self, batch: deque[_Item]) -> None:
        """Send the batch and take answers from its left, until it is empty or the worker is gone."""
        worker = self._worker
        assert worker is not None
        alive = worker.send(b"".join(item.line for item in batch))
        while alive and batch:
            reply = worker.receive(self._limits.wall_seconds)
            if reply is None:
                break
            item = batch.popleft()
            _settle(item.future, self._outcome(reply, item))
            if reply[1] is None:  # out of memory: it ends itself
                self._replace()
                return
        if batch:
            code = worker.kill()
            if not self._stopping:
                self._blame(batch, worker.timed_out, code)
                self._replace()

    def _outcome(self, reply: list[Any], item: _Item) -> Verdict | Exception:
        """Return what a reply `[id, outcome, reason, extracted]` says."""
        outcome, reason, extracted = reply[1], reply[2], reply[3]
        if self._limits.function is None:
            if isinstance(outcome, str):  # math-verify's own verdict, on a whole response
                return Verdict(VerdictKind(outcome), extracted, reason)
            return _verdict(outcome, reason, item.answer)
        if outcome == "unusable":
            return UserError(f"{self._limits.named}: {reason}")
        if outcome == "raised":
            _warn_once(
                f"{self._limits.named}: {reason}; such a response counts as incorrect "
                "(logged once; the reason of each verdict has it)"
            )
            return Verdict(VerdictKind.INCORRECT, None, reason)
        return Verdict(VerdictKind(outcome or "timed_out"), extracted, reason)

    def _blame(self, batch: deque[_Item], wall: bool, code: int) -> None:
        """Decide what the death of the worker means for the pair that it was judging."""
        item = batch[0]
        item.deaths += 1
        reason = None
        if ended_by_overtime(code) and not wall:
            reason = f"no verdict within {self._limits.cpu_seconds:g} s of CPU time"
        elif (
            item.deaths > 1
        ):  # once may be somebody else's doing: a kill, a stop, a machine without a free core
            if wall:
                reason = f"twice no verdict within {self._limits.wall_seconds:g} s"
            else:
                reason = f"the worker died twice (exit status {code})"
        if reason is not None:
            batch.popleft()
            _settle(item.future, Verdict(VerdictKind.TIMED_OUT, item.answer, reason))

    def _replace(self) -> None:
        """Start the next worker ahead of need."""
        self._drop()
        self._start()

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None


class _Worker:
    """A worker process and its two pipes."""

    def __init__(self, options: VerifierOptions, limits: _Limits):
        config = {
            "cpu_seconds": limits.cpu_seconds,
            "memory_mb": limits.memory_mb,
            "float_rounding": options.float_rounding,
            "backend": options.backend,
            "function": limits.function,
            "functions": dict(limits.functions),
            "path": sys.path if limits.function else [],  # where this process would find the module
        }
        self.timed_out = False
        self.killed = False
        """Whether a signal that is no limit of its own ended it before it was ready."""
        self._ready = False
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dast_jax.verifiers.worker", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # the terminal's Ctrl-C is for the parent, which ends its workers itself
        )
        self.pid = self._process.pid
        # a thread of its own, as no other way to wait for a pipe with a deadline works on all systems
        threading.Thread(target=_read, args=(self._process.stdout, self._replies), daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process)

    def wait_ready(self) -> None:
        """Raise RuntimeError where the worker fails to start."""
        if self._ready:
            return
        reply = self.receive(_START_SECONDS)
        if reply is None or reply[0] != "ready":
            status = self.kill() if reply is None else 0
            self.killed = status < 0 and not self.timed_out and not ended_by_overtime(status)
            raise RuntimeError(reply[1] if reply else f"no reply (exit status {status})")
        self._ready = True

    def send(self, data: bytes) -> bool:
        """Return whether the worker took the lines."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return False
        return True

    def receive(self, seconds: float) -> list[Any] | None:
        """Return the next reply; None when the worker is gone, or (`timed_out`) silent for `seconds`."""
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            self.timed_out = True
            return None
        if not line.endswith(b"\n"):
            self._replies.put(b"")  # nothing comes after the end
            return None
        reply: list[Any] = json.loads(line)
        return reply

    def kill(self) -> int:
        """End the process if it has not ended; its exit status (negative: the signal that ended it first)."""
        self._process.kill()
        return self._process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _read(pipe: IO[bytes], replies: queue.SimpleQueue[bytes]) -> None:
    """Put every line of the pipe into `replies`, and at its end an empty one."""
    with pipe:
        for line in pipe:
            replies.put(line)
    replies.put(b"")


def _settle(future: Future[Verdict], outcome: Verdict | Exception) -> None:
    """Give the future its outcome, unless its owner has cancelled it."""
    with contextlib.suppress(InvalidStateError):
        if isinstance(outcome, Verdict):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    task = message.partition(": ")[0]
    if task not in _warned:
        _warned.add(task)
        log.warning("%s", message)


def _verdict(equal: bool | None, reason: str, answer: str | None) -> Verdict:
    if equal is None:
        return Verdict(VerdictKind.TIMED_OUT, answer, reason)
    return Verdict(VerdictKind.CORRECT if equal else VerdictKind.INCORRECT, answer, reason)


def _as_latex(answer: str) -> str:
    """Return a cleaned answer in the spelling the LaTeX grammar knows."""
    text = answer.replace("**", "^").replace("%", "\\%")
    return re.sub(r"(?<![a-zA-Z\\])(pi|sin|cos|tan|log|ln)(?![a-zA-Z])", r"\\\1", text)


def _environment() -> dict[str, str]:
    """Return the environment that a worker needs: no tokens, and this package on its path."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(p for p in (root, kept.get("PYTHONPATH", "")) if p)
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _usable_cores() -> list[int]:
    found = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return sorted(found)
