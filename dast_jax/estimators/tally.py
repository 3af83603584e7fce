"""The counts of a sampling stage, kept up to date response by response."""

from __future__ import annotations

import numpy as np

from dast_jax.estimators.distinct import Distinct, DistinctCounter, usable
from dast_jax.records import Requests, Responses, Tally

__all__ = ["TallyCounter"]


class TallyCounter:
    """Keep a stage's `Tally`: what was requested, what finished, and how many responses were new and correct.

    The counts after a set of responses do not depend on their order.
    """

    def __init__(self, n_queries: int, carried: Responses | None = None, *, distinct: Distinct | None = None):
        """Begin the counts of `n_queries` queries with the `carried` responses of earlier rounds.

        `distinct` says which responses are new (`Method.distinct`); by default those with a new text.
        """
        self.tally = Tally.zeros(n_queries)
        self._distinct = DistinctCounter(self.tally.distinct, distinct or Distinct())
        if carried is not None and len(carried):
            self.tally.requested += np.bincount(carried.query, minlength=n_queries).astype(np.int32)
            self.add(carried)

    def request(self, requests: Requests) -> None:
        """Count trials that are about to be sampled."""
        if len(requests):
            counts = np.bincount(requests.query, minlength=len(self.tally.requested))
            self.tally.requested += counts.astype(np.int32)

    def finish(self, query: int, *, correct: bool, truncated: bool, text: str) -> None:
        """Count one verified response."""
        self.tally.finished[query] += 1
        self.tally.correct[query] += correct
        if correct and not truncated:
            self.tally.usable[query] += 1
            self._distinct.add_one(query, text)

    def add(self, responses: Responses) -> None:
        """Count many verified responses at once."""
        n = len(self.tally.finished)
        self.tally.finished += np.bincount(responses.query, minlength=n).astype(np.int32)
        self.tally.correct += np.bincount(responses.query[responses.correct], minlength=n).astype(np.int32)
        rows = np.flatnonzero(usable(responses))
        query = responses.query[rows]
        self.tally.usable += np.bincount(query, minlength=n).astype(np.int32)
        self._distinct.add(query, responses.text[rows])
