"""The accuracy of a model on a data set, zero-shot."""

from __future__ import annotations

from dast_jax.inference.evaluation import evaluate, summarize
from dast_jax.inference.open_model import open_model, open_queries
from dast_jax.inference.options import EvaluateOptions
from dast_jax.records import StageKey
from dast_jax.runtime.progress import OnProgress, progress_of, silent
from dast_jax.store.evaluation_results import Metrics
from dast_jax.verifiers import Verifier

__all__ = ["evaluate_model"]


def evaluate_model(options: EvaluateOptions, *, on_progress: OnProgress = silent) -> Metrics:
    """Sample zero-shot answers to `options.data.train`, verify them, and return the metrics.

    Raises `UserError` for a model or data that cannot be used.
    """
    model = open_model(options.model, options.mesh, options.evaluation.sampling(options.sampling))
    data = open_queries(
        options.data, options.prompts, model, options.verifier.functions, limit=options.evaluation.limit
    )
    with (
        Verifier(options.verifier, task=options.data.task) as verifier,
        progress_of(on_progress, "evaluating", total=len(data.queries)) as update,
    ):
        outcome = evaluate(
            model.engine,
            data.queries,
            [data.prompts.build(query.question, ()) for query in data.queries],
            verifier=verifier,
            key=StageKey(options.seed, 0),
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
