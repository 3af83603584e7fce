"""Evaluation of a policy on named query sets: sample, verify, and count, with intervals.

Nothing here imports jax: the sampling engine is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dast_jax.metrics import stats
from dast_jax.records import FinishReason, Query, Rollout, SamplingStats, StageKey, Verdict, VerdictKind
from dast_jax.runtime import interruption
from dast_jax.runtime.progress import Update
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.evaluation_results import SampleRow, SetEvaluation, VerdictCounts
from dast_jax.verifiers.response import runs_away

if TYPE_CHECKING:
    from dast_jax.sampling.engine import Engine
    from dast_jax.verifiers import Verifier

__all__ = ["Outcome", "evaluate", "sample_rows", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All trials of one set of n queries: rollouts and verdicts, [n][trials], and the sampler's stats."""

    queries: tuple[Query, ...]
    rollouts: tuple[tuple[Rollout, ...], ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    sampling: SamplingStats

    @property
    def correct(self) -> np.ndarray:
        """int [n]: correct trials per query."""
        return np.array([sum(v.correct for v in row) for row in self.verdicts], np.int32)

    @property
    def trials(self) -> int:
        return len(self.verdicts[0]) if self.verdicts else 0


def evaluate(
    engine: Engine,
    queries: Sequence[Query],
    prompts: Sequence[tuple[int, ...]],
    *,
    verifier: Verifier,
    key: StageKey,
    trials: int = 1,
    update: Update | None = None,
) -> Outcome:
    """Sample `trials` responses to every prompt and verify them; prompts[i] is the prompt of queries[i].

    `update` reports the trials that are done, and the programs that are compiled first.
    """
    from dast_jax.sampling.scheduler import StaticRequests, sample

    source = StaticRequests(list(prompts), trials=trials)

    total, done = len(queries) * trials, 0

    def progress(stats: SamplingStats) -> None:
        nonlocal done
        done = stats.trials
        if update:
            update(done, total=total, info="")

    if update:
        engine.on_compile = lambda text: update(done, total=total, info=text)
    try:
        sampling = sample(engine, source, key=key, progress=progress)
    finally:
        engine.on_compile = None
    rollouts = source.rollouts
    pending = [
        [verifier.submit(query.answer, rollout.text, query.task) for rollout in row]
        for query, row in zip(queries, rollouts, strict=True)
    ]
    verdicts = []
    for row in pending:
        verdicts.append(tuple(future.result() for future in row))
        interruption.check()
    return Outcome(
        queries=tuple(queries),
        rollouts=tuple(tuple(row) for row in rollouts),
        verdicts=tuple(verdicts),
        sampling=sampling,
    )


def summarize(outcome: Outcome, labels: Sequence[str | None]) -> SetEvaluation:
    """Return the counts of an evaluation with their intervals.

    labels[i] is the level of query i, None for no label.
    """
    correct, trials = outcome.correct, outcome.trials
    rollouts = [rollout for row in outcome.rollouts for rollout in row]
    kinds = Counter(v.kind for row in outcome.verdicts for v in row)
    lengths = [len(rollout.tokens) for rollout in rollouts]
    overall = stats.accuracy_entry(correct, trials)
    pass_at, majority_at = _of_several_trials(outcome)
    return SetEvaluation(
        accuracy=overall.accuracy,
        interval=overall.interval,
        n=overall.n,
        by_level=_by_level(outcome, labels),
        verdicts=VerdictCounts(**{str(kind): kinds[kind] for kind in VerdictKind}),
        truncated=sum(rollout.finish_reason is FinishReason.LENGTH for rollout in rollouts),
        runaway=sum(map(_runs_away, rollouts)),
        mean_length=float(np.mean(lengths)) if lengths else 0.0,
        trials=trials,
        pass_at=pass_at,
        majority_at=majority_at,
        ids=tuple(query.id for query in outcome.queries),
        correct=tuple(correct.tolist()),
    )


def _runs_away(rollout: Rollout) -> bool:
    return runs_away(rollout.text, truncated=rollout.finish_reason is FinishReason.LENGTH)


def _by_level(outcome: Outcome, labels: Sequence[str | None]) -> dict[str, LevelAccuracy]:
    """Return the accuracy and the mean length of each level, over the queries that have a label."""
    lengths = [float(np.mean([len(r.tokens) for r in row])) for row in outcome.rollouts]
    return {
        level: LevelAccuracy(
            **vars(entry),
            mean_length=float(
                np.mean([n for n, label in zip(lengths, labels, strict=True) if label == level])
            ),
        )
        for level, entry in stats.by_level(outcome.correct, outcome.trials, labels).items()
    }


def _of_several_trials(outcome: Outcome) -> tuple[dict[str, stats.Score], dict[str, stats.Score]]:
    """Return pass@k and majority@k for k a power of two; nothing for one trial."""
    trials = outcome.trials
    powers = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= trials] if trials > 1 else []
    flags = [[v.correct for v in row] for row in outcome.verdicts]
    answers = [[v.extracted for v in row] for row in outcome.verdicts]
    return (
        {str(k): stats.pass_at_k(outcome.correct, trials, k) for k in powers},
        {str(k): stats.majority_at_k(answers, flags, k) for k in powers},
    )


def sample_rows(
    name: str, outcome: Outcome, labels: Sequence[str | None], per_level: int = 3
) -> list[SampleRow]:
    """Return the first `per_level` responses of each level, for the report."""
    taken: Counter[str | None] = Counter()
    rows = []
    for query, label, rollouts, verdicts in zip(
        outcome.queries, labels, outcome.rollouts, outcome.verdicts, strict=True
    ):
        if taken[label] >= per_level:
            continue
        taken[label] += 1
        rows.append(
            SampleRow(
                set=name,
                id=query.id,
                level=label,
                question=query.question,
                reference=query.answer,
                text=rollouts[0].text,
                verdict=str(verdicts[0].kind),
                extracted=verdicts[0].extracted,
                tokens=len(rollouts[0].tokens),
                truncated=rollouts[0].finish_reason is FinishReason.LENGTH,
                runaway=_runs_away(rollouts[0]),
            )
        )
    return rows
