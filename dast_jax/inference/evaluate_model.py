"""The accuracy of a model on a data set, zero-shot or behind exemplars."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from dast_jax.data.own_exemplars import read_exemplars, shown
from dast_jax.errors import UserError
from dast_jax.inference.evaluation import evaluate, summarize
from dast_jax.inference.open_model import OpenModel, QuerySet, open_model, open_queries
from dast_jax.inference.options import EvaluateOptions
from dast_jax.records import Query, StageKey
from dast_jax.runtime.progress import OnProgress, progress_of, silent
from dast_jax.store.evaluation_results import Metrics
from dast_jax.verifiers import Verifier

__all__ = ["evaluate_model", "evaluate_opened"]

log = logging.getLogger(__name__)


def evaluate_model(options: EvaluateOptions, *, on_progress: OnProgress = silent) -> Metrics:
    """Sample answers to `options.data.train`, verify them, and return the metrics.

    Raises `UserError` for a model or data that cannot be used.
    """
    if options.evaluation.exemplars and not options.prompts.exemplars:
        raise UserError("evaluation.exemplars: there are none to show; name a file in prompts.exemplars")
    exemplars = read_exemplars(options.prompts.exemplars, options.verifier.functions)
    if options.data.mixture:
        log.warning("data.mixture is ignored: evaluated is %s alone", options.data.train)
        options = dataclasses.replace(options, data=dataclasses.replace(options.data, mixture={}))
    key = StageKey(options.seed, 0)
    with open_model(options.model, options.mesh, options.evaluation.sampling(options.sampling)) as model:
        return evaluate_opened(model, options, exemplars, key=key, on_progress=on_progress)


def evaluate_opened(
    model: OpenModel,
    options: EvaluateOptions,
    solved: Sequence[Query],
    *,
    key: StageKey,
    title: str = "evaluating",
    on_progress: OnProgress = silent,
) -> Metrics:
    """Do the same with a model that is open; `solved` are the problems that exemplars are taken from."""
    data = open_queries(
        options.data, options.prompts, model, options.verifier.functions, limit=options.evaluation.limit
    )
    prompts = [
        data.prompts.build(query.question, shown(solved, options.evaluation.exemplars, query.question))
        for query in data.queries
    ]
    _warn_of_fewer(options, data, len(solved))
    with (
        Verifier(options.verifier, task=options.data.task) as verifier,
        progress_of(on_progress, title, total=len(data.queries)) as update,
    ):
        outcome = evaluate(
            model.engine,
            data.queries,
            prompts,
            verifier=verifier,
            key=key,
            trials=options.evaluation.trials,
            update=update,
        )
    evaluation = summarize(outcome, [query.level for query in data.queries])
    return Metrics(
        model=options.model.path,
        data=options.data.train,
        skipped=tuple(data.skipped),
        **vars(evaluation),
    )


def _warn_of_fewer(options: EvaluateOptions, data: QuerySet, available: int) -> None:
    """Log where prompts show fewer exemplars than asked for, and why."""
    if available < options.evaluation.exemplars:
        log.warning("there are %d solved problems to show, fewer than evaluation.exemplars", available)
    if data.prompts.shortened:
        log.warning(
            "%d prompts show fewer exemplars than evaluation.exemplars, to fit sampling.prompt_buckets",
            data.prompts.shortened,
        )
