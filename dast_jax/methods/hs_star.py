"""HS-STaR: hierarchical sampling for self-taught reasoners, arXiv 2505.19866.

    round t    pre-sample every query a few times with the last policy; all correct: easy, none correct: hard,
               everything else: boundary
               spend the rest of the budget on the boundary queries alone, evenly
               DPO on as many pairs of each boundary query as it has correct and incorrect responses of both,
               from the last policy

From the authors' code (AMAP-ML/HS-STaR, 59009cc): 3 pre-samples; a budget of 8 responses per query of the
pool, so that n_b boundary queries share the other 5n evenly, and those that get one more are random; pairs
from boundary queries, min(c, r) of them, each text in one. The paper ranks responses by a process reward
model, counts a query whose responses are all correct (none correct) as easy (hard) only where that model
agrees, and pairs the responses that it scores highest. [ours] There is no reward model here: the pass
rate of the pre-samples alone decides, and pairs are drawn at random from distinct texts; a query gets at most
`max_trials`; every round samples the whole pool, where theirs takes other queries each time; `exemplars`,
the same for all queries before pre-samples, where theirs are zero-shot; round 0 is SFT on the reference
solutions (`warm_up`), theirs SFT on solutions that another model rewrote step by step.

The middle pays here, where DAST gives most to the hard and the unsolved. The report shows easy, boundary
and hard queries as easy, middle and unsolved. If all queries are solved, or none is, there is no boundary
and nothing to train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.levels import EASY, MIDDLE, UNSOLVED
from dast_jax.methods.allocation import numbered
from dast_jax.methods.base import Method, MethodOptions, RoundStart, exemplars_option, warm_up_option
from dast_jax.methods.level_estimate import correct_trials, estimate_requests, of_estimate
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set
from dast_jax.options import opt
from dast_jax.records import Pool, PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["HsStar", "Options", "difficulty", "shares"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: hs_star`."""

    pre_trials: int = opt(3, "pre-samples of every query, which decide whether it is a boundary query", min=2)
    budget: int = opt(
        8, "trials per query of the pool on average, pre-samples included; boundary queries share the rest",
        min=2,
    )  # fmt: skip
    boundary_trials: int = opt(
        0, "further trials of each boundary query, whatever that costs; 0 shares the budget", min=0
    )
    max_trials: int = opt(64, "maximum trials per query and round, pre-samples included", min=2)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)

    def __post_init__(self) -> None:
        for name in ("budget", "max_trials"):
            if getattr(self, name) < self.pre_trials:
                raise UserError(
                    f"method.{name}: {getattr(self, name)} is less than method.pre_trials "
                    f"({self.pre_trials}), which count toward it; raise it"
                )


def difficulty(correct: np.ndarray, trials: int) -> np.ndarray:
    """Return the level of each query, int8 [n], by how many of its pre-samples are `correct`, int [n].

    `EASY` where all are, `UNSOLVED` (hard) where none is, `MIDDLE` (boundary) otherwise.
    """
    levels = np.full(len(correct), MIDDLE, np.int8)
    levels[correct == trials] = EASY
    levels[correct == 0] = UNSOLVED
    return levels


def shares(boundary: np.ndarray, total: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return further trials per query, int64 [n]: `total` shared evenly among the `boundary`, bool [n].

    What does not divide goes to queries that `rng` draws, one each; no query gets more than `most`.
    """
    count = np.zeros(len(boundary), np.int64)
    queries = np.flatnonzero(boundary)
    if len(queries):
        share, rest = divmod(total, len(queries))
        count[queries] = share
        count[rng.permutation(queries)[:rest]] += 1
    return np.minimum(count, most)


class HsStar(Method):
    """Run the algorithm box above."""

    state = ("levels",)
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        self._resampled = False  # whether the boundary queries' trials have been requested in this round

    # --- which queries to sample next ---

    def begin(self, round: RoundStart) -> Responses:
        """Forget the boundary of the round before."""
        self.levels, self._resampled = None, False
        return super().begin(round)

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the pre-samples; when all have finished, the boundary queries' further trials."""
        if self.warming_up or self._resampled:
            return Requests.none()
        requests = estimate_requests(tally, self.options.pre_trials, self.fixed)
        if requests is not None:
            return requests
        self._resampled = True
        self.levels = difficulty(tally.correct, self.options.pre_trials)
        return numbered(self._further(self.levels), tally, self.plain)

    def _further(self, levels: np.ndarray) -> np.ndarray:
        """Return the trials after the pre-samples, int64 [n]."""
        o, boundary = self.options, levels == MIDDLE
        n_boundary = int(boundary.sum())
        total = o.boundary_trials * n_boundary or (o.budget - o.pre_trials) * len(boundary)
        rng = np.random.default_rng([self.seed, 8, self.round])
        return shares(boundary, total, o.max_trials - o.pre_trials, rng)

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """Return random pairs of the boundary queries: no others have both a correct and an incorrect one."""
        if self.warming_up:
            return reference_set(self.pool)
        o, n = self.options, len(self.pool)
        first = of_estimate(responses, self.round, o.pre_trials)
        self.levels = difficulty(correct_trials(responses, first, n), o.pre_trials)
        boundary = self.levels == MIDDLE
        chosen, rejected = candidates(responses, n, [self.seed, self.round], self.distinct)
        pairs = draw_pairs(chosen, rejected, np.minimum(chosen.count, rejected.count))
        further = int(self._further(self.levels).sum())
        self.facts = {
            "boundary": int(boundary.sum()),
            "easy": int((self.levels == EASY).sum()),
            "hard": int((self.levels == UNSOLVED).sum()),
            "trials_per_boundary_query": o.pre_trials + further / max(int(boundary.sum()), 1),
            "trials_per_query": o.pre_trials + further / n,
            "boundary_with_pairs": len(np.unique(pairs.query)),
        }
        return pairs
