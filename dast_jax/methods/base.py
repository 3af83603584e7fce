"""What the loop asks of a method: whom to sample next, what to train on, what to remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dast_jax.records import Exemplar, PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["Method", "ModelTools"]


class ModelTools(Protocol):
    """What a method may ask of the base model M_0; nothing is computed before it is asked for."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, d]: one vector per text, near where the texts are alike."""


class Method(Protocol):
    """A self-training method, bound to its pool, options and seed.

    The loop calls, for every round: `start_round` and `state`; then, tick by tick, `observe` and `requests`
    (with `exemplars` for each query requested) until it returns nothing while nothing is outstanding; then
    `training_set`, `state`, and, when the policy has been trained, `after_training` and `state` again. All
    of it must be a deterministic function of the arguments and the state, and of which responses there
    are, never of the order in which they arrived. `training_set` may be called in another process than
    `requests` was, after `restore` and `start_round` only. A round that is resumed begins with the state that
    its `start_round` left, so what was computed or asked for there once (clusters) is found there.
    """

    @property
    def start(self) -> str:
        """Where a round's training starts unless `training.start` says so: continue or restart."""

    @property
    def preference_loss(self) -> str:
        """The loss for its pairs unless `training.preference_loss` says so: sigmoid, ipo, rpo or simpo."""

    def wanted_rounds(self, round: int) -> Sequence[int]:
        """Which earlier rounds' responses `start_round` wants to see, so that others need not be read."""

    def start_round(self, round: int, earlier: Responses) -> Responses:
        """Begin a round; `earlier` holds the verified responses of its `wanted_rounds`.

        Returns those of them that count toward this round too (trials reused as data), often none: the
        loop starts the round's tally with them (`difficulty.TallyCounter(n, carried)`) and puts them
        before the round's own responses in what `training_set` gets. A method numbers its new trials
        from `tally.requested`, so a reused trial always comes before a new one.
        """

    def observe(self, responses: Responses) -> None:
        """See responses of this round that were verified since the last call, before they show in a tally.

        For what counts alone do not tell; carried ones are not shown again.
        """

    def requests(self, tally: Tally) -> Requests:
        """Trials to sample next, given this round's counts so far; empty when there are none now.

        Called once per tick. `tally.requested` already counts everything returned before, and everything
        carried over by `start_round`.
        """

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Solved problems to show before `query`; never the query itself. Empty for zero-shot."""

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """What to train on after this round, from its verified responses: the carried and its own."""

    def after_training(self, accuracy: float) -> None:
        """Hear how the round's training went: the mean share of response tokens predicted right.

        0 when there was nothing to train on.
        """

    def levels(self) -> np.ndarray | None:
        """int8 [n_queries] index into `LEVELS`, or None while the method has no estimate."""

    def state(self) -> Mapping[str, np.ndarray]:
        """What to remember for the next round, as named arrays."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` gave."""

    def notes(self) -> Mapping[str, int]:
        """Counts worth a warning of the round under way (fallbacks, things skipped), by name; often none."""

    def facts(self) -> Mapping[str, Any]:
        """What the report should tell of the round, as JSON values; known once its set was built."""
