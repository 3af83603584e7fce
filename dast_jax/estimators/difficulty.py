"""How hard is a query for a policy: levels from trials, pass@k, and which correct responses are distinct.

Counts per query come in as integer arrays, and whole pools are handled by numpy operations.
Nothing here knows of models, prompts or files.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from dast_jax.records import LEVELS, FinishReason, Requests, Responses, Tally, VerdictKind

__all__ = [
    "DEFAULT_CUTS",
    "EASY",
    "HARD",
    "MIDDLE",
    "UNSOLVED",
    "Cuts",
    "TallyCounter",
    "fail_rate",
    "level_counts",
    "level_shares",
    "levels_from_counts",
    "normalise_text",
    "pass_at_k",
    "rejectable",
    "response_key",
    "response_keys",
    "smallest_trials",
    "usable",
]

EASY, MIDDLE, HARD, UNSOLVED = range(len(LEVELS))


class Cuts(NamedTuple):
    """Cut points of the pass rate: easy from `easy` up, hard below `hard`, middle between them.

    The levels are those of arXiv 2503.09029, the cut points are [ours] (the paper does not give its own).
    """

    easy: float = 0.75
    hard: float = 0.25


DEFAULT_CUTS = Cuts()


# --- levels -----------------------------------------------------------------------------------------


def levels_from_counts(
    correct: np.ndarray, trials: np.ndarray | int, cuts: Cuts = DEFAULT_CUTS
) -> np.ndarray:
    """Levels int8 [n] (index into `LEVELS`) of queries with `correct` of `trials` trials correct, int [n].

    With p = correct / trials: easy p >= cuts.easy, middle cuts.hard <= p < cuts.easy, hard
    0 < p < cuts.hard, unsolved p = 0. A query without trials is unsolved: nothing shows that it can be
    solved. Raises ValueError for counts that cannot be, or cut points out of order.
    """
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    if (correct < 0).any() or (correct > trials).any():
        raise ValueError("need 0 <= correct <= trials for every query")
    if not 0 < cuts.hard < cuts.easy <= 1:
        raise ValueError(f"need 0 < hard < easy <= 1 for the cut points, got {cuts}")
    rate = correct / np.maximum(trials, 1)
    levels = np.full(rate.shape, HARD, np.int8)
    levels[rate >= cuts.hard] = MIDDLE
    levels[rate >= cuts.easy] = EASY
    levels[correct == 0] = UNSOLVED
    return levels


def smallest_trials(cuts: Cuts) -> int:
    """The fewest trials per query with which a query can be hard at all (5 for the default cuts)."""
    trials = 1
    while HARD not in levels_from_counts(np.arange(trials + 1), trials, cuts):
        trials += 1
    return trials


def level_counts(levels: np.ndarray, query: np.ndarray | None = None) -> np.ndarray:
    """How many queries, or how many rows of `query` (indices, int [m]), each level holds: int64 [4]."""
    chosen = levels if query is None else levels[query]
    return np.bincount(chosen.astype(np.int64), minlength=len(LEVELS))


def level_shares(levels: np.ndarray, query: np.ndarray | None = None) -> dict[str, float]:
    """The share of each level, by name, of the queries or of the rows of `query`; zeros when empty."""
    counts = level_counts(levels, query)
    return dict(zip(LEVELS, (counts / max(counts.sum(), 1)).tolist(), strict=True))


# --- rates ------------------------------------------------------------------------------------------


def fail_rate(correct: np.ndarray, trials: np.ndarray | int) -> np.ndarray:
    """1 − correct / trials, float64 [n]; 1 for a query without trials."""
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    return 1.0 - correct / np.maximum(trials, 1)


def pass_at_k(correct: np.ndarray, trials: np.ndarray | int, k: int) -> np.ndarray:
    """Unbiased estimate of pass@k per query, float64 [n]: 1 − C(n − c, k) / C(n, k) (arXiv 2107.03374).

    Raises ValueError when k < 1 or a query has fewer than k trials.
    """
    correct, trials = np.broadcast_arrays(np.asarray(correct), np.asarray(trials))
    if k < 1 or (trials < k).any():
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} trials of every query")
    # C(n − c, k) / C(n, k) as a product of k ratios, which stays in range for any n.
    step = np.arange(k)
    ratios = (trials - correct)[..., None] - step
    return 1.0 - np.prod(np.maximum(ratios, 0) / (trials[..., None] - step), axis=-1)


# --- which responses count --------------------------------------------------------------------------


def normalise_text(text: str) -> str:
    """`text` with case and white space evened out: two responses equal in this are not distinct."""
    return " ".join(text.casefold().split())


def response_key(text: str) -> str:
    """A short digest of the normalised text; responses of one query with equal keys are not distinct."""
    return _digest(text).hex()


def response_keys(texts: Iterable[str]) -> np.ndarray:
    """The digests of `response_key` as uint64 [n]."""
    return np.frombuffer(b"".join(map(_digest, texts)), dtype=">u8").astype(np.uint64)


def _digest(text: str) -> bytes:
    return blake2b(normalise_text(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def usable(responses: Responses) -> np.ndarray:
    """Which rows can be trained on, bool [n]: correct, and not cut off at the limit of new tokens.

    [ours] A truncated response may hold the right answer, but with EOS put behind it, it would teach
    the policy to stop in the middle of a sentence. It counts as correct in the pass rate.
    """
    return responses.correct & (responses.finish != tuple(FinishReason).index(FinishReason.LENGTH))


def rejectable(responses: Responses) -> np.ndarray:
    """Which rows can be the rejected one of a pair, bool [n]: incorrect, and ended by themselves.

    [ours] A truncated or timed-out response was not shown to be wrong, nor was one without an answer.
    """
    whole = responses.finish != tuple(FinishReason).index(FinishReason.LENGTH)
    return (responses.verdict == tuple(VerdictKind).index(VerdictKind.INCORRECT)) & whole


class TallyCounter:
    """Keeps a stage's `Tally`: what was requested, what finished, and how much of it was new and correct.

    The counts after a set of responses are the same in whatever order they came.
    """

    def __init__(self, n_queries: int, carried: Responses | None = None):
        """Counts for `n_queries` queries, starting with the `carried` responses of earlier rounds."""
        self.tally = Tally.zeros(n_queries)
        self._distinct = DistinctTexts(self.tally.distinct)
        if carried is not None and len(carried):
            self.tally.requested += np.bincount(carried.query, minlength=n_queries).astype(np.int32)
            self.add(carried)

    def request(self, requests: Requests) -> None:
        """Count trials that are going to be sampled."""
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
        """Count verified responses, many at once."""
        n = len(self.tally.finished)
        self.tally.finished += np.bincount(responses.query, minlength=n).astype(np.int32)
        self.tally.correct += np.bincount(responses.query[responses.correct], minlength=n).astype(np.int32)
        rows = np.flatnonzero(usable(responses))
        query = responses.query[rows]
        self.tally.usable += np.bincount(query, minlength=n).astype(np.int32)
        self._distinct.add(query, responses.text[rows])


class DistinctTexts:
    """Counts the different normalised texts of each query as they come: `count`, int [n], in place."""

    def __init__(self, count: np.ndarray):
        self.count = count
        self._seen = _KeySet()

    def know(self, query: np.ndarray, text: np.ndarray) -> None:
        """Take the texts [m] of the queries [m] for seen, without counting them."""
        self._seen.add_many(_text_keys(query, text))

    def add(self, query: np.ndarray, text: np.ndarray) -> None:
        """Count those of the texts [m] of the queries [m] that are new."""
        new = query[self._seen.add_many(_text_keys(query, text))]
        self.count += np.bincount(new, minlength=len(self.count)).astype(self.count.dtype)

    def add_one(self, query: int, text: str) -> None:
        """The same for one text."""
        key = int.from_bytes(_digest(text), "big") ^ (query * _GOLDEN & _WORD)
        self.count[query] += self._seen.add(key)


def _text_keys(query: np.ndarray, text: np.ndarray) -> np.ndarray:
    """One key per (query, normalised text), uint64 [m]."""
    return response_keys(text) ^ (query.astype(np.uint64) * np.uint64(_GOLDEN))


_WORD = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
"""An odd constant that spreads query indices over 64 bits (the golden ratio, as in Fibonacci hashing)."""


class _KeySet:
    """A set of 64-bit keys at 8 bytes each, as a pool of 10^6 queries may have 10^7 correct responses.

    Keys lie in a sorted array; those added one at a time wait in a small set until there are enough.
    """

    _WAITING = 1 << 16

    def __init__(self) -> None:
        self._sorted = np.zeros(0, np.uint64)
        self._waiting: set[int] = set()

    def add(self, key: int) -> bool:
        """Put the key in; returns whether it is new."""
        if key in self._waiting or self._holds(np.array([key], np.uint64))[0]:
            return False
        self._waiting.add(key)
        if len(self._waiting) >= self._WAITING:
            self.add_many(np.zeros(0, np.uint64))
        return True

    def add_many(self, keys: np.ndarray) -> np.ndarray:
        """Put keys in, uint64 [n]; returns the positions of those that are new, the first of equal ones."""
        self._merge(np.sort(np.fromiter(self._waiting, np.uint64, len(self._waiting))))
        self._waiting.clear()
        unique, first = np.unique(keys, return_index=True)
        new = ~self._holds(unique)
        self._merge(unique[new])
        return first[new]

    def _holds(self, keys: np.ndarray) -> np.ndarray:
        if not len(self._sorted):
            return np.zeros(len(keys), bool)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return self._sorted[at] == keys

    def _merge(self, keys: np.ndarray) -> None:
        """Put in sorted `keys` that are not held yet."""
        if len(keys):
            # The stable sort is a merge sort, and two sorted runs are what it is best at.
            self._sorted = np.sort(np.concatenate([self._sorted, keys]), kind="stable")
