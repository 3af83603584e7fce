"""Which responses count: those to train on, those to reject, and those that differ from each other."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Integer, UInt64

from dast_jax.estimators.steps import chain_of, without_repeated_answers
from dast_jax.records import FinishReason, Responses, VerdictKind

__all__ = [
    "DISTINCT",
    "STEP_TASKS",
    "Distinct",
    "DistinctCounter",
    "DistinctResponses",
    "rejectable",
    "usable",
]

DISTINCT = ("by_task", "steps", "text", "none")
"""What makes a response different from another one of its query, as options take it."""

STEP_TASKS = ("math", "number")
"""The task families whose solutions are compared by their steps under `by_task`."""


class Distinct:
    """Which responses to the same query are different from each other.

    `steps` compares numbers and operators in order (`steps.chain_of`), and the text where there are none;
    `text` compares the text without case and white space; stating the answer once more makes no difference
    to either. With `none` every response is different. `by_task` is `steps` for `STEP_TASKS`, else `text`.
    """

    def __init__(self, how: str = "text", tasks: Sequence[str] = ()):
        """Take `how` (one of `DISTINCT`) and, for `by_task`, the task of every query."""
        self.never_equal = how == "none"
        if how == "by_task":
            families = {task: re.split(r"~|±|\+-", task)[0] in STEP_TASKS for task in set(tasks)}
            self._by_steps = np.array([families[task] for task in tasks], bool)
        else:
            self._by_steps = np.full(1, how == "steps")

    def keys(
        self, query: Integer[np.ndarray, " m"], text: Sequence[str] | np.ndarray
    ) -> UInt64[np.ndarray, " m"]:
        """Return a number for each of the texts [m]; those of a query that are equal are not different."""
        by_steps = self._by_steps[query] if len(self._by_steps) > 1 else np.repeat(self._by_steps, len(query))
        found = b"".join(map(_digest, text, by_steps.tolist()))
        return np.frombuffer(found, dtype=">u8").astype(np.uint64)

    def key(self, query: int, text: str) -> int:
        """Return what `keys` returns for one text."""
        by_steps = self._by_steps[query] if len(self._by_steps) > 1 else self._by_steps[0]
        return int.from_bytes(_digest(text, bool(by_steps)), "big")

    def keys_of(self, responses: Responses, rows: Integer[np.ndarray, " m"]) -> UInt64[np.ndarray, " m"]:
        """Return the keys of the responses in `rows`; all different with `none`."""
        if self.never_equal:
            rounds, trials = responses.round[rows].astype(np.uint64), responses.trial[rows].astype(np.uint64)
            names: np.ndarray = (rounds << np.uint64(32)) | trials
            return names
        return self.keys(responses.query[rows], responses.text[rows])


@functools.lru_cache(maxsize=4096)  # a response is looked at several times, mostly soon after it arrived
def _digest(text: str, by_steps: bool) -> bytes:
    """Return 8 bytes that are equal for texts that are not different."""
    chain = chain_of(text) if by_steps else ""
    content = "\0" + chain if chain else without_repeated_answers(text)
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def usable(responses: Responses) -> Bool[np.ndarray, " n"]:
    """Return which rows can be trained on: correct, and not cut off at the limit of new tokens.

    [ours] A truncated response may contain the correct answer, but with EOS after it, it would teach
    the policy to stop in the middle of a sentence. It counts as correct in the pass rate.
    """
    rows: np.ndarray = responses.correct & _whole(responses)
    return rows


def rejectable(responses: Responses) -> Bool[np.ndarray, " n"]:
    """Return which rows can be the rejected one of a pair: incorrect, and not truncated.

    [ours] A truncated or timed-out response was not shown to be incorrect, nor was one without an answer.
    """
    incorrect = responses.verdict == tuple(VerdictKind).index(VerdictKind.INCORRECT)
    rows: np.ndarray = incorrect & _whole(responses)
    return rows


def _whole(responses: Responses) -> Bool[np.ndarray, " n"]:
    """Return which rows ended before the limit of new tokens."""
    whole: np.ndarray = responses.finish != tuple(FinishReason).index(FinishReason.LENGTH)
    return whole


class DistinctCounter:
    """Counts the `distinct` responses of each query as they come: `count`, int [n], in place."""

    def __init__(self, count: np.ndarray, distinct: Distinct):
        self.count = count
        self._distinct = distinct
        self._seen = _KeySet()

    def know(self, query: np.ndarray, text: np.ndarray) -> None:
        """Take the texts [m] of the queries [m] as seen, without counting them."""
        if not self._distinct.never_equal:
            self._seen.add_many(self._keys(query, text))

    def add(self, query: np.ndarray, text: np.ndarray) -> None:
        """Count those of the texts [m] of the queries [m] that are new."""
        every = self._distinct.never_equal
        new = query if every else query[self._seen.add_many(self._keys(query, text))]
        self.count += np.bincount(new, minlength=len(self.count)).astype(self.count.dtype)

    def add_one(self, query: int, text: str) -> None:
        """Count one text if it is new."""
        if self._distinct.never_equal:
            self.count[query] += 1
        else:
            key = self._distinct.key(query, text) ^ (query * _GOLDEN & _WORD)
            self.count[query] += self._seen.add(key)

    def _keys(self, query: np.ndarray, text: np.ndarray) -> UInt64[np.ndarray, " m"]:
        """Return one key per (query, what its texts are compared by)."""
        keys: np.ndarray = self._distinct.keys(query, text) ^ (query.astype(np.uint64) * np.uint64(_GOLDEN))
        return keys


class DistinctResponses:
    """Counts each query's distinct responses: `usable` to train on, `rejectable` to reject; int64 [n]."""

    def __init__(self, n_queries: int, distinct: Distinct, *, count_rejectable: bool):
        self._usable = DistinctCounter(np.zeros(n_queries, np.int64), distinct)
        rejectable = DistinctCounter(np.zeros(n_queries, np.int64), distinct)
        self._rejectable = rejectable if count_rejectable else None

    @property
    def usable(self) -> np.ndarray:
        """Distinct usable responses of each query so far."""
        return self._usable.count

    @property
    def rejectable(self) -> np.ndarray:
        """Distinct rejectable responses of each query so far."""
        assert self._rejectable is not None, "they are not counted"
        return self._rejectable.count

    def know(self, query: np.ndarray, text: np.ndarray) -> None:
        """Take the texts [m] of the queries [m] as seen: a usable response that repeats one is not new."""
        self._usable.know(query, text)

    def add(self, responses: Responses) -> None:
        """Count verified responses."""
        rows = usable(responses)
        self._usable.add(responses.query[rows], responses.text[rows])
        if self._rejectable is not None:
            rows = rejectable(responses)
            self._rejectable.add(responses.query[rows], responses.text[rows])


