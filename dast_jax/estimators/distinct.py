"""Which responses count: those to train on, those to reject, and texts that differ from each other."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Integer, UInt64

from dast_jax.records import FinishReason, Responses, VerdictKind

__all__ = [
    "DistinctResponses",
    "DistinctTexts",
    "normalize_text",
    "rejectable",
    "response_key",
    "response_keys",
    "usable",
]


def normalize_text(text: str) -> str:
    """Return `text` with case and white space normalized; responses equal in this are not distinct."""
    return " ".join(text.casefold().split())


def response_key(text: str) -> str:
    """Return a short digest of the normalized text; equal ones of a query are not distinct."""
    return _digest(text).hex()


def response_keys(texts: Iterable[str]) -> UInt64[np.ndarray, " n"]:
    """Return the digests of `response_key` as numbers."""
    return np.frombuffer(b"".join(map(_digest, texts)), dtype=">u8").astype(np.uint64)


def _digest(text: str) -> bytes:
    return blake2b(normalize_text(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()


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


class DistinctTexts:
    """Counts the different normalized texts of each query as they come: `count`, int [n], in place."""

    def __init__(self, count: np.ndarray):
        self.count = count
        self._seen = _KeySet()

    def know(self, query: np.ndarray, text: np.ndarray) -> None:
        """Take the texts [m] of the queries [m] as seen, without counting them."""
        self._seen.add_many(_text_keys(query, text))

    def add(self, query: np.ndarray, text: np.ndarray) -> None:
        """Count those of the texts [m] of the queries [m] that are new."""
        new = query[self._seen.add_many(_text_keys(query, text))]
        self.count += np.bincount(new, minlength=len(self.count)).astype(self.count.dtype)

    def add_one(self, query: int, text: str) -> None:
        """Count one text if it is new."""
        key = int.from_bytes(_digest(text), "big") ^ (query * _GOLDEN & _WORD)
        self.count[query] += self._seen.add(key)


class DistinctResponses:
    """Counts each query's different texts to train on, `usable`, and to reject, `rejectable`; int64 [n]."""

    def __init__(self, n_queries: int, *, count_rejectable: bool):
        self._usable = DistinctTexts(np.zeros(n_queries, np.int64))
        self._rejectable = DistinctTexts(np.zeros(n_queries, np.int64)) if count_rejectable else None

    @property
    def usable(self) -> np.ndarray:
        """Different usable texts of each query so far."""
        return self._usable.count

    @property
    def rejectable(self) -> np.ndarray:
        """Different rejectable texts of each query so far."""
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


def _text_keys(query: Integer[np.ndarray, " m"], text: np.ndarray) -> UInt64[np.ndarray, " m"]:
    """Return one key per (query, normalized text)."""
    keys: np.ndarray = response_keys(text) ^ (query.astype(np.uint64) * np.uint64(_GOLDEN))
    return keys


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
