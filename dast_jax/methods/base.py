"""What the loop asks of a method: whom to sample next, what to train on, what to remember."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dast_jax.records import Exemplar, Requests, Responses, Tally, TrainingSet

__all__ = ["Method"]


class Method(Protocol):
    """A self-training method, bound to its pool, options and seed.

    The loop calls, for every round: `start_round`; then, tick by tick, `requests` (with `exemplars`
    for each query requested) until it returns nothing while nothing is outstanding; then
    `training_set`. All of it must be a deterministic function of the arguments and the state.
    """

    def start_round(self, round: int, earlier: Responses) -> None:
        """Begin a round; `earlier` holds the verified responses of all rounds before it."""

    def requests(self, tally: Tally) -> Requests:
        """Trials to sample next, given this round's counts so far; empty when there are none now.

        Called once per tick. `tally.requested` already counts everything returned before.
        """

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Solved problems to show before `query`; never the query itself. Empty for zero-shot."""

    def training_set(self, responses: Responses) -> TrainingSet:
        """What to train on after this round, from this round's verified responses."""

    def levels(self) -> np.ndarray | None:
        """int8 [n_queries] index into `LEVELS`, or None while the method has no estimate."""

    def state(self) -> Mapping[str, np.ndarray]:
        """What to remember for the next round, as named arrays."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