_WORD = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
"""An odd constant that spreads query indices over 64 bits (the golden ratio, as in Fibonacci hashing)."""


class _KeySet:
    """A set of 64-bit keys at 8 bytes each, as a pool of 10^6 queries may have 10^7 correct responses.

    Keys are in a sorted array; those added one at a time are held in a small set until there are enough.
    """

    _WAITING = 1 << 16

    def __init__(self) -> None:
        self._sorted = np.zeros(0, np.uint64)
        self._waiting: set[int] = set()

    def add(self, key: int) -> bool:
        """Add the key; return whether it is new."""
        if key in self._waiting or self._holds(np.array([key], np.uint64))[0]:
            return False
        self._waiting.add(key)
        if len(self._waiting) >= self._WAITING:
            self.add_many(np.zeros(0, np.uint64))
        return True

    def add_many(self, keys: UInt64[np.ndarray, " n"]) -> Integer[np.ndarray, " k"]:
        """Add the keys; return the positions of those that are new, the first of equal ones."""
        self._merge(np.sort(np.fromiter(self._waiting, np.uint64, len(self._waiting))))
        self._waiting.clear()
        unique, first = np.unique(keys, return_index=True)
        new = ~self._holds(unique)
        self._merge(unique[new])
        positions: np.ndarray = first[new]
        return positions

    def _holds(self, keys: UInt64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        if not len(self._sorted):
            return np.zeros(len(keys), bool)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        held: np.ndarray = self._sorted[at] == keys
        return held

    def _merge(self, keys: UInt64[np.ndarray, " n"]) -> None:
        """Add sorted `keys` that are not in the set yet."""
        if len(keys):
            # The stable sort is a merge sort, and two sorted runs are what it is best at.
            self._sorted = np.sort(np.concatenate([self._sorted, keys]), kind="stable")
