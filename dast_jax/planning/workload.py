"""How often a round calls each program: from the config, and from assumptions that the plan prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dast_jax.planning.programs import Shapes

__all__ = ["Workload", "calls", "workload"]

_GSM8K_TRAIN, _GSM8K_TEST = 7473, 1319
_QUESTION = 100
"""Tokens of a question by itself, as it stands before the responses that are trained on."""
_OCCUPIED, _PACKED = 0.85, 0.9
"""The shares of slots and of row positions that are of use."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A round in numbers, and where each is from.

    queries, trials (responses of a query), kept (examples or pairs of a query), response (mean tokens),
    evaluated (responses to test questions).
    """

    queries: int
    trials: int
    kept: int
    response: float
    evaluated: int
    assumptions: tuple[str, ...]


def workload(shapes: Shapes, queries: int | None, response: int | None) -> Workload:
    """Return a round's numbers; `queries` and `response` are the user's where given."""
    config, options = shapes.config, shapes.config.method
    count = queries or config.data.limit or _GSM8K_TRAIN
    source = "--queries" if queries else "data.limit" if config.data.limit else "as many as GSM8K has"
    trials, trials_from = _first(options, ("trials", "budget", "pre_trials"), config.sampling.trials)
    kept, kept_from = _first(options, ("base_quota", "pairs", "at_most"), 1)
    kept = min(kept, trials)
    mean = float(response or config.sampling.max_new_tokens / 2)
    evaluation = config.evaluation
    of_set = evaluation.limit or _GSM8K_TEST
    evaluated = len(evaluation.sets) * of_set * evaluation.trials
    assumptions = (
        f"{count:,} training queries ({source}), {trials} responses to each ({trials_from}), "
        f"{kept} of them trained on ({kept_from})",
        f"{mean:,.0f} tokens in a mean response "
        f"({'--response-tokens' if response else 'half of max_new_tokens'})",
        f"prompts of {shapes.sampling.buckets[-1]:,} tokens to sample, questions of {_QUESTION} to train",
        f"{_OCCUPIED:.0%} of the slots and {_PACKED:.0%} of the row positions in use",
        f"evaluation of {evaluated:,} responses a round ({len(evaluation.sets)} sets of {of_set:,})",
    )
    return Workload(
        queries=count, trials=trials, kept=kept, response=mean, evaluated=evaluated, assumptions=assumptions
    )


def _first(options: Any, names: tuple[str, ...], otherwise: int) -> tuple[int, str]:
    """Return the first of the options' fields of these names, and what it is called."""
    for name in names:
        if isinstance(value := getattr(options, name, None), int):
            return value, f"method.{name}"
    return otherwise, "assumed"


def calls(shapes: Shapes, work: Workload) -> dict[str, float]:
    """Return the calls of each program in a round."""
    o, t = shapes.sampling, shapes.training
    responses = work.queries * work.trials + work.evaluated
    prompts = work.queries + work.evaluated
    per_step = t.batch_size * t.sequence_length * _PACKED
    examples = work.queries * work.kept

    def steps(tokens: float) -> float:
        count = max(1.0, t.epochs * examples * tokens / per_step)
        return min(count, t.max_steps) if t.max_steps else count

    pairs = steps(_QUESTION + 2 * work.response)
    micro = (t.micro_batch_size or t.batch_size) / t.batch_size
    return {
        "prefill": prompts / o.prefill_rows(o.buckets[-1]),
        "decode": responses * work.response / (o.slots * o.tick_steps * _OCCUPIED),
        "sft": steps(_QUESTION + work.response),
        "preference": pairs,
        "score": pairs / t.epochs / micro,
    }
