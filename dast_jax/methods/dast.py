"""DAST: difficulty-aware self-training, arXiv 2503.09029.

    estimate   K few-shot trials per query by M_0; levels easy / middle / hard / unsolved by pass rate
    round 0    train on D_o, the reference solutions
    round t    quota per query by level (DAST-P); sample each query, shown exemplars of its own level
               (DAST-L), until its quota of correct responses, distinct from each other and from its
               reference solution, is met or its trials are spent; train on D_a ∪ D_o, zero-shot

DAST-D (`loss: dpo`) has the same rounds with pairs in place of examples: from round 1 on each query is
sampled until its correct and incorrect responses make its quota of different pairs; DPO trains on them.

`proportion` and `length` switch the two parts off: both on is DAST-S, one of them on is DAST-P or DAST-L,
both off is plain rejection sampling (or plain DPO). From the paper: four levels from few-shot trials of the
initial policy, fixed during self-training; round 0 on D_o, later rounds on D_a ∪ D_o; more responses for
harder levels; exemplars of the query's own level control the length. The paper gives no numbers for K, the
cut points or the quotas, nor how exemplars and pairs are drawn: everything marked [ours] below and in
the options is this package's choice. How levels are estimated: `level_estimate`.

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
from dast_jax.methods.base import Method, RoundStart, require_references
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.methods.pairs import quota_pairs, trials_for_pairs, trials_until_pairs
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
    max_repeats: int = opt(
        4, "maximum times that one text or pair may appear for a query, to fill a quota", min=1
    )
    max_trials: int = opt(
        64, "maximum trials per query and round, those reused from the level estimate included", min=1
    )
    exemplars: int = opt(4, "exemplars in a few-shot prompt", min=0)
    loss: str = opt("sft", "sft (DAST-S) or dpo (DAST-D)", choices=("sft", "dpo"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_trials < self.trials:
            raise UserError(
                f"method.max_trials: {self.max_trials} is less than method.trials ({self.trials}), "
                "whose trials count toward it; raise it"
            )


class Dast(Method):
    """Run the algorithm box above."""

    state = ("levels", "used")
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        require_references(pool, "DAST trains on in round 0;")
        level_estimate.check_estimate(pool, options)
        self.used: np.ndarray | None = None  # how many of each query's trials the last round made use of
        self.has_reference = np.array([bool(query.solution) for query in pool.queries])

    # --- which queries to sample next, and with which prompt ---

    def begin(self, round: RoundStart) -> Responses:
        """Carry over the trials of the estimate to round 1, unless it makes its own estimate."""
        super().begin(round)
        last = round.history(self.round - 1) if self.round else Responses.none()
        self._solved = last if self.used is None else last.take(last.trial < self.used[last.query])
        self._matched: ExemplarBank | None = None
        self._estimating = self.round == 0 or self.options.re_estimate == "every_round"
        self._trials: list[Responses] = []  # of the estimate, where it looks at more than counts
        carried = last if self.round == 1 and not self._estimating else Responses.none()
        self._found = DistinctResponses(len(self.pool), count_rejectable=self.options.loss == "dpo")
        if self.round and self.options.loss == "sft":  # an example that repeats its reference is not new
            references = reference_set(self.pool)
            self._found.know(references.query, references.text)
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
            requests = level_estimate.estimate_requests(tally, options.trials, PromptKind.FEW_SHOT)
            if requests is not None:
                return requests
            self._estimate(tally.correct, self._trials)
        if self.round == 0:
            return Requests.none()
        quotas, found = self.quotas(), self._found.usable
        if options.loss == "dpo":
            rejectable, by_reference = self._found.rejectable, self._by_reference()
            more = trials_for_pairs(quotas, found, rejectable, tally, by_reference, options.max_trials)
        else:
            deficit = np.maximum(quotas - self.has_reference - found, 0)
            more = top_up(deficit, found, tally, options.max_trials)
        return numbered(more, tally, PromptKind.MATCHED if options.length else PromptKind.FEW_SHOT)

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Return random reference solutions (few-shot), or solved problems of the query's level (matched)."""
        if kind == PromptKind.MATCHED:
            return self._bank().draw(query, self.options.exemplars)
        return super().exemplars(query, kind)

    def _bank(self) -> ExemplarBank:
        if self._matched is None:
            assert self.levels is not None, "levels come first"
            solved, levels = self._solved, self.levels
            self._matched = ExemplarBank.by_level(self.pool, levels, solved, seed=self.seed, round=self.round)
        return self._matched

    # --- how hard the queries are ---

    def _estimate(self, correct: np.ndarray, trials: list[Responses]) -> None:
        self.levels, self.facts = level_estimate.estimate_levels(self.pool, self.options, correct, trials)
        self._estimating, self._trials = False, []
        for name, count in self.facts.items():
            if name != "estimator":
                log.warning("round %d: estimator %s: %s %s", self.round, self.options.estimator, name, count)

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
            by_reference = self._by_reference()
            self.used = trials_until_pairs(quotas, responses, by_reference, options.max_trials)
            counted = responses.take(responses.trial < self.used[responses.query])
            seed = [self.seed, self.round]
            return quota_pairs(self.pool, counted, quotas, by_reference, self.levels, repeats, seed)
        need = quotas - self.has_reference
        rows = first_distinct(responses, need, references_of=self.pool)
        self.used = trials_used(responses, rows, need, options.max_trials)
        return build_training_set(self.pool, responses, rows, quotas, self.levels, repeats)
