"""The same training queries under every policy, zero-shot and few-shot, by equally many trials.

[ours] What a round samples is chosen by the method, so its pass rates, levels and entropies do not compare
across rounds. The probe's do: which queries, how many trials, and the exemplars are the same for all policies
and methods. Few-shot prompts show one fixed set of reference solutions, none of them of a probed query, or
the first of `prompts.exemplars`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from dast_jax.data.own_exemplars import shown
from dast_jax.estimators.distinct import Distinct
from dast_jax.estimators.reliability import known_levels, transitions
from dast_jax.inference.evaluation import Outcome, evaluate
from dast_jax.loop.context import PROBE, Context, stage_key
from dast_jax.loop.policy import BASE
from dast_jax.metrics import stats
from dast_jax.records import Exemplar, Pool, SamplingStats
from dast_jax.runtime.progress import progress_of
from dast_jax.store.analysis_results import ProbeCounts, ProbeEntry, ProbeResult

__all__ = ["Probed", "choose", "probe", "probe_counts", "probe_entry", "probe_result"]

log = logging.getLogger(__name__)

_EXEMPLARS = 4
_POWERS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The trials of the probed queries; `few_shot` is None where the pool has too few reference solutions."""

    zero_shot: Outcome
    few_shot: Outcome | None

    @property
    def cost(self) -> SamplingStats:
        """What sampling cost."""
        few = SamplingStats() if self.few_shot is None else self.few_shot.sampling
        return self.zero_shot.sampling + few


def probe(context: Context, round: int, title: str) -> Probed | None:
    """Sample the probed queries from the policy after `round`, whose weights `context.sampler` holds.

    None where `evaluation.probe` is 0.
    """
    options = context.config.evaluation
    if not options.probe:
        return None
    asked, exemplars = choose(context.pool, options.probe, context.config.run.seed)
    if context.exemplars:
        exemplars = shown(context.exemplars, _EXEMPLARS, "")
    trials = (
        options.probe_trials if context.config.sampling.temperature else 1
    )  # greedy ones are all the same
    shortened = context.prompts.shortened
    zero_shot = _sample(context, round, asked, (), PROBE, trials, f"{title}: probing, zero-shot")
    few_shot = None
    if exemplars:
        few_shot = _sample(context, round, asked, exemplars, PROBE + 1, trials, f"{title}: probing, few-shot")
    elif round == BASE:
        log.warning(
            "evaluation.probe: no few-shot prompts, as fewer than %d training queries besides those probed "
            "have a reference solution",
            _EXEMPLARS,
        )
    shortened = context.prompts.shortened - shortened
    if shortened:
        log.warning(
            "%s: %d few-shot prompts of evaluation.probe lost exemplars, to fit sampling.prompt_buckets",
            title,
            shortened,
        )
    return Probed(zero_shot=zero_shot, few_shot=few_shot)


def choose(pool: Pool, queries: int, seed: int) -> tuple[np.ndarray, tuple[Exemplar, ...]]:
    """Return which queries are probed, sorted int64 [k], and the exemplars of the few-shot prompts.

    There are none where fewer than 4 other queries have a reference solution.
    """
    rng = np.random.default_rng([seed, 9, len(pool)])
    asked = np.sort(rng.choice(len(pool), min(queries, len(pool)), replace=False))
    others = np.setdiff1d([i for i, query in enumerate(pool.queries) if query.solution], asked)
    if len(others) < _EXEMPLARS:
        return asked, ()
    shown = [pool.queries[i] for i in rng.choice(others, _EXEMPLARS, replace=False)]
    return asked, tuple(Exemplar(question=q.question, response=q.solution or "") for q in shown)


def _sample(
    context: Context,
    round: int,
    asked: np.ndarray,
    exemplars: tuple[Exemplar, ...],
    stage: int,
    trials: int,
    title: str,
) -> Outcome:
    queries = [context.pool.queries[i] for i in asked]
    with progress_of(context.on_progress, title) as update:
        return evaluate(
            context.sampler,
            queries,
            [context.prompts.build(query.question, exemplars) for query in queries],
            verifier=context.verifier,
            key=stage_key(context.config.run.seed, round, stage),
            trials=trials,
            update=update,
        )


# --- numbers ------------------------------------------------------------------------------------------


def probe_counts(probed: Probed) -> ProbeCounts:
    """Return the correct trials of each query."""
    few = probed.few_shot
    return ProbeCounts(
        ids=tuple(query.id for query in probed.zero_shot.queries),
        trials=probed.zero_shot.trials,
        zero_shot=tuple(probed.zero_shot.correct.tolist()),
        few_shot=() if few is None else tuple(few.correct.tolist()),
    )


def probe_result(probed: Probed, base: ProbeCounts | None) -> ProbeResult:
    """Return the probe's numbers; `base` are the counts of M_0, None for M_0 itself."""
    now = probe_counts(probed)
    moved: dict[str, dict[str, int]] = {}
    solved = lost = None
    if base is not None:
        before, after = _decisive(base), _decisive(now)
        levels = [
            known_levels(side, np.full(len(side), counts.trials))
            for side, counts in ((before, base), (after, now))
        ]
        moved = transitions(*levels)
        solved = int(((before == 0) & (after > 0)).sum())
        lost = int(((before > 0) & (after == 0)).sum())
    return ProbeResult(
        trials=now.trials,
        zero_shot=probe_entry(probed.zero_shot),
        few_shot=None if probed.few_shot is None else probe_entry(probed.few_shot),
        transitions=moved,
        solved=solved,
        lost=lost,
    )


def _decisive(counts: ProbeCounts) -> np.ndarray:
    """Return the few-shot counts, as levels are estimated few-shot; without them the zero-shot ones."""
    return np.array(counts.few_shot or counts.zero_shot)


def probe_entry(outcome: Outcome) -> ProbeEntry:
    """Return the numbers of one kind of prompt."""
    rollouts = [rollout for row in outcome.rollouts for rollout in row]
    different = Distinct("by_task", [query.task for query in outcome.queries])
    distinct = [
        len({different.key(i, r.text) for r, v in zip(row, verdicts, strict=True) if v.correct})
        for i, (row, verdicts) in enumerate(zip(outcome.rollouts, outcome.verdicts, strict=True))
    ]
    return ProbeEntry(
        **vars(stats.accuracy_entry(outcome.correct, outcome.trials)),
        mean_length=float(np.mean([len(rollout.tokens) for rollout in rollouts])),
        pass_at={
            str(k): stats.pass_at_k(outcome.correct, outcome.trials, k)
            for k in _POWERS
            if k <= outcome.trials
        },
        mean_entropy=stats.mean_entropy([rollout.entropy for rollout in rollouts]),
        distinct_correct=float(np.mean(distinct)),
    )
