"""The self-training loop: sample, verify, build a training set, train, evaluate; round after round.

Every stage leaves its result in the run directory and is skipped when it is found there, so the
same command resumes an interrupted run and extends a finished one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from dast_jax.config import RunConfig
from dast_jax.runtime import interruption
from dast_jax.store import RunStore
from dast_jax.store.results import Summary
from dast_jax.store.summary import read_summary, write_summary
from dast_jax.study.sharing import Shared

__all__ = ["run"]

log = logging.getLogger(__name__)


def run(config: RunConfig, shared: Shared | None = None) -> Summary:
    """Run or resume the self-training that `config` describes; return its summary.

    `shared` is what the runs of a study have in common; it changes no result.
    Raises `UserError` for the person's mistakes, `DivergedError` when a loss is not finite, and
    `InterruptedRunError` when stopped from outside or out of disk; the last two leave a resumable run.
    """
    with RunStore.open(config) as store:
        if store.is_done(f"{config.run.rounds:02d}/evaluate"):
            log.info("%s: all rounds up to %d are done; nothing to do", store.path, config.run.rounds)
            return read_summary(store)

        from dast_jax.loop.session import Session  # imports jax, which a finished run does not need
        from dast_jax.verifiers import Verifier

        with Verifier(config.verifier) as verifier:
            session = Session(config, store, verifier, shared)
            store.annotate(session.facts())

            def stage(name: str, action: Callable[..., Any], *args: Any) -> None:
                interruption.check()
                if store.is_done(name):
                    return
                started = time.monotonic()
                found = action(*args)
                store.mark_done(name, found, seconds=time.monotonic() - started)
                write_summary(store, status="running")

            stage("base/evaluate", session.evaluate_base)
            for round in range(config.run.rounds + 1):
                if store.is_done(f"{round:02d}/evaluate"):
                    continue
                session.begin(round)
                stage(f"{round:02d}/sample", session.sample, round)
                stage(f"{round:02d}/build", session.build, round)
                stage(f"{round:02d}/train", session.train, round)
                stage(f"{round:02d}/evaluate", session.evaluate, round)
        return write_summary(store, status="finished")
