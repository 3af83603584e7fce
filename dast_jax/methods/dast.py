"""DAST: difficulty-aware self-training, arXiv 2503.09029.

    estimate   K few-shot trials per query by M_0; levels easy / middle / hard / unsolved by pass rate
    round 0    train on D_o, the reference solutions
    round t    quota per query by level (DAST-P); sample each query, shown exemplars of its own level
               (DAST-L), until its quota of correct responses, distinct from each other and from its
               reference solution, is met or its trials are spent; train on D_a ∪ D_o, zero-shot

DAST-D (`loss: dpo`) has the same rounds with pairs in the place of examples: from round 1 on each query is
sampled until its correct and incorrect responses make as many different pairs as its quota says, and DPO
trains on those.

`proportion` and `length` switch the two parts off: both on is DAST-S, one of them on is DAST-P or DAST-L,
both off is plain rejection sampling (or plain DPO). From the paper: four levels from few-shot trials of the
initial policy, fixed during self-training; round 0 on D_o, later rounds on D_a ∪ D_o; more responses for
harder levels; exemplars of the query's own level control the length. The paper gives no numbers for K, the
cut points or the quotas, nor how exemplars and pairs are drawn: everything marked [ours] below and in
`Options` is this package's choice.

With all queries solved every level is easy and all have the same quota; with none solved DAST-S trains on
the reference solutions alone, and DAST-D on pairs of reference solutions and incorrect responses.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators import ESTIMATORS, JudgeOptions, ask_judge, check_estimator, estimate
from dast_jax.estimators.distinct import DistinctTexts, rejectable, usable
from dast_jax.estimators.levels import UNSOLVED, Cuts, levels_from_counts, smallest_trials
from dast_jax.methods.common import MethodBase, numbered, require_references, top_up
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.methods.pairs import candidates, draw_pairs, trials_for_pairs, trials_until_pairs
from dast_jax.methods.training_sets import build_training_set, first_distinct, reference_set
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

__all__ = ["Dast", "Options", "make"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `method.name: dast`; the defaults are [ours] unless they say otherwise."""

    estimator: str = opt(
        "sampled",
        "what gives the levels: sampled (pass rates and cut points), or a ranking by fail_rate, self_aware, "
        "label, uncertainty or judge, cut by the level shares of DAST's data",
        choices=ESTIMATORS,
    )
    trials: int = opt(16, "K, the few-shot trials per query that estimate its level", min=1)
    easy_cut: float = opt(0.75, "a query is easy from this pass rate up", min=0, max=1)
    hard_cut: float = opt(
        0.25, "a query is hard below this pass rate, and middle from it to easy_cut", min=0, max=1
    )
    re_estimate: str = opt(
        "never",
        "when levels are estimated again: never (the paper's way), or every_round with K fresh trials",
        choices=("never", "every_round"),
    )
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
        4, "most times that one text or pair may appear for a query, to fill a quota", min=1
    )
    max_trials: int = opt(
        64, "most trials per query and round; trials reused from the level estimate count", min=1
    )
    exemplars: int = opt(4, "exemplars in a few-shot prompt", min=0)
    judge: JudgeOptions = opt(JudgeOptions, "the model that rates queries, for estimator: judge")
    loss: str = opt("sft", "sft (DAST-S) or dpo (DAST-D)", choices=("sft", "dpo"))

    def __post_init__(self) -> None:
        if not 0 < self.hard_cut < self.easy_cut <= 1:
            raise UserError(
                f"method.hard_cut, method.easy_cut: need 0 < hard_cut < easy_cut <= 1, "
                f"got {self.hard_cut:g} and {self.easy_cut:g}"
            )
        estimator = self.judge.fallback if self.estimator == "judge" else self.estimator
        if estimator == "sampled" and self.trials < smallest_trials(self.cuts):
            raise UserError(
                f"method.trials: {self.trials} trials leave the hard level empty, as no pass rate lies "
                f"between 0 and hard_cut ({self.hard_cut:g}); use at least {smallest_trials(self.cuts)}"
            )
        if self.max_trials < self.trials:
            raise UserError(
                f"method.max_trials: {self.max_trials} is less than method.trials ({self.trials}), "
                "whose trials count toward it; raise it"
            )

    @property
    def cuts(self) -> Cuts:
        return Cuts(easy=self.easy_cut, hard=self.hard_cut)


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> Dast:
    """The method bound to its pool; raises `UserError` when no query of it has a reference solution."""
    require_references(pool, "DAST trains on in round 0;")
    try:
        check_estimator(options.estimator, pool.queries, options.judge)
    except UserError as error:
        raise UserError(f"method.{error}") from error
    return Dast(pool, options, seed)


