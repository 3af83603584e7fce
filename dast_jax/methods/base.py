"""What the loop asks of a method: whom to sample next, what to train on, what to remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from dast_jax.records import Exemplar, Requests, Responses, Tally, TrainingSet

__all__ = ["Method"]


class Method(Protocol):
    """A self-training method, bound to its pool, options and seed.

    The loop calls, for every round: `start_round`; then, tick by tick, `requests` (with `exemplars`
    for each query requested) until it returns nothing while nothing is outstanding; then
    `training_set`. All of it must be a deterministic function of the arguments and the state, and of
    which responses there are, never of the order in which they arrived.
    """

    def wanted_rounds(self, round: int) -> Sequence[int]:
        """Which earlier rounds' responses `start_round` wants to see, so that others need not be read."""

    def start_round(self, round: int, earlier: Responses) -> Responses:
        """Begin a round; `earlier` holds the verified responses of its `wanted_rounds`.

        Returns those of them that count toward this round too (trials reused as data), often none: the
        loop starts the round's tally with them (`difficulty.TallyCounter(n, carried)`) and puts them
        before the round's own responses in what `training_set` gets. A method numbers its new trials
        from `tally.requested`, so a reused trial always comes before a new one.
        """

    def requests(self, tally: Tally) -> Requests:
        """Trials to sample next, given this round's counts so far; empty when there are none now.

        Called once per tick. `tally.requested` already counts everything returned before, and everything
        carried over by `start_round`.
        """

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Solved problems to show before `query`; never the query itself. Empty for zero-shot."""

    def training_set(self, responses: Responses) -> TrainingSet:
        """What to train on after this round, from its verified responses: the carried and its own."""

    def levels(self) -> np.ndarray | None:
        """int8 [n_queries] index into `LEVELS`, or None while the method has no estimate."""

    def state(self) -> Mapping[str, np.ndarray]:
        """What to remember for the next round, as named arrays."""

    def notes(self) -> Mapping[str, int]:
        """Counts worth telling of the round under way (fallbacks, things skipped), by name; often none."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
