"""How two estimators agree, and how diverse a policy's responses are: pure functions of columns."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Integer, Real

from dast_jax.estimators.estimate import Estimate
from dast_jax.estimators.steps import normalize_text
from dast_jax.records import LEVELS, Responses

__all__ = [
    "LevelDiversity",
    "PairAgreement",
    "agreement",
    "compare_all",
    "distinct_ngrams",
    "diversity_by_level",
    "self_bleu",
]

_MAX_ORDER = 4


@dataclass(frozen=True, kw_only=True)
class PairAgreement:
    """How far two estimators agree."""

    a: str
    """the first estimator"""
    b: str
    """the second estimator"""
    n: int
    """queries with a score by both"""
    spearman: float | None
    """rank correlation of the scores; null where a side is constant"""
    kendall: float | None
    """Kendall's tau-b of the scores; null where a side is constant"""
    same_level: float
    """share of all queries that both give the same level"""
    confusion: tuple[tuple[int, ...], ...]
    """`confusion[i][j]`: queries of level i by `a` and j by `b`, of all queries"""


@dataclass(frozen=True, kw_only=True)
class LevelDiversity:
    """How diverse the responses to one query are, for one level.

    Means are over the level's queries with two or more responses; null where there are none.
    """

    queries: int
    """queries of the level"""
    compared: int
    """those with two or more responses"""
    distinct: float | None = None
    """share of a query's responses whose normalized text no earlier one has"""
    distinct_1: float | None = None
    """distinct words over all words (arXiv 1510.03055)"""
    distinct_2: float | None = None
    """the same of 2-grams"""
    distinct_3: float | None = None
    """the same of 3-grams"""
    distinct_4: float | None = None
    """the same of 4-grams"""
    self_bleu: float | None = None
    """BLEU-4 of each response against the others (arXiv 1802.01886); low where they differ"""
    length: float | None = None
    """tokens"""


def compare_all(estimates: Sequence[Estimate]) -> tuple[PairAgreement, ...]:
    """Return the `agreement` of every pair of estimates, in order."""
    return tuple(agreement(a, b) for a, b in combinations(estimates, 2))


def agreement(a: Estimate, b: Estimate) -> PairAgreement:
    """Return how far two estimates of the same queries agree."""
    both = ~np.isnan(a.score) & ~np.isnan(b.score)
    confusion = np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    np.add.at(confusion, (a.levels, b.levels), 1)
    return PairAgreement(
        a=a.name,
        b=b.name,
        n=int(both.sum()),
        spearman=_correlation("spearmanr", a.score[both], b.score[both]),
        kendall=_correlation("kendalltau", a.score[both], b.score[both]),
        same_level=float(np.trace(confusion) / max(confusion.sum(), 1)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _correlation(name: str, x: Real[np.ndarray, " n"], y: Real[np.ndarray, " n"]) -> float | None:
    from scipy import stats

    if len(x) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant side: the result is NaN, and said as None
        value = float(getattr(stats, name)(x, y).statistic)
    return value if math.isfinite(value) else None


# --- diversity ----------------------------------------------------------------------------------------


def diversity_by_level(
    responses: Responses, levels: Integer[np.ndarray, " n"], *, max_trials: int = 8
) -> dict[str, LevelDiversity]:
    """Return, by level, how diverse the responses to one query are.

    For self-BLEU the first `max_trials` responses are taken, as its cost grows with their square.
    """
    rows_of: dict[int, list[int]] = {}
    for row in np.lexsort((responses.trial, responses.round, responses.query)):
        rows_of.setdefault(int(responses.query[row]), []).append(int(row))
    found: dict[str, LevelDiversity] = {}
    for level, name in enumerate(LEVELS):
        members = np.flatnonzero(levels == level)
        groups = [rows for q in members if len(rows := rows_of.get(int(q), [])) > 1]
        found[name] = _diversity(responses, len(members), groups, max_trials)
    return found


def _diversity(
    responses: Responses, queries: int, groups: Sequence[list[int]], max_trials: int
) -> LevelDiversity:
    """Return the means over `groups`, the rows of each query."""
    if not groups:
        return LevelDiversity(queries=queries, compared=0)
    texts = [[normalize_text(str(responses.text[row])) for row in rows] for rows in groups]
    words = [[text.split() for text in of_query] for of_query in texts]
    ngrams = [float(np.mean([distinct_ngrams(w, n) for w in words])) for n in range(1, _MAX_ORDER + 1)]
    return LevelDiversity(
        queries=queries,
        compared=len(groups),
        distinct=float(np.mean([len(set(of_query)) / len(of_query) for of_query in texts])),
        distinct_1=ngrams[0],
        distinct_2=ngrams[1],
        distinct_3=ngrams[2],
        distinct_4=ngrams[3],
        self_bleu=float(np.mean([self_bleu(w[:max_trials]) for w in words])),
        length=float(np.mean([responses.length[rows].mean() for rows in groups])),
    )


def distinct_ngrams(texts: Sequence[Sequence[str]], n: int) -> float:
    """Share of the n-grams of all texts that are distinct; 0 where there are none."""
    grams = [gram for words in texts for gram in _ngrams(words, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4 of each text against all the others, in [0, 1]; at least two texts are needed.

    n-gram counts are clipped at the most that any one other text has; precisions of n > 1 are smoothed by
    one (as for sentences); the brevity penalty is by the other text nearest in length. Of texts
    shorter than 4 words only the orders that they have count; two empty texts are alike.
    """
    if len(texts) < 2:
        raise ValueError("self-BLEU needs at least two texts")
    counts = [[Counter(_ngrams(words, n)) for n in range(1, _MAX_ORDER + 1)] for words in texts]
    return float(np.mean([_bleu(i, texts, counts) for i in range(len(texts))]))


def _bleu(i: int, texts: Sequence[Sequence[str]], counts: list[list[Counter[tuple[str, ...]]]]) -> float:
    others = [j for j in range(len(texts)) if j != i]
    length = len(texts[i])
    if length == 0:
        return float(any(not texts[j] for j in others))
    logs = []
    for n in range(1, min(length, _MAX_ORDER) + 1):
        own = counts[i][n - 1]
        clipped = sum(min(c, max(counts[j][n - 1][gram] for j in others)) for gram, c in own.items())
        smooth = int(n > 1)
        if clipped + smooth == 0:
            return 0.0
        logs.append(math.log((clipped + smooth) / (own.total() + smooth)))
    nearest = min((len(texts[j]) for j in others), key=lambda other: (abs(other - length), other))
    penalty = min(0.0, 1 - nearest / length)
    return math.exp(penalty + sum(logs) / len(logs))


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))