class Dast(MethodBase):
    """See the module's docstring for the algorithm."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        self._has_reference = np.array([bool(q.solution) for q in pool.queries])
        self._levels: np.ndarray | None = None
        self._quotas: np.ndarray | None = None
        self._estimating = False
        self._estimate: list[
            Responses
        ] = []  # the trials of an estimate under way that looks at more than counts
        self._ratings: np.ndarray | None = None  # the judge's, float64 [n], NaN where it gave none
        self._facts: dict[str, Any] = {}
        self._right = self._wrong = DistinctTexts(np.zeros(0, np.int64))
        self._used: np.ndarray | None = None
        self._earlier: Responses | None = None
        self._matched: ExemplarBank | None = None

    # --- whom to sample next, and with which prompt ---

    def wanted_rounds(self, round: int) -> Sequence[int]:
        """The last round: its correct responses may be exemplars, and round 1 reuses its trials."""
        return (round - 1,) if round else ()

    def start_round(self, round: int, earlier: Responses) -> Responses:
        """Round 1 carries over the trials of the estimate, unless it makes an estimate of its own."""
        super().start_round(round, earlier)
        self._estimate, self._facts = [], {}
        self._estimating = round == 0 or self._options.re_estimate == "every_round"
        self._earlier = (
            earlier if self._used is None else earlier.take(earlier.trial < self._used[earlier.query])
        )
        self._matched = None
        if self._options.estimator == "judge" and self._ratings is None:
            self._ratings = ask_judge(self._pool.queries, self._options.judge, name="method.judge")
        reused = round == 1 and not self._estimating
        carried = earlier.take(earlier.round == 0 if reused else np.zeros(0, np.int64))
        self._begin_counting(carried)
        return carried

    def _begin_counting(self, carried: Responses) -> None:
        """Quotas of examples want texts that are new beside the reference solutions; pairs want any."""
        self._right, self._wrong = (DistinctTexts(np.zeros(len(self._pool), np.int64)) for _ in range(2))
        if self._round and self._options.loss == "sft":
            references = reference_set(self._pool)
            self._right.know(references.query, references.text)
        self._count(carried)

    def _count(self, responses: Responses) -> None:
        if not self._round:
            return
        right = usable(responses)
        self._right.add(responses.query[right], responses.text[right])
        if self._options.loss == "dpo":
            wrong = rejectable(responses)
            self._wrong.add(responses.query[wrong], responses.text[wrong])

    def observe(self, responses: Responses) -> None:
        self._count(responses)
        if self._estimating and self._options.estimator != "sampled":
            self._estimate.append(responses)

    def requests(self, tally: Tally) -> Requests:
        """First the estimate's K trials of every query; when all have finished, top up to the quotas."""
        if self._estimating:
            missing = np.maximum(self._options.trials - tally.requested, 0)
            if missing.any():
                return numbered(missing, tally, PromptKind.FEW_SHOT)
            if (tally.finished < self._options.trials).any():
                return Requests.none()
            if self._options.estimator == "sampled":
                self._set_levels(self._by_pass_rate(tally.correct))
            else:
                self._set_levels(self._by_estimator(Responses.concatenate(self._estimate)))
        if self._round == 0:
            return Requests.none()
        kind = PromptKind.MATCHED if self._options.length else PromptKind.FEW_SHOT
        most = self._options.max_trials
        if self._options.loss == "dpo":
            right, wrong = self._right.count, self._wrong.count
            more = trials_for_pairs(self.quotas(), right, wrong, tally, self._prefers_reference(), most)
        else:
            deficit = np.maximum(self.quotas() - self._has_reference - self._right.count, 0)
            more = top_up(deficit, self._right.count, tally, most)
        return numbered(more, tally, kind)

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Random reference solutions (few-shot), or solved problems of the query's own level (matched)."""
        if kind == PromptKind.MATCHED:
            return self._matched_bank().draw(query, self._options.exemplars)
        return super().exemplars(query, kind)

    def _matched_bank(self) -> ExemplarBank:
        if self._matched is None:
            assert self._levels is not None, "levels come first"
            assert self._earlier is not None, "start_round comes first"
            self._matched = ExemplarBank.by_level(
                self._pool, self._levels, self._earlier, seed=self._seed, round=self._round
            )
        return self._matched

    # --- what to train on ---

    def quotas(self) -> np.ndarray:
        """Training examples per query, its reference solution included, or pairs per query; int64 [n].

        Proportion off [ours]: the same total over the pool, spread evenly; the queries that get one more
        when it does not divide are drawn by the seed.
        """
        assert self._levels is not None, "levels come first"
        if self._quotas is None:
            self._quotas = self._make_quotas(self._levels)
        return self._quotas

    def _make_quotas(self, levels: np.ndarray) -> np.ndarray:
        multiplier = np.array([self._options.multipliers[name] for name in LEVELS])
        quotas = self._options.base_quota * multiplier[levels]
        if self._options.proportion:
            return quotas
        share, rest = divmod(int(quotas.sum()), len(quotas))
        even = np.full(len(quotas), share)
        even[np.random.default_rng([self._seed, 1]).permutation(len(quotas))[:rest]] += 1
        return even

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """D_o in round 0; later D_a ∪ D_o or pairs, short quotas filled by repeats where proportion is on."""
        if self._estimating:
            first = (responses.round == self._round) & (responses.trial < self._options.trials)
            if self._options.estimator == "sampled":
                counted = responses.query[first & responses.correct]
                self._set_levels(self._by_pass_rate(np.bincount(counted, minlength=len(self._pool))))
            else:
                self._set_levels(self._by_estimator(responses.take(first)))
        if self._round == 0:
            self._used = np.full(len(self._pool), self._options.trials, np.int32)
            return reference_set(self._pool)
        assert self._levels is not None, "start_round comes first"
        if self._options.loss == "dpo":
            return self._pairs(responses, self._levels)
        need = self.quotas() - self._has_reference
        rows = first_distinct(responses, need, beside=self._pool)
        self._used = self._trials_used(responses, rows, need)
        return build_training_set(
            self._pool,
            responses,
            rows,
            quotas=self.quotas(),
            levels=self._levels,
            max_repeats=self._options.max_repeats if self._options.proportion else 1,
        )

    def _prefers_reference(self) -> np.ndarray:
        """Which queries put their reference solution before an incorrect response: the unsolved, bool [n]."""
        assert self._levels is not None, "levels come first"
        return (self._levels == UNSOLVED) & self._has_reference

    def _pairs(self, responses: Responses, levels: np.ndarray) -> PreferenceSet:
        """A quota of pairs per query, from the trials up to the one that made as many pairs possible."""
        references = self._prefers_reference()
        self._used = trials_until_pairs(self.quotas(), responses, references, self._options.max_trials)
        responses = responses.take(responses.trial < self._used[responses.query])
        chosen, rejected = candidates(responses, len(self._pool), [self._seed, self._round])
        unsolved = np.flatnonzero(references)
        solutions = np.array([self._pool.queries[i].solution for i in unsolved], dtype=object)
        return draw_pairs(
            chosen.with_references(unsolved, solutions),
            rejected,
            self.quotas(),
            max_repeats=self._options.max_repeats if self._options.proportion else 1,
            levels=levels,
        )

    def _trials_used(self, responses: Responses, rows: np.ndarray, need: np.ndarray) -> np.ndarray:
        """Trials up to the last one kept where the quota was met, else the whole budget; int32 [n].

        How many trials were sampled beyond that depends on what was in flight, so they are never used.
        """
        query = responses.query[rows]
        used = np.zeros(len(need), np.int32)
        np.maximum.at(used, query, responses.trial[rows] + 1)
        met = np.bincount(query, minlength=len(need)) >= need
        return np.where(met, used, self._options.max_trials).astype(np.int32)

    # --- what to remember ---

    def levels(self) -> np.ndarray | None:
        """The levels in force, int8 [n], or None before the first estimate."""
        return self._levels

    def _by_pass_rate(self, correct: np.ndarray) -> np.ndarray:
        return levels_from_counts(correct, self._options.trials, self._options.cuts)

    def _by_estimator(self, trials: Responses) -> np.ndarray:
        """Levels by another estimator than the pass rate, from the estimate's trials where it needs any."""
        o = self._options
        found = estimate(
            o.estimator,
            self._pool.queries,
            trials,
            cuts=o.cuts,
            judge=None if self._ratings is None else self._rated,
            fallback=o.judge.fallback,
        )
        self._facts = {"estimator": o.estimator, **found.notes}
        if found.notes:
            told = ", ".join(f"{name} {count}" for name, count in found.notes.items())
            log.warning("round %d: estimator %s: %s", self._round, o.estimator, told)
        return found.levels

    def _rated(self, questions: Sequence[str]) -> tuple[np.ndarray, Mapping[str, int]]:
        """The judge's ratings as it gave them before anything was sampled."""
        assert self._ratings is not None, "start_round comes first"
        return self._ratings, {}

    def _set_levels(self, levels: np.ndarray) -> None:
        self._levels = levels
        self._quotas = None
        self._estimating = False
        self._estimate = []

    def facts(self) -> Mapping[str, Any]:
        """The estimator of the round's levels, where it is not the pass rate, and what it counted."""
        return self._facts

    def state(self) -> Mapping[str, np.ndarray]:
        """`levels` int8 [n]; `used` int32 [n], how many of the round's trials it made use of; `ratings`
        float64 [n], the judge's, which is asked once."""
        named = {"levels": self._levels, "used": self._used, "ratings": self._ratings}
        return {name: array.copy() for name, array in named.items() if array is not None}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self._levels = np.asarray(state["levels"], np.int8) if "levels" in state else None
        self._used = np.asarray(state["used"], np.int32) if "used" in state else None
        self._ratings = np.asarray(state["ratings"], np.float64) if "ratings" in state else None
        self._quotas = None

    def notes(self) -> Mapping[str, int]:
        """How many queries take exemplars of a neighbouring level, as their own has too few."""
        return self._matched.notes(self._options.exemplars) if self._matched is not None else {}
