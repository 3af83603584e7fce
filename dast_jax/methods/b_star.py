"""B-STaR: balancing exploration and exploitation, arXiv 2412.17256.

    round t    for each temperature: sample some queries n times; score = mean over them of
               min(n'/n*, 1) · n'/n, with n' the distinct correct responses
               sample all other queries n times at the temperature of the highest score
               train on the distinct correct responses at that temperature, from the last policy

From the paper: the score, n* = 6, choosing again each round. The paper chooses a reward threshold too; there
is no reward model here. [ours] The temperatures offered, the probe's size, its queries (redrawn each
round); of equal scores the lowest temperature; the probe's trials at the chosen temperature are reused as
data, at the others dropped. With all queries solved the scores measure how many different solutions each
temperature gives; with none solved all scores are 0, the lowest temperature is taken, there is nothing to
train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dast_jax.methods.allocation import numbered
from dast_jax.methods.base import (
    Method,
    MethodOptions,
    RoundStart,
    distinct_option,
    exemplars_option,
    warm_up_option,
)
from dast_jax.methods.training_sets import distinct_rows, reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["BStar", "Options", "balance_score"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: b_star`."""

    temperatures: tuple[float, ...] = opt(
        (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2), "the temperatures to choose from", min=0.01
    )
    probe: int = opt(64, "queries that each temperature is tried on; all of them in a smaller pool", min=1)
    trials: int = opt(16, "n, the trials per query, in the probe at each temperature", min=1)
    enough: int = opt(
        6, "n*, the number of distinct correct responses beyond which more do not raise the score", min=1
    )
    distinct: str = distinct_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures: name at least one")


def balance_score(distinct: np.ndarray, trials: int, enough: int) -> float:
    """Return the mean over queries of min(n'/n*, 1) · n'/n; `distinct` int [q] is n' (arXiv 2412.17256)."""
    return float((np.minimum(distinct / enough, 1.0) * distinct / trials).mean())


class BStar(Method):
    """Run the algorithm box above."""

    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        self._temperatures = sorted(set(options.temperatures))
        self._probe = np.zeros(len(pool), bool)  # queries that every temperature is tried on in this round
        self._seen = Responses.none()  # of the probe

    def begin(self, round: RoundStart) -> Responses:
        """Draw the queries of the round's probe."""
        n = len(self.pool)
        drawn = np.random.default_rng([self.seed, 5, round.number]).permutation(n)[: self.options.probe]
        self._probe = np.zeros(n, bool)
        self._probe[drawn] = True
        self._seen = Responses.none()
        return super().begin(round)

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the probe's trials at each temperature in turn; then the other queries' at the best one."""
        probed = np.flatnonzero(self._probe[news.query])
        if len(probed):
            self._seen = Responses.concatenate([self._seen, news.take(probed)])
        if self.warming_up:
            return Requests.none()
        probe, trials = self._probe, self.options.trials
        if (tally.requested[probe] == 0).any():
            offers = [
                numbered(np.where(probe, trials, 0), tally, self.plain, temperature=temperature)
                for temperature in self._temperatures
            ]
            return Requests(
                query=np.concatenate([o.query for o in offers]),
                trial=np.concatenate([o.trial + i * trials for i, o in enumerate(offers)]).astype(np.int32),
                kind=np.concatenate([o.kind for o in offers]),
                temperature=np.concatenate([o.temperature for o in offers if o.temperature is not None]),
            )
        if (tally.finished[probe] < trials * len(self._temperatures)).any():
            return Requests.none()
        if tally.requested[~probe].any() or probe.all():
            return Requests.none()
        best = self._temperatures[int(np.argmax(self._scores(self._seen)))]
        return numbered(np.where(probe, 0, trials), tally, self.plain, temperature=best)

    def _scores(self, responses: Responses) -> list[float]:
        """Return the balance score of each temperature, from the probe's responses among these."""
        mine = responses.take(np.flatnonzero(self._probe[responses.query]))
        at = mine.trial // self.options.trials
        scores = []
        for i in range(len(self._temperatures)):
            own = mine.take(np.flatnonzero(at == i))
            distinct = np.bincount(own.query[distinct_rows(own, self.distinct)], minlength=len(self.pool))
            scores.append(balance_score(distinct[self._probe], self.options.trials, self.options.enough))
        return scores

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return the distinct correct responses at the best temperature."""
        if self.warming_up:
            return reference_set(self.pool)
        scores = self._scores(responses)
        best = int(np.argmax(scores))
        at_best = (responses.trial // self.options.trials == best) | ~self._probe[responses.query]
        own = responses.take(np.flatnonzero(at_best))
        self.facts = {
            "temperature": self._temperatures[best],
            "balance_scores": dict(zip(map(str, self._temperatures), scores, strict=True)),
        }
        return text_set(own, distinct_rows(own, self.distinct))
