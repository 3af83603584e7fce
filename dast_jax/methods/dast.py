"""DAST: difficulty-aware self-training, arXiv 2503.09029.

    estimate   K trials per query by M_0, behind the same exemplars; levels easy / middle / hard / unsolved
    round 0    train on D_o, the reference solutions
    round t    quota per query by level (DAST-P); sample each query, shown exemplars of its own level
               (DAST-L), until its quota of correct responses, distinct from each other and from its
               reference solution, is met or its trials are spent; train on D_a ∪ D_o, zero-shot

DAST-D (`loss: dpo`) has the same rounds with pairs in place of examples: from round 1 on each query is
sampled until its correct and incorrect responses make its quota of different pairs; DPO trains on them.

`proportion` and `length` switch the two parts off: both on is DAST-S, one of them on is DAST-P or DAST-L,
both off is plain rejection sampling (or plain DPO). From the paper: four levels from few-shot trials of the
initial policy, fixed during self-training; round 0 on D_o, later rounds on D_a ∪ D_o; more responses for
harder levels; exemplars of the query's own level control the length. K, the cut points, the quotas and how
exemplars and pairs are drawn are [ours]. How levels are estimated: `level_estimate`. With `reuse_estimate`
M_0's trials count toward round 1, where easy and middle queries then need hardly any others: compare P, L and
pairs without it. `training.start` and `training.reference` can be M_0 every round, as in the authors' code.

With all queries solved every level is easy and all have the same quota; with none solved DAST-S trains on
the reference solutions alone, and DAST-D on pairs of reference solutions and incorrect responses.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.distinct import DistinctResponses
from dast_jax.estimators.levels import UNSOLVED
from dast_jax.methods import level_estimate
from dast_jax.methods.allocation import level_quotas, numbered, top_up
from dast_jax.methods.base import Method, RoundStart, distinct_option, exemplars_option, require_references
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.methods.pairs import quota_pairs, trials_for_pairs
from dast_jax.methods.training_sets import build_training_set, first_distinct, reference_set, trials_used
from dast_jax.options import opt
from dast_jax.records import (
    LEVELS,
    Exemplar,
    Pool,
    PreferenceSet,
    PromptKind,
    Requests,
    Responses,
    Tally,
    TrainingSet,
)

__all__ = ["Dast", "Options"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(level_estimate.LevelOptions):
    """Options of `method.name: dast`; the defaults are [ours] unless they say otherwise."""

    proportion: bool = opt(True, "DAST-P: more training examples for harder levels")
    length: bool = opt(True, "DAST-L: sample with exemplars of the query's own level")
    base_quota: int = opt(4, "training examples or pairs per query, before the level's multiplier", min=1)
    multipliers: dict[str, int] = opt(
        {"easy": 1, "middle": 1, "hard": 3, "unsolved": 2},
        "quota multiplier of each level",
        choices=LEVELS,
        min=1,
    )
    max_repeats: int = opt(4, "maximum uses of one text or pair of a query, to fill its quota", min=1)
    max_trials: int = opt(
        64, "maximum trials per query and round, those reused from the level estimate included", min=1
    )
    reuse_estimate: bool = opt(True, "round 1 counts M_0's trials, instead of only sampling afresh from M_1")
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    loss: str = opt("sft", "sft (DAST-S) or dpo (DAST-D)", choices=("sft", "dpo"))

    def __post_init__(self) -> None:
        super().__post_init__()
        counted = self.reuse_estimate or self.re_estimate == "every_round"
        if counted and self.max_trials < self.trials:
            message = "method.max_trials: {} is less than method.trials ({}), which count toward it; raise it"
            raise UserError(message.format(self.max_trials, self.trials))


class Dast(Method):
    """Run the algorithm box above."""

    state = ("levels", "used")
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        require_references(pool, "DAST trains on in round 0;")
        level_estimate.check_estimate(pool, options)
        if options.length and not options.exemplars:
            log.warning("method.length has no effect with method.exemplars=0, which samples zero-shot")
        self.used: np.ndarray | None = None  # how many of each query's trials the last round made use of
        self.has_reference = np.array([bool(query.solution) for query in pool.queries])

    # --- which queries to sample next, and with which prompt ---

    def begin(self, round: RoundStart) -> Responses:
        """Carry over the trials of the estimate to round 1, if they are reused there."""
        super().begin(round)
        last = round.history(self.round - 1) if self.round else Responses.none()
        self._solved = last if self.used is None else last.take(last.trial < self.used[last.query])
        self._matched: ExemplarBank | None = None
        self._estimating = self.round == 0 or self.options.re_estimate == "every_round"
        self._trials: list[Responses] = []  # of the estimate, where it looks at more than counts
        reused = self.round == 1 and self.options.reuse_estimate and not self._estimating
        carried = last if reused else Responses.none()
        n, pairs = len(self.pool), self.options.loss == "dpo"
        self._found = DistinctResponses(n, self.distinct, count_rejectable=pairs)
        if self.round and not pairs:  # an example that repeats its reference is not new
            self._found.know((references := reference_set(self.pool)).query, references.text)
        self._found.add(carried)
        return carried

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the estimate's K trials of every query; when all have finished, more up to the quotas."""
        options = self.options
        if self.round and len(news):
            self._found.add(news)
        if self._estimating:
            if options.estimator != "sampled":
                self._trials.append(news)
            requests = level_estimate.estimate_requests(tally, options.trials, self.fixed)
            if requests is not None:
                return requests
            self._estimate(tally.correct, self._trials)
        if self.round == 0:
            return Requests.none()
        quotas, found = self.quotas(), self._found.usable
        if options.loss == "dpo":
            bad, by_reference = self._found.rejectable, self._by_reference()
            more = trials_for_pairs(quotas, found, bad, tally, by_reference, options.max_trials)
        else:
            deficit = np.maximum(quotas - self.has_reference - found, 0)
            more = top_up(deficit, found, tally, options.max_trials)
        return numbered(more, tally, self.shown(PromptKind.MATCHED) if options.length else self.plain)

    def exemplars(self, query: int, kind: int, block: int = 0) -> tuple[Exemplar, ...]:
        """Return solved problems of the query's level (matched), or reference solutions."""
        if kind == PromptKind.MATCHED:
            return self._bank().draw(query, self.options.exemplars, block=block)
        return super().exemplars(query, kind, block)

    def _bank(self) -> ExemplarBank:
        if self._matched is None:
            assert self.levels is not None, "levels come first"
            self._matched = ExemplarBank.by_level(
                self.pool, self.levels, self._solved, seed=self.seed, round=self.round
            )
        return self._matched

    def _estimate(self, correct: np.ndarray, trials: list[Responses]) -> None:
        self.levels, self.facts = level_estimate.estimate_levels(self.pool, self.options, correct, trials)
        level_estimate.warn_of(self.facts, self.round)
        self._estimating, self._trials = False, []

    def quotas(self) -> np.ndarray:
        """Return the examples (the reference solution included) or pairs per query, int64 [n]."""
        assert self.levels is not None, "levels come first"
        spread = None if self.options.proportion else self.seed
        return level_quotas(self.levels, self.options.base_quota, self.options.multipliers, spread)

    def _by_reference(self) -> np.ndarray:
        """Return which queries prefer their reference to an incorrect response: the unsolved, bool [n]."""
        return (self.levels == UNSOLVED) & self.has_reference

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """Return D_o in round 0; later D_a ∪ D_o or pairs, short quotas filled by repeats (`proportion`)."""
        options, n = self.options, len(self.pool)
        if self._estimating:
            first = level_estimate.of_estimate(responses, self.round, options.trials)
            trials = [] if options.estimator == "sampled" else [responses.take(first)]
            self._estimate(level_estimate.correct_trials(responses, first, n), trials)
        assert self.levels is not None
        if self.round == 0:
            self.used = np.full(n, options.trials, np.int32)
            return reference_set(self.pool)
        if (responses.kind == PromptKind.MATCHED).any():
            self.facts = {**self.facts, **self._bank().notes(options.exemplars)}
        quotas = self.quotas()
        repeats = options.max_repeats if options.proportion else 1
        if options.loss == "dpo":
            pairs, self.used = quota_pairs(
                self.pool, responses, self.distinct, quotas, self._by_reference(), self.levels,
                max_repeats=repeats, max_trials=options.max_trials, seed=[self.seed, self.round],
            )  # fmt: skip
            return pairs
        need = quotas - self.has_reference
        rows = first_distinct(responses, self.distinct, need, references_of=self.pool)
        self.used = trials_used(responses, rows, need, options.max_trials)
        return build_training_set(self.pool, responses, rows, quotas, self.levels, repeats)
