"""The interface of a method: which queries to sample next, what to train on, what to remember."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.distinct import DISTINCT, Distinct
from dast_jax.methods.annotations import Annotation
from dast_jax.methods.exemplars import ExemplarBank
from dast_jax.options import opt
from dast_jax.records import (
    Exemplar,
    Pool,
    PreferenceSet,
    PromptKind,
    Requests,
    Responses,
    Tally,
    TrainingSet,
)

__all__ = [
    "Json",
    "Method",
    "MethodFacts",
    "MethodOptions",
    "RoundStart",
    "distinct_option",
    "exemplars_option",
    "require_references",
    "restore",
    "state_of",
    "warm_up_option",
]

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
"""A value that JSON can hold."""

MethodFacts: TypeAlias = Mapping[str, Json]
"""What the report shows of a method's round, by name."""


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Base of every method's `Options`."""

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """What the run must compute for the queries and add as columns of the pool before it starts."""
        return ()


@dataclass(frozen=True, slots=True)
class RoundStart:
    """What a method is given at the beginning of round `number`.

    `history(r)` returns the verified responses sampled in the earlier round r. `accuracy` is the share of
    response tokens predicted correctly in the training of the round before, averaged over its steps; None
    where nothing was trained.
    """

    number: int
    history: Callable[[int], Responses]
    accuracy: float | None = None


class Method(ABC):
    """A self-training method, bound to its pool, options and seed.

    For every round the loop calls `begin`; then `requests`, tick by tick (with `exemplars` for each query
    requested), until it returns nothing while nothing is outstanding; then `training_set`. After that it
    saves the attributes named in `state`; before `begin` of the next round in a new process, it restores
    them. `training_set` may run in another process than `requests` did, after `begin` alone. Everything must
    be a deterministic function of the arguments and the state, and of which responses there are, never of
    the order in which they arrived.

    A method's module defines `Options`, a dataclass derived from `MethodOptions`, and one subclass of this
    class. The subclass implements at least `requests` and `training_set`; what does not suit it is refused
    by a `UserError` in its constructor.
    """

    start: ClassVar[str] = "continue"
    """Where training starts by default: `continue` from the last policy, or `restart` from the base model."""

    preference_loss: ClassVar[str] = "sigmoid"
    """The default loss for pairs: sigmoid, ipo, rpo or simpo."""

    state: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes (arrays, or None) that are remembered from round to round."""

    levels: np.ndarray | None
    """Difficulty levels int8 [n] (index into `LEVELS`); None while there is no estimate."""

    facts: MethodFacts
    """What the report shows of the round; complete once its training set has been built."""

    distinct: Distinct
    """Which responses to a query are different: what `options.distinct` says, else `by_task`."""

    def __init__(self, pool: Pool, options: Any, seed: int):
        self.pool = pool
        self.options: Any = options
        self.seed = seed
        self.round = 0
        self.levels = None
        self.facts = {}
        tasks = [query.task for query in pool.queries]
        self.distinct = Distinct(getattr(options, "distinct", "by_task"), tasks)
        self._references: ExemplarBank | None = None
        if getattr(options, "warm_up", False):
            require_references(pool, "method.warm_up trains on in round 0; set method.warm_up=false, or")

    def begin(self, round: RoundStart) -> Responses:
        """Begin a round; return earlier responses that count toward it too (trials reused as data), if any.

        The loop starts the round's tally with them (`TallyCounter(n, carried)`) and puts them before the
        round's own responses in what `training_set` gets. A method numbers new trials from
        `tally.requested`, so a reused trial always comes before a new one.
        """
        self.round = round.number
        self.facts = {}
        self._references = None
        return Responses.none()

    @abstractmethod
    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return trials to sample next, given the round's counts so far; empty when there are none now.

        Called once per tick. `tally.requested` already counts everything returned before and everything
        carried over by `begin`. `news` holds the round's responses that were verified since the last call.
        """

    @abstractmethod
    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """Return what to train on after this round, from its verified responses: the carried and its own."""

    def exemplars(self, query: int, kind: int, block: int = 0) -> tuple[Exemplar, ...]:
        """Return solved problems to show before `query`, never the query itself; empty for zero-shot.

        By default these are reference solutions of other queries: random ones, drawn for this block of the
        query's trials (`exemplars.block_of`), or the fixed ones, with their answers as hints where the
        query is hinted. They must not depend on anything else that may differ between two calls.
        """
        if kind == PromptKind.ZERO_SHOT:
            return ()
        if self._references is None:
            self._references = ExemplarBank.of_references(self.pool, seed=self.seed, round=self.round)
        count = getattr(self.options, "exemplars", 0)
        if kind in (PromptKind.FIXED, PromptKind.RATIONALIZED):
            return self._references.fixed(query, count, hinted=kind == PromptKind.RATIONALIZED)
        return self._references.draw(query, count, block=block)

    @property
    def plain(self) -> PromptKind:
        """The prompt of an ordinary trial: few-shot, or zero-shot without `options.exemplars`."""
        return self.shown(PromptKind.FEW_SHOT)

    @property
    def fixed(self) -> PromptKind:
        """The prompt of a trial that measures difficulty: the exemplars of all queries, if there are any."""
        return self.shown(PromptKind.FIXED)

    def shown(self, kind: PromptKind) -> PromptKind:
        """Return `kind`, a prompt with exemplars, or zero-shot where `options.exemplars` is 0."""
        return kind if getattr(self.options, "exemplars", 0) else PromptKind.ZERO_SHOT

    @property
    def warming_up(self) -> bool:
        """Whether this is round 0 of a method that first trains on the reference solutions (`warm_up`)."""
        return self.round == 0 and getattr(self.options, "warm_up", False)


def state_of(method: Method) -> dict[str, np.ndarray]:
    """Return what `method` remembers: its declared attributes by name, without those that are None."""
    values = {name: getattr(method, name) for name in method.state}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def restore(method: Method, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the declared attributes of `method` to what `state_of` returned; those left out become None."""
    for name in method.state:
        setattr(method, name, arrays.get(name))


def exemplars_option() -> Any:
    """Declare the option `exemplars` of every method that samples; [ours] 4.

    0 makes every prompt zero-shot: estimates, samples, and hinted ones, which then show the hint alone.
    """
    return opt(4, "solved problems shown before a sampled query; 0 samples everything zero-shot", min=0)


def distinct_option(default: str = "by_task") -> Any:
    """Declare the option `distinct`; [ours] by default, steps where the task is one that has them."""
    return opt(
        default,
        "what makes a response new for its query: its steps (numbers and operators in order), its text, none "
        "(every one is new), or by_task: steps for the tasks math and number, else text",
        choices=DISTINCT,
    )


def warm_up_option(default: bool) -> Any:
    """Declare the option `warm_up`.

    [ours] With it, methods are compared from the same start: one round of plain SFT, as in DAST.
    """
    return opt(
        default,
        "round 0 trains on the reference solutions, and the method's own rounds begin with round 1",
    )


def require_references(pool: Pool, why: str) -> None:
    """Raise `UserError` when no query has a reference solution; `why` completes "…, which {why} …"."""
    if not any(query.solution for query in pool.queries):
        raise UserError(
            f"data.train: none of its {len(pool):,} queries has a reference solution, which {why} give the "
            "data a solution column"
        )
