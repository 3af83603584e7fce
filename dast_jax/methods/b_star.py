"""B-STaR: balancing exploration and exploitation, arXiv 2412.17256.

    round t    for each temperature: sample some queries n times; score = mean over them of
               min(n'/n*, 1) · n'/n, with n' the distinct correct responses
               sample all other queries n times at the temperature of the highest score
               train on the distinct correct responses at that temperature, on from the last policy

From the paper: the score, n* = 6, choosing anew each round. The paper chooses a reward threshold too; there
is no reward model here. [ours] The temperatures offered, the probe's size, its queries (drawn anew each
round); of equal scores the lowest temperature; the probe's trials at the chosen temperature are reused as
data, at the others dropped. With all queries solved the scores tell how many different solutions each
temperature gives; with none solved all scores are 0, the lowest temperature is taken, there is nothing to
train on in this round, and the policy stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.methods.common import MethodBase, exemplars_option, numbered, warm_up_option
from dast_jax.methods.training_sets import distinct_rows, reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["BStar", "Options", "balance_score", "make"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `method.name: b_star`."""

    temperatures: tuple[float, ...] = opt(
        (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2), "the temperatures to choose from", min=0.01
    )
    probe: int = opt(64, "queries that each temperature is tried on; a smaller pool is taken whole", min=1)
    trials: int = opt(16, "n, the trials per query, in the probe at each temperature", min=1)
    enough: int = opt(6, "n*, the distinct correct responses that are as good as more", min=1)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures: name at least one")


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> BStar:
    """The method bound to its pool."""
    return BStar(pool, options, seed)


def balance_score(distinct: np.ndarray, trials: int, enough: int) -> float:
    """Mean over queries of min(n'/n*, 1) · n'/n; `distinct` int [q] is n' (arXiv 2412.17256)."""
    return float((np.minimum(distinct / enough, 1.0) * distinct / trials).mean())


class BStar(MethodBase):
    """See the module's docstring."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        self._temperatures = sorted(set(options.temperatures))
        self._probe = np.zeros(len(pool), bool)  # queries that every temperature is tried on in this round
        self._seen = Responses.none()  # of the probe
        self._facts: dict[str, Any] = {}

    def start_round(self, round: int, earlier: Responses) -> Responses:
        n = len(self._pool)
        drawn = np.random.default_rng([self._seed, 5, round]).permutation(n)[: self._options.probe]
        self._probe = np.zeros(n, bool)
        self._probe[drawn] = True
        self._seen = Responses.none()
        return super().start_round(round, earlier)

    def observe(self, responses: Responses) -> None:
        probed = np.flatnonzero(self._probe[responses.query])
        if len(probed):
            self._seen = Responses.concatenate([self._seen, responses.take(probed)])

    def requests(self, tally: Tally) -> Requests:
        """The probe's trials at each temperature in turn; then the other queries' at the best one."""
        if self._warming_up:
            return Requests.none()
        probe, trials = self._probe, self._options.trials
        if (tally.requested[probe] == 0).any():
            offers = [
                numbered(np.where(probe, trials, 0), tally, self._plain, temperature=temperature)
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
        return numbered(np.where(probe, 0, trials), tally, self._plain, temperature=best)

    def _scores(self, responses: Responses) -> list[float]:
        """The balance score of each temperature, from the probe's responses among these."""
        mine = responses.take(np.flatnonzero(self._probe[responses.query]))
        at = mine.trial // self._options.trials
        scores = []
        for i in range(len(self._temperatures)):
            own = mine.take(np.flatnonzero(at == i))
            distinct = np.bincount(own.query[distinct_rows(own)], minlength=len(self._pool))
            scores.append(balance_score(distinct[self._probe], self._options.trials, self._options.enough))
        return scores

    def training_set(self, responses: Responses) -> TrainingSet:
        if self._warming_up:
            return reference_set(self._pool)
        scores = self._scores(responses)
        best = int(np.argmax(scores))
        at_best = (responses.trial // self._options.trials == best) | ~self._probe[responses.query]
        own = responses.take(np.flatnonzero(at_best))
        self._facts = {
            "temperature": self._temperatures[best],
            "balance_scores": dict(zip(map(str, self._temperatures), scores, strict=True)),
        }
        return text_set(own, distinct_rows(own))

    def facts(self) -> Mapping[str, Any]:
        return self._facts
