"""Shared by STaR and its descendants: successive tries, the last of which may be shown the answer.

Rationalization (STaR, arXiv 2203.14465): a query that was not solved is sampled again with its reference
answer as a hint; a success is trained on without the hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.estimators.distinct import usable
from dast_jax.methods.allocation import numbered
from dast_jax.methods.base import Method, MethodOptions, exemplars_option, warm_up_option
from dast_jax.methods.training_sets import reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import Pool, PromptKind, Requests, Responses, Tally, TrainingSet

__all__ = ["HINTED_TASKS", "StarBase", "StarOptions", "first_success", "rationalize_option", "rationalized"]

HINTED_TASKS = ("choice", "yes_no", "label")
"""Rationalized by default: the families of ARC, CommonsenseQA, CLadder and ANLI (arXiv 2505.16322)."""


def rationalize_option() -> Any:
    """Declare which queries are sampled again with a hint; the default is AdaSTaR's choice."""
    return opt(
        "by_task",
        "sample unsolved queries again with the answer as a hint: always, never, or by_task (choice, yes_no "
        "and label, not the families with free answers)",
        choices=("by_task", "always", "never"),
    )


def rationalized(pool: Pool, choice: str) -> np.ndarray:
    """Return which queries are rationalized under the option's `choice`, bool [n]."""
    if choice == "by_task":
        return np.array([query.task in HINTED_TASKS for query in pool.queries], bool)
    return np.full(len(pool), choice == "always")


def first_success(responses: Responses, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and trial of each query's first usable response by trial: int64 [n], −1 for none."""
    rows = np.flatnonzero(usable(responses))
    rows = rows[np.lexsort((responses.trial[rows], responses.query[rows]))]
    query, first = np.unique(responses.query[rows], return_index=True)
    row, trial = np.full(n_queries, -1), np.full(n_queries, -1)
    row[query] = rows[first]
    trial[query] = responses.trial[rows[first]]
    return row, trial


@dataclass(frozen=True, kw_only=True)
class StarOptions(MethodOptions):
    """Options of `star` and `star_acc`."""

    rationalize: str = rationalize_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


class StarBase(Method):
    """One plain try of every query and a hinted one of those left unsolved; successes are trained on."""

    def __init__(self, pool: Pool, options: StarOptions, seed: int):
        super().__init__(pool, options, seed)
        self._hinted = rationalized(pool, options.rationalize)

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the first try of all queries; then, for each that failed, the hinted one."""
        if self.warming_up:
            return Requests.none()
        fresh = tally.requested == 0
        if fresh.any():
            return numbered(fresh.astype(np.int64), tally, self.plain)
        failed = (tally.requested == 1) & (tally.finished == 1) & (tally.usable == 0)
        return numbered((failed & self._hinted).astype(np.int64), tally, PromptKind.RATIONALIZED)

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return the first success of each query."""
        if self.warming_up:
            return reference_set(self.pool)
        row, trial = first_success(responses, len(self.pool))
        self.facts = {
            "tried": len(self.pool),
            "solved": int((trial == 0).sum()),
            "rationalized": int((trial == 1).sum()),
        }
        return text_set(responses, row[row >= 0])
