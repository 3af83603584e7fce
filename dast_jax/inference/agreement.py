"""How far difficulty estimators agree on a data set, for a model.

Samples trials of every query, estimates its difficulty with each estimator, and compares every pair: rank
correlations and the levels they give; and how diverse the responses are, by level.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from dast_jax.data.own_exemplars import read_exemplars, shown
from dast_jax.errors import UserError
from dast_jax.estimators.agreement import compare_all, diversity_by_level
from dast_jax.estimators.estimate import DEFAULT_SHARES, ESTIMATORS, NEEDS_TRIALS, Estimate, Rater, estimate
from dast_jax.estimators.levels import Cuts, level_counts
from dast_jax.inference.evaluation import evaluate
from dast_jax.inference.open_model import QuerySet, open_model, open_queries
from dast_jax.inference.options import AgreementOptions
from dast_jax.llm.judge import Judge
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.records import LEVELS, Pool, Query, Responses, StageKey
from dast_jax.runtime.progress import OnProgress, progress_of, silent
from dast_jax.store.comparison_results import Agreement, Diversity, EstimatorResult
from dast_jax.verifiers import Verifier

__all__ = ["compare_estimators", "measure_agreement", "sample_trials"]

log = logging.getLogger(__name__)


def measure_agreement(options: AgreementOptions, *, on_progress: OnProgress = silent) -> Agreement:
    """Sample the trials and compare the estimators.

    Raises `UserError` for a judge, a model or data that cannot be used: the judge first, before sampling.
    """
    judge = _judge(options, on_progress)
    data, responses = sample_trials(options, on_progress=on_progress)
    return compare_estimators(data.queries, responses, options, skipped=data.skipped, judge=judge)


def sample_trials(
    options: AgreementOptions, *, on_progress: OnProgress = silent
) -> tuple[QuerySet, Responses]:
    """Return the queries and their verified trials, ordered by query and trial."""
    with open_model(options.model, options.mesh, options.sampling) as model:
        data = open_queries(options.data, options.prompts, model, options.verifier.functions)
        bank = ExemplarBank.of_references(Pool(data.queries), seed=options.seed, round=0)
        own = read_exemplars(options.prompts.exemplars, options.verifier.functions)
        total = len(data.queries) * options.trials
        with (
            Verifier(options.verifier, task=options.data.task) as verifier,
            progress_of(on_progress, "sampling", total=total) as update,
        ):
            outcome = evaluate(
                model.engine,
                data.queries,
                [
                    data.prompts.build(
                        query.question,
                        shown(own, options.exemplars, query.question)
                        if own
                        else bank.fixed(i, options.exemplars),
                    )
                    for i, query in enumerate(data.queries)
                ],
                verifier=verifier,
                key=StageKey(options.seed, 0),
                trials=options.trials,
                update=update,
            )
    rollouts = [rollout for row in outcome.rollouts for rollout in row]
    verdicts = [verdict for row in outcome.verdicts for verdict in row]
    return data, Responses.of(0, rollouts, verdicts)


def compare_estimators(
    queries: Sequence[Query],
    responses: Responses,
    options: AgreementOptions,
    *,
    skipped: Sequence[str] = (),
    judge: Rater | None = None,
) -> Agreement:
    """Return how far the estimators agree, from the trials; `skipped` are ids of queries that have none.

    Raises `UserError` for a requested estimator that lacks what it needs, or where fewer than two are
    available.
    """
    names = options.estimators or _possible(queries, options)
    if len(names) < 2:
        raise UserError(f"estimators: only {', '.join(names)} is available; there is nothing to compare")
    cuts = Cuts(options.easy_cut, options.hard_cut)
    sampled = estimate("sampled", queries, responses, cuts=cuts)
    own = tuple((level_counts(sampled.levels) / len(queries)).tolist())
    shares = options.level_shares or (own if "sampled" in names else DEFAULT_SHARES)
    estimates: list[Estimate] = []
    for name in dict.fromkeys(names):
        found = sampled if name == "sampled" else None
        if found is None:
            found = estimate(
                name,
                queries,
                responses,
                cuts=cuts,
                shares=shares,
                judge=judge if name == "judge" else None,
                fallback=options.judge.fallback,
            )
        for note, count in found.notes.items():
            log.warning("estimator %s: %s: %d", name, note, count)
        estimates.append(found)
    by = estimates[0]
    return Agreement(
        model=options.model.path,
        data=options.data.train,
        skipped=tuple(skipped),
        queries=len(queries),
        trials=options.trials,
        correct=float(responses.correct.mean()),
        estimators={
            e.name: EstimatorResult(
                levels=dict(zip(LEVELS, level_counts(e.levels).tolist(), strict=True)), notes=dict(e.notes)
            )
            for e in estimates
        },
        pairs=compare_all(estimates),
        diversity=Diversity(levels_by=by.name, by_level=diversity_by_level(responses, by.levels)),
        ids=tuple(query.id for query in queries),
        scores={e.name: tuple(e.score.tolist()) for e in estimates},
    )


def _possible(queries: Sequence[Query], options: AgreementOptions) -> tuple[str, ...]:
    """Return every estimator whose inputs are available."""
    labelled = any(query.level is not None for query in queries)
    return tuple(
        name
        for name in ESTIMATORS
        if name in NEEDS_TRIALS
        or (name == "label" and labelled)
        or (name == "judge" and options.judge.endpoint)
    )


def _judge(options: AgreementOptions, on_progress: OnProgress) -> Rater | None:
    wanted = "judge" in options.estimators or (not options.estimators and options.judge.endpoint)
    return functools.partial(Judge(options.judge), on_progress=on_progress) if wanted else None
