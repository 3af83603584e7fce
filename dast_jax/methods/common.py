"""What most methods share: options with one meaning everywhere, numbering of trials, a method's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.options import opt
from dast_jax.records import Exemplar, Pool, PromptKind, Requests, Responses, Tally

__all__ = ["MethodBase", "exemplars_option", "numbered", "require_references", "top_up", "warm_up_option"]


def exemplars_option() -> Any:
    """[ours] Exemplars are random reference solutions of others, in every round, as for DAST's levels."""
    return opt(4, "random reference solutions shown before the query; 0 samples zero-shot", min=0)


def warm_up_option(default: bool) -> Any:
    """[ours] With it, methods are compared from the same start: one round of plain SFT, as DAST begins."""
    return opt(
        default,
        "round 0 trains on the reference solutions, and the method's own rounds begin with round 1",
    )


class MethodBase:
    """A `methods.base.Method` that remembers nothing, reuses nothing and has no levels.

    A method overrides what is its own: at least `requests` and `training_set`.
    """

    start = "continue"
    preference_loss = "sigmoid"

    def __init__(self, pool: Pool, options: Any, seed: int):
        self._pool = pool
        self._options: Any = options
        self._seed = seed
        self._round = 0
        self._random: ExemplarBank | None = None
        if getattr(options, "warm_up", False):
            require_references(pool, "method.warm_up trains on in round 0; set method.warm_up=false, or")

    @property
    def _warming_up(self) -> bool:
        """Whether this is the round before the method's own ones."""
        return self._round == 0 and self._options.warm_up

    @property
    def _plain(self) -> PromptKind:
        """The prompt of an ordinary trial."""
        return PromptKind.FEW_SHOT if self._options.exemplars else PromptKind.ZERO_SHOT

    def wanted_rounds(self, round: int) -> Sequence[int]:
        return ()

    def start_round(self, round: int, earlier: Responses) -> Responses:
        self._round = round
        self._random = None
        return Responses.none()

    def observe(self, responses: Responses) -> None:
        pass

    def exemplars(self, query: int, kind: int) -> tuple[Exemplar, ...]:
        """Random reference solutions of other queries; behind their own answers where the query is hinted."""
        if kind == PromptKind.ZERO_SHOT:
            return ()
        if self._random is None:
            self._random = ExemplarBank.of_references(self._pool, seed=self._seed, round=self._round)
        return self._random.draw(query, self._options.exemplars, hinted=kind == PromptKind.RATIONALIZED)

    def after_training(self, accuracy: float) -> None:
        pass

    def levels(self) -> np.ndarray | None:
        return None

    def state(self) -> Mapping[str, np.ndarray]:
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        pass

    def notes(self) -> Mapping[str, int]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {}


def require_references(pool: Pool, why: str) -> None:
    """Raise `UserError` when no query has a reference solution; `why` completes "…, which {why} …"."""
    if not any(query.solution for query in pool.queries):
        raise UserError(
            f"data.train: none of its {len(pool):,} queries has a reference solution, which {why} give the "
            "data a solution column"
        )


def numbered(
    count: np.ndarray, tally: Tally, kind: PromptKind, *, temperature: float | None = None
) -> Requests:
    """`count` trials per query, int [n], numbered on from those requested so far; ordered by query."""
    query = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    trial = tally.requested[query] + within
    return Requests(
        query.astype(np.int32),
        trial.astype(np.int32),
        np.full(len(query), kind, np.int8),
        None if temperature is None else np.full(len(query), temperature, np.float32),
    )


def top_up(deficit: np.ndarray, found: np.ndarray, tally: Tally, max_trials: int) -> np.ndarray:
    """Further trials per query, int64 [n]: the `deficit` over the yield seen so far, within the budget.

    [ours] The yield is `found` per finished trial, half a success in one trial as prior. A query asks for
    no more at once than its deficit or the trials it has had, so few ticks are spent on it (the trials
    double) and few trials beyond the target, which are dropped by their number.
    """
    rate = (found + 0.5) / (tally.finished + 1.0)
    wanted = np.minimum(np.rint(deficit / rate), np.maximum(deficit, tally.finished)).astype(np.int64)
    outstanding = tally.requested - tally.finished
    budget = np.maximum(max_trials - tally.requested, 0)
    return np.where(deficit > 0, np.clip(wanted - outstanding, 0, budget), 0)
