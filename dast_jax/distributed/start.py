"""Join the processes of a run, before any other call of jax, and part from them."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from dast_jax.distributed.environment import PROCESS_ID, PROCESSES
from dast_jax.distributed.group import Group, set_current
from dast_jax.distributed.options import DistributedOptions
from dast_jax.errors import EndedError, InterruptedRunError, UserError
from dast_jax.runtime import interruption

__all__ = ["join"]

log = logging.getLogger(__name__)

_STOP_SECONDS = 30.0
"""A signal is acted on at the next step, tick or stage; where none comes for this long, the process ends."""

_SHUTDOWN_SECONDS = 10
_EXPECTED_SECONDS = 2.0  # for an error that process 0 has, too
_PART_SECONDS = 20.0
_FINISH_SECONDS = 60.0

_COMPILED = ("XlaRuntimeError", "JaxRuntimeError")

_LOST_PEER = ("gloo", "connection closed by peer", "connection reset by peer", "socket closed")
"""What a failed collective says when a process at its other end is gone."""


@contextlib.contextmanager
def join(options: DistributedOptions, count: int) -> Iterator[None]:
    """Be one of `count` processes until the block ends; with one, do nothing.

    Signals do not interrupt the block: they are requests that its loops act on, so that no process is left in
    a collective. However process 0 leaves the block, it ends the run on the others, with its exit code.
    """
    if count == 1:
        yield
        return
    group = _start(options, count)
    set_current(group)
    group.watch()
    error: BaseException | None = None
    try:
        with interruption.deferred(_STOP_SECONDS):
            yield
    except BaseException as raised:
        error = raised
    interruption.settle()
    error = _part(group, error, options)
    set_current(None)
    if error is not None:
        raise error


def _start(options: DistributedOptions, count: int) -> Group:
    import jax

    # Its handler of SIGTERM would replace ours, and process 0 decides when to stop.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address=options.coordinator or None,
            num_processes=options.processes or _number(PROCESSES),
            process_id=options.process_id if options.process_id >= 0 else _number(PROCESS_ID),
            initialization_timeout=options.start_seconds,
            heartbeat_timeout_seconds=options.silence_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"distributed: {count} processes could not be joined ({_first_line(error)}); set "
            "distributed.coordinator, processes and process_id, or distributed.processes=1 for one process"
        ) from error
    if jax.process_count() != count:
        raise UserError(
            f"distributed.processes: {count} were expected, but jax counts {jax.process_count()}; "
            "set it to the number that the launcher starts"
        )
    from jax._src.distributed import global_state  # the store has no public name

    return Group(global_state.client, jax.process_index(), count)


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    if text and not text.isdigit():
        raise UserError(f"{name}: expected a number, got {text!r}")
    return int(text) if text else None


def _part(group: Group, error: BaseException | None, options: DistributedOptions) -> BaseException | None:
    """End the run on the other processes, or as process 0 ends it; return the error that it ends with."""
    import jax

    if error is not None and _is_lost_peer(error):
        error = InterruptedRunError(
            f"process {group.index} of {group.size}: another process of the run is gone "
            f"({_first_line(error)[:200]}); run the same command on every host to resume"
        )
        if group.leads:
            group.say_end(*_conclusion(error, group.index))
        return error
    if error is not None and type(error).__name__ in _COMPILED and "RESOURCE_EXHAUSTED" not in str(error):
        # A collective that failed because a process is gone: jax notices within this time, and ends this one.
        log.error("a compiled program failed: %s", _first_line(error))
        time.sleep(options.silence_seconds + 5)
    if group.leads:
        group.say_end(*_conclusion(error, group.index))
    elif error is not None:
        end = group.await_end(_EXPECTED_SECONDS)
        if end is not None:
            error = EndedError(*end)
        elif not isinstance(error, EndedError):
            code, message = _conclusion(error, group.index)
            group.report("failed", message, code)
    if group.part(_PART_SECONDS if error is not None else _FINISH_SECONDS):
        jax.distributed.shutdown()
    return error


def _is_lost_peer(error: BaseException) -> bool:
    text = str(error).lower()
    return type(error).__name__ in _COMPILED and any(sign in text for sign in _LOST_PEER)


def _conclusion(error: BaseException | None, index: int) -> tuple[int, str]:
    """Return the exit code of process `index`, and its message for the others."""
    if error is None:
        return 0, ""
    if isinstance(error, KeyboardInterrupt):
        return InterruptedRunError.exit_code, f"process {index} was stopped by {interruption.name(error)}"
    code = getattr(error, "exit_code", None)
    if code is not None:
        return code, f"process {index}: {error}"
    return 1, f"process {index} failed with {type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:500]
