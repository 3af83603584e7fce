"""The evaluation stages: M_0 and every round's policy on the evaluation sets, and those sets' levels."""

from __future__ import annotations

import logging

import numpy as np

from dast_jax.estimators.levels import levels_from_counts
from dast_jax.inference.evaluation import Outcome, evaluate, sample_rows, summarize
from dast_jax.loop.context import EVALUATE, LABEL, LENGTH, Context, rest, stage_key
from dast_jax.loop.length_probe import length_ratio
from dast_jax.loop.policy import BASE
from dast_jax.loop.problems import EvaluationSet
from dast_jax.loop.query_probe import probe, probe_counts, probe_result
from dast_jax.methods.base import Method
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops, sampling_flops
from dast_jax.records import LEVELS, SamplingStats, StageKey
from dast_jax.runtime.progress import progress_of
from dast_jax.sampling.engine import Engine
from dast_jax.store.analysis_results import ProbeCounts, ProbeResult
from dast_jax.store.evaluation_results import EvalFile, SampleRow, SetEvaluation, SetLevels
from dast_jax.store.results import EvaluationResult

__all__ = ["evaluate_base", "evaluate_round"]

log = logging.getLogger(__name__)


def evaluate_base(context: Context, method: Method) -> EvaluationResult:
    """Evaluate M_0 on every set; if configured, label the sets without levels by its trials."""
    for dataset in context.problems.evaluation.values():
        _label(context, dataset)
    return _evaluate_policy(context, method, BASE)


def evaluate_round(context: Context, method: Method, round: int) -> EvaluationResult:
    """Evaluate the policy that the round's training produced."""
    if round != context.config.run.rounds and not context.config.evaluation.every_round:
        return EvaluationResult(evaluation={}, paired={}, length_ratio=None, probe=None, flops=Flops())
    return _evaluate_policy(context, method, round)


def _evaluate_policy(context: Context, method: Method, round: int) -> EvaluationResult:
    params = context.policy.for_sampling(round)
    title = "M_0" if round == BASE else f"round {round}"
    entries: dict[str, SetEvaluation] = {}
    rows: list[SampleRow] = []
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
        entries[name] = summarize(outcome, labels)
        rows += sample_rows(name, outcome, labels)
        cost += outcome.sampling
        context.store.log_metrics("evaluation", round=round, set=name, accuracy=entries[name].accuracy)
    context.store.log_samples(round, rows)
    rest(context.evaluator)
    ratio, length_cost = _length_ratio(context, method, round)
    found, probe, probe_cost = _probe(context, round, title)
    context.store.write_result(
        f"rounds/{'base' if round == BASE else f'{round:02d}'}/eval.json",
        EvalFile(sets=entries, samples=tuple(rows), length_ratio=ratio, probe=found),
    )
    return EvaluationResult(
        evaluation={name: entry.entry for name, entry in entries.items()},
        paired={} if round == BASE else _paired(context, entries),
        length_ratio=ratio,
        probe=probe,
        flops=sampling_flops(context.policy.parameters, cost + length_cost + probe_cost),
    )


def _run_set(
    context: Context, engine: Engine, dataset: EvaluationSet, trials: int, key: StageKey, title: str
) -> Outcome:
    shortened = context.prompts.shortened
    prompts = [context.evaluation_prompt(query.question) for query in dataset.queries]
    if (shortened := context.prompts.shortened - shortened) and key.round == 0:
        log.warning(
            "evaluation.sets.%s: %d prompts show fewer exemplars than evaluation.exemplars, to fit "
            "sampling.prompt_buckets",
            dataset.name,
            shortened,
        )
    with progress_of(context.on_progress, title) as update:
        return evaluate(
            engine,
            dataset.queries,
            prompts,
            verifier=context.verifier,
            key=key,
            trials=trials,
            update=update,
        )


def _paired(context: Context, entries: dict[str, SetEvaluation]) -> dict[str, stats.PairedDifference]:
    """Return, per set, the paired difference of accuracies between this policy and M_0."""
    base = context.store.read_result(EvalFile, "rounds/base/eval.json").sets
    trials = context.config.evaluation.trials
    return {
        name: stats.paired_difference(
            np.asarray(entry.correct) / trials, np.asarray(base[name].correct) / trials
        )
        for name, entry in entries.items()
    }


def _length_ratio(context: Context, method: Method, round: int) -> tuple[float | None, SamplingStats]:
    context.sampler.set_params(context.policy.for_sampling(round))
    found = length_ratio(
        context.sampler,
        context.pool,
        method.levels,
        context.prompts.build,
        queries=context.config.evaluation.length_probe,
        key=stage_key(context.config.run.seed, round, LENGTH),
    )
    rest(context.sampler)
    if found[0] is None and context.config.evaluation.length_probe:
        log.warning(
            "%s: evaluation.length_probe has no ratio, as too few hard or easy training queries have a "
            "reference solution",
            "M_0" if round == BASE else f"round {round}",
        )
    return found


def _probe(
    context: Context, round: int, title: str
) -> tuple[ProbeCounts | None, ProbeResult | None, SamplingStats]:
    """Return the probe's counts, its numbers against M_0's, and what sampling cost."""
    context.sampler.set_params(context.policy.for_sampling(round))
    probed = probe(context, round, title)
    rest(context.sampler)
    if probed is None:
        return None, None, SamplingStats()
    base = None
    if round != BASE:
        base = context.store.read_result(EvalFile, "rounds/base/eval.json").probe
    return probe_counts(probed), probe_result(probed, base), probed.cost


def _labels(context: Context, dataset: EvaluationSet) -> list[str | None]:
    """Return the levels of a set: the data's own, else those by M_0's trials where they were made."""
    path = _labels_path(dataset)
    if dataset.labelled or not context.store.exists(path):
        return [query.level for query in dataset.queries]
    return list(context.store.read_result(SetLevels, path).levels)


def _label(context: Context, dataset: EvaluationSet) -> None:
    """Give a level to each query of a set that comes without, by M_0's trials."""
    trials = context.config.evaluation.level_trials
    if not trials or dataset.labelled:
        return
    context.sampler.set_params(context.policy.for_sampling(BASE))
    key = stage_key(context.config.run.seed, BASE, LABEL)
    outcome = _run_set(context, context.sampler, dataset, trials, key, f"M_0: levels of {dataset.name}")
    rest(context.sampler)
    levels = [LEVELS[level] for level in levels_from_counts(outcome.correct, trials)]
    context.store.write_result(_labels_path(dataset), SetLevels(trials=trials, levels=tuple(levels)))


def _labels_path(dataset: EvaluationSet) -> str:
    return f"rounds/base/levels_{dataset.name}.json"
