"""Evaluation of a policy on named query sets: sample, verify, and count, with intervals.

Nothing here imports jax: the sampling engine is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dast_jax.metrics import stats
from dast_jax.records import FinishReason, Query, Rollout, SamplingStats, StageKey, Verdict, VerdictKind
from dast_jax.runtime import interruption

if TYPE_CHECKING:
    from dast_jax.sampling.engine import Engine
    from dast_jax.verifiers import Verifier

__all__ = ["Outcome", "evaluate", "sample_rows", "summarise"]


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
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Sample `trials` responses to every prompt and verify them; prompts[i] puts queries[i]."""
    from dast_jax.sampling.scheduler import StaticRequests, sample

    source = StaticRequests(list(prompts), trials=trials)

    def progress(stats: SamplingStats) -> None:
        if on_progress:
            on_progress(stats.trials, len(queries) * trials)

    sampling = sample(engine, source, key=key, progress=progress)
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


def summarise(outcome: Outcome, labels: Sequence[str | None]) -> dict[str, Any]:
    """The EVAL entry of `summary.json` (docs/schemas.md), with `ids` and `correct` per query.

    labels[i] is the level of query i, None for no label.
    """
    correct = outcome.correct
    trials = outcome.trials
    flat_verdicts = Counter(str(v.kind) for row in outcome.verdicts for v in row)
    lengths = [len(r.tokens) for row in outcome.rollouts for r in row]
    entry: dict[str, Any] = stats.accuracy_entry(correct, trials)
    labelled = [i for i, label in enumerate(labels) if label is not None]
    entry["ids"] = [query.id for query in outcome.queries]
    entry["correct"] = correct.tolist()
    entry["by_level"] = stats.by_level(correct[labelled], trials, [str(labels[i]) for i in labelled])
    entry["verdicts"] = {str(kind): flat_verdicts.get(str(kind), 0) for kind in VerdictKind}
    entry["truncated"] = sum(r.finish_reason is FinishReason.LENGTH for row in outcome.rollouts for r in row)
    entry["mean_length"] = float(np.mean(lengths)) if lengths else 0.0
    if trials > 1:
        powers = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= trials]
        entry["trials"] = trials
        entry["pass_at"] = {str(k): stats.pass_at_k(correct, trials, k) for k in powers}
        flags = [[v.correct for v in row] for row in outcome.verdicts]
        answers = [[v.extracted for v in row] for row in outcome.verdicts]
        entry["majority_at"] = {str(k): stats.majority_at_k(answers, flags, k) for k in powers}
    return entry


def sample_rows(
    name: str, outcome: Outcome, labels: Sequence[str | None], per_level: int = 3
) -> list[dict[str, Any]]:
    """The first `per_level` responses of each level, as rows for the report."""
    taken: Counter[str | None] = Counter()
    rows = []
    for query, label, rollouts, verdicts in zip(
        outcome.queries, labels, outcome.rollouts, outcome.verdicts, strict=True
    ):
        if taken[label] >= per_level:
            continue
        taken[label] += 1
        rows.append(
            {
                "set": name,
                "id": query.id,
                "level": label,
                "question": query.question,
                "reference": query.answer,
                "text": rollouts[0].text,
                "verdict": str(verdicts[0].kind),
                "extracted": verdicts[0].extracted,
            }
        )
    return rows
