"""The self-training loop: sample, verify, build a training set, train, evaluate; round after round.

Every stage leaves its result in the run directory and is skipped when it is found there, so the
same command resumes an interrupted run and extends a finished one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dast_jax.config import RunConfig, run_settings
from dast_jax.loop.stages import Stages
from dast_jax.runtime.ahead import one_after_another
from dast_jax.runtime.progress import OnProgress, silent
from dast_jax.store.results import Summary
from dast_jax.store.run_store import RunStore
from dast_jax.store.summary import read_summary, write_summary

if TYPE_CHECKING:
    from dast_jax.loop.context import Tools

__all__ = ["run"]

log = logging.getLogger(__name__)


def run(config: RunConfig, *, on_progress: OnProgress = silent, tools: Tools | None = None) -> Summary:
    """Run or resume the self-training that `config` describes; return its summary.

    `tools` are what it samples with, for callers with many runs; they do not change the result.
    Raises `UserError` for user errors, `DivergedError` when a loss is not finite, and
    `InterruptedRunError` when stopped from outside or out of disk; the last two leave a resumable run.
    """
    with RunStore.open(run_settings(config)) as store:
        if all(store.is_done(f"{name}/evaluate") for name in ("base", *_rounds(config))):
            log.info("%s: all rounds up to %d are done; nothing to do", store.path, config.run.rounds)
            return read_summary(store)
        _run_stages(config, store, on_progress, tools)
        return write_summary(store, status="finished")


def _rounds(config: RunConfig) -> list[str]:
    """Return the names of the run's rounds."""
    return [f"{round:02d}" for round in range(config.run.rounds + 1)]


def _run_stages(config: RunConfig, store: RunStore, on_progress: OnProgress, tools: Tools | None) -> None:
    """Carry out every stage that is not done. Imports jax, which a finished run does not need."""
    from dast_jax.loop import annotation, build, context, evaluation, sampling, training
    from dast_jax.methods import make_method
    from dast_jax.verifiers import Verifier

    with Verifier(config.verifier, task=config.data.task) as verifier:
        opened = context.open_context(
            config, store, verifier, tools=tools or context.Tools(), on_progress=on_progress
        )
        facts = context.facts(opened)
        if store.stages:
            context.check_same_inputs(store.facts, facts, config)
        store.annotate(facts)
        with Stages(store) as stage, one_after_another() as ahead:
            for engine in (opened.evaluator, opened.sampler):
                engine.compile_ahead(ahead)
            if config.method.annotations:
                stage("base/annotate", annotation.annotate, opened)
            pool = annotation.annotated_pool(opened)
            method = make_method(config.method, pool, config.run.seed)
            if not store.is_done(f"{_rounds(config)[-1]}/train"):
                training.compile_ahead(opened, method, ahead)
            stage("base/evaluate", evaluation.evaluate_base, opened, method)
            for round in range(config.run.rounds + 1):
                if store.is_done(f"{round:02d}/evaluate"):
                    continue
                carried = build.begin(opened, method, round)
                stage(f"{round:02d}/sample", sampling.collect, opened, method, round, carried)
                stage(f"{round:02d}/build", build.build, opened, method, round, carried)
                written = training.written(opened)
                stage(f"{round:02d}/train", training.train, opened, method, round, written=written)
                stage(f"{round:02d}/evaluate", evaluation.evaluate_round, opened, method, round)
