"""Shared by STaR and its descendants: successive tries, the last of which may be shown the answer, and β^t.

Rationalization (STaR, arXiv 2203.14465): a query that was not solved is sampled again with its reference
answer as a hint; a success is trained on without the hint. A task without a hint gives it a second plain try
(AdaSTaR, arXiv 2505.16322). All items are shown the same exemplars (arXiv 2505.16322, §2.1).

β^t (t an index) = batch · ⌊steps · growth^(t−1)⌋ examples are trained on in round t: STaR takes a number of
steps that grows by 20 % each round. Of more successes β^t are drawn at random; fewer are repeated, as the
training of both repeats its data until its steps are done [paper, code].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.methods.base import Method, MethodOptions, exemplars_option, warm_up_option
from dast_jax.methods.training_sets import first_rows, reference_set, text_set, usable_rows
from dast_jax.options import opt
from dast_jax.records import Pool, PromptKind, Requests, Responses, Tally, TrainingSet

__all__ = ["HINTED_TASKS", "ScheduleOptions", "StarBase", "StarOptions", "Tries", "scheduled"]

HINTED_TASKS = ("choice", "yes_no", "label")
"""Rationalized by default: the families of ARC, CommonsenseQA, CLadder and ANLI (arXiv 2505.16322)."""


def scheduled(rows: np.ndarray, beta: int, rng: np.random.Generator) -> np.ndarray:
    """Return `beta` of the `rows` int64 [m], in their order: drawn by `rng`, or each repeated evenly."""
    if not len(rows):
        return rows
    times, rest = divmod(beta, len(rows))
    count = np.full(len(rows), times)
    count[rng.permutation(len(rows))[:rest]] += 1
    return np.repeat(rows, count)


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(MethodOptions):
    """Options of the methods that try each query up to K times and train on β^t successes."""

    trials: int = opt(2, "K, the maximum tries of a query in a round", min=1)
    rationalize: str = opt(
        "by_task",
        "whose last try shows the answer as a hint: always, never (it is a plain one), or by_task (choice, "
        "yes_no and label, not the families with free answers)",
        choices=("by_task", "always", "never"),
    )
    batch: int = opt(8, "examples per training step in β^t = batch · floor(steps · growth^(t−1))", min=1)
    steps: int = opt(40, "training steps of the first round in β^t; lower it for a small pool", min=1)
    growth: float = opt(1.2, "growth of the training steps from round to round in β^t", min=1)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


class Tries(Method):
    """A method that tries a query up to K times in turn, the last time with a hint where it has one."""

    def __init__(self, pool: Pool, options: Any, seed: int):
        super().__init__(pool, options, seed)
        if options.rationalize == "by_task":
            self._hinted = np.array([query.task in HINTED_TASKS for query in pool.queries], bool)
        else:
            self._hinted = np.full(len(pool), options.rationalize == "always")

    def t(self, round: int) -> int:
        """Return the paper's number of a round of the run: 1 for the first of the method's own."""
        return round if self.options.warm_up else round + 1

    def beta(self, t: int) -> int:
        """Return β^t, the size of the training set of round t = 1, 2, …"""
        steps: int = math.floor(self.options.steps * self.options.growth ** (t - 1))
        return steps * int(self.options.batch)

    def tries(self, query: np.ndarray, tally: Tally) -> Requests:
        """Return one more trial of each `query` int [m]; a hint is for the last, and for what is unsolved."""
        trial = tally.requested[query]
        last = (trial == self.options.trials - 1) & (trial > 0)
        hinted = last & self._hinted[query] & (tally.usable[query] == 0)
        kind = np.where(hinted, PromptKind.RATIONALIZED, self.fixed)
        return Requests(query.astype(np.int32), trial.astype(np.int32), kind.astype(np.int8))

    def trained_on(self, rows: np.ndarray) -> np.ndarray:
        """Return β^t of the `rows` int64 [m], drawn or repeated by the seed and the round."""
        rng = np.random.default_rng([self.seed, 9, self.round])
        return scheduled(rows, self.beta(self.t(self.round)), rng)


@dataclass(frozen=True, kw_only=True)
class StarOptions(ScheduleOptions):
    """Options of `star` and `star_acc`."""

    beta: str = opt(
        "schedule",
        "how many successes are trained on: schedule takes β^t of them, full takes all",
        choices=("schedule", "full"),
    )


class StarBase(Tries):
    """Up to K tries of every query; the first success of each is trained on."""

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the first try of all queries; then, for each that failed, the next one."""
        if self.warming_up:
            return Requests.none()
        waiting = tally.finished < tally.requested
        again = (tally.usable == 0) & ~waiting & (tally.requested < self.options.trials)
        return self.tries(np.flatnonzero(again), tally)

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return the first success of each query, or β^t of them."""
        if self.warming_up:
            return reference_set(self.pool)
        n = len(self.pool)
        rows = first_rows(responses, usable_rows(responses), np.ones(n, np.int64))
        schedule = self.options.beta == "schedule"
        self.facts = {
            "tried": n,
            "solved": len(rows),
            "solved_at_first_try": int((responses.trial[rows] == 0).sum()),
            "rationalized": int((responses.kind[rows] == PromptKind.RATIONALIZED).sum()),
            **({"beta": self.beta(self.t(self.round))} if schedule else {}),
        }
        return text_set(responses, self.trained_on(rows) if schedule else rows)
