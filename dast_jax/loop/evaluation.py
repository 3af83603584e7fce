"""The evaluation stages: M_0 and every round's policy on the evaluation sets, and those sets' levels."""

from __future__ import annotations

from typing import Any

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.inference.evaluation import Outcome, evaluate, sample_rows, summarise
from dast_jax.loop.context import EVALUATE, LABEL, LENGTH, Context, rest, stage_key
from dast_jax.loop.length_probe import length_ratio
from dast_jax.loop.policy import BASE
from dast_jax.loop.problems import EvaluationSet
from dast_jax.methods.base import Method
from dast_jax.metrics import stats
from dast_jax.metrics.flops import sampling_flops
from dast_jax.records import LEVELS, SamplingStats, StageKey
from dast_jax.runtime.progress import progress_of
from dast_jax.sampling.engine import Engine

__all__ = ["evaluate_base", "evaluate_round"]


def evaluate_base(context: Context, method: Method) -> dict[str, Any]:
    """Evaluate M_0 on every set; where the config says so, label the sets without levels by its trials."""
    for dataset in context.problems.evaluation.values():
        _label(context, dataset)
    return _evaluate_policy(context, method, BASE)


def evaluate_round(context: Context, method: Method, round: int) -> dict[str, Any]:
    """Evaluate the policy that the round's training made."""
    if round != context.config.run.rounds and not context.config.evaluation.every_round:
        return {"evaluation": {}, "paired": {}, "length_ratio": None}
    return _evaluate_policy(context, method, round)


def _evaluate_policy(context: Context, method: Method, round: int) -> dict[str, Any]:
    params = context.policy.after(round)
    title = "M_0" if round == BASE else f"round {round}"
    entries: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    cost = SamplingStats()
    context.evaluator.set_params(params)
    for i, (name, dataset) in enumerate(context.problems.evaluation.items()):
        labels = _labels(context, dataset)
        outcome = _run_set(
            context,
            context.evaluator,
            dataset,
            context.config.evaluation.trials,
            stage_key(context.config.run.seed, round, EVALUATE + i),
            f"{title}: evaluating {name}",
        )
        entries[name] = summarise(outcome, labels)
        rows += sample_rows(name, outcome, labels)
        cost += outcome.sampling
        context.store.log_metrics("evaluation", round=round, set=name, accuracy=entries[name]["accuracy"])
    rest(context.evaluator)
    ratio, probe = _length_ratio(context, method, round)
    context.store.write_json(
        f"rounds/{'base' if round == BASE else f'{round:02d}'}/eval.json",
        {"schema": "dast_jax.eval/1", "sets": entries, "samples": rows, "length_ratio": ratio},
    )
    facts: dict[str, Any] = {
        "evaluation": {name: _without_queries(entry) for name, entry in entries.items()},
        "length_ratio": ratio,
        "flops": sampling_flops(context.policy.parameters, cost + probe),
    }
    if round != BASE:
        facts["paired"] = _paired(context, entries)
    return facts


def _run_set(
    context: Context, engine: Engine, dataset: EvaluationSet, trials: int, key: StageKey, title: str
) -> Outcome:
    with progress_of(context.on_progress, title) as update:
        return evaluate(
            engine,
            dataset.queries,
            [context.prompts.build(query.question, ()) for query in dataset.queries],
            verifier=context.verifier,
            key=key,
            trials=trials,
            on_progress=lambda done, total: update(done, total=total),
        )


def _paired(context: Context, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return, per set, the paired difference of accuracies between this policy and M_0."""
    base = context.store.read_json("rounds/base/eval.json")["sets"]
    trials = context.config.evaluation.trials
    return {
        name: stats.paired_difference(
            np.asarray(entry["correct"]) / trials, np.asarray(base[name]["correct"]) / trials
        )
        for name, entry in entries.items()
    }


def _length_ratio(context: Context, method: Method, round: int) -> tuple[float | None, SamplingStats]:
    context.sampler.set_params(context.policy.after(round))
    found = length_ratio(
        context.sampler,
        context.pool,
        method.levels,
        context.prompts.build,
        queries=context.config.evaluation.length_probe,
        key=stage_key(context.config.run.seed, round, LENGTH),
    )
    rest(context.sampler)
    return found


def _labels(context: Context, dataset: EvaluationSet) -> list[str | None]:
    """Return the levels of a set: the data's own, else those by M_0's trials where they were made."""
    path = _labels_path(dataset)
    if dataset.labelled or not context.store.exists(path):
        return [query.level for query in dataset.queries]
    levels: list[str | None] = context.store.read_json(path)["levels"]
    return levels


def _label(context: Context, dataset: EvaluationSet) -> None:
    """Give a level to each query of a set that comes without, by M_0's trials."""
    trials = context.config.evaluation.level_trials
    if not trials or dataset.labelled:
        return
    context.sampler.set_params(context.policy.after(BASE))
    key = stage_key(context.config.run.seed, BASE, LABEL)
    outcome = _run_set(context, context.sampler, dataset, trials, key, f"M_0: levels of {dataset.name}")
    rest(context.sampler)
    levels = [LEVELS[level] for level in levels_from_counts(outcome.correct, trials)]
    context.store.write_json(_labels_path(dataset), {"trials": trials, "levels": levels})


def _labels_path(dataset: EvaluationSet) -> str:
    return f"rounds/base/levels_{dataset.name}.json"


def _without_queries(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("correct", "ids")}
