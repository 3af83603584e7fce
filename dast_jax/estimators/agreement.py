"""How two estimators agree, and how diverse a policy's responses are: pure functions of columns."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from dast_jax.estimators.distinct import normalize_text
from dast_jax.estimators.estimate import Estimate
from dast_jax.records import LEVELS, Responses

__all__ = ["agreement", "compare_all", "distinct_ngrams", "diversity_by_level", "self_bleu"]

_MAX_ORDER = 4


def compare_all(estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
    """`agreement` of every two of them, in their order."""
    return [agreement(a, b) for a, b in combinations(estimates, 2)]


def agreement(a: Estimate, b: Estimate) -> dict[str, Any]:
    """How far two estimates of the same queries agree, over the n queries that both have a score for.

    `spearman` and `kendall` (tau-b) are None where one of the two is constant; `confusion[i][j]` counts
    queries of level i by a and j by b, over all queries; `same_level` is the share of them with i = j.
    """
    both = ~np.isnan(a.score) & ~np.isnan(b.score)
    confusion = np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    np.add.at(confusion, (a.levels, b.levels), 1)
    return {
        "a": a.name,
        "b": b.name,
        "n": int(both.sum()),
        "spearman": _correlation("spearmanr", a.score[both], b.score[both]),
        "kendall": _correlation("kendalltau", a.score[both], b.score[both]),
        "same_level": float(np.trace(confusion) / max(confusion.sum(), 1)),
        "confusion": confusion.tolist(),
    }


def _correlation(name: str, x: np.ndarray, y: np.ndarray) -> float | None:
    from scipy import stats

    if len(x) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant side: the result is NaN, and said as None
        value = float(getattr(stats, name)(x, y).statistic)
    return value if math.isfinite(value) else None


# --- diversity ----------------------------------------------------------------------------------------


def diversity_by_level(
    responses: Responses, levels: np.ndarray, *, most_trials: int = 8
) -> dict[str, dict[str, Any]]:
    """Per level, how unlike the responses to one query are; each number is the mean over its queries.

    `distinct` share of its responses whose normalised text no earlier one has; `distinct_1` to
    `distinct_4`, unlike n-grams over all n-grams (arXiv 1510.03055); `self_bleu`, BLEU-4 of each response
    against the others (arXiv 1802.01886), low where they differ; `length`, mean tokens. For self-BLEU the
    first `most_trials` are taken, as its cost grows with their square. Queries with one response count for
    none of these; `queries` is how many a level has, `compared` those with more.
    """
    of_query: dict[int, list[int]] = {}
    for row in np.lexsort((responses.trial, responses.round, responses.query)):
        of_query.setdefault(int(responses.query[row]), []).append(int(row))
    found: dict[str, dict[str, Any]] = {}
    for level, name in enumerate(LEVELS):
        members = np.flatnonzero(levels == level)
        rows = [of_query[int(q)] for q in members if len(of_query.get(int(q), ())) > 1]
        entry: dict[str, Any] = {"queries": len(members), "compared": len(rows)}
        if rows:
            texts = [[str(responses.text[r]) for r in group] for group in rows]
            entry["distinct"] = float(np.mean([len(set(map(normalize_text, t))) / len(t) for t in texts]))
            words = [[normalize_text(text).split() for text in group] for group in texts]
            for n in range(1, _MAX_ORDER + 1):
                entry[f"distinct_{n}"] = float(np.mean([distinct_ngrams(group, n) for group in words]))
            entry["self_bleu"] = float(np.mean([self_bleu(group[:most_trials]) for group in words]))
            entry["length"] = float(np.mean([responses.length[group].mean() for group in rows]))
        found[name] = entry
    return found


def distinct_ngrams(texts: Sequence[Sequence[str]], n: int) -> float:
    """Share of the n-grams of all texts that are unlike; 0 where there are none."""
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
