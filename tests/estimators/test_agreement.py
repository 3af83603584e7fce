"""Agreement and diversity by their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_estimate import trials

from dast_jax.estimators import Estimate
from dast_jax.estimators.agreement import (
    LevelDiversity,
    agreement,
    compare_all,
    distinct_ngrams,
    diversity_by_level,
    self_bleu,
)


def made(name, score, levels):
    return Estimate(name=name, score=np.array(score, float), levels=np.array(levels, np.int8))


def test_agreement_by_hand():
    a = made("a", [1, 2, 3, 4, np.nan], [0, 0, 1, 2, 3])
    b = made("b", [10, 30, 20, 40, 50], [0, 1, 1, 2, 0])
    found = agreement(a, b)
    assert found.n == 4
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 − 6 Σd² / (n (n² − 1))
    assert found.kendall == pytest.approx((5 - 1) / 6)
    assert found.same_level == pytest.approx(3 / 5)
    assert found.confusion == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 0, 0))


def test_constant_or_missing_scores_have_no_correlation():
    a, b = made("a", [1, 1, 1], [0, 0, 0]), made("b", [1, 2, 3], [0, 1, 2])
    none = made("c", [np.nan] * 3, [1, 1, 1])
    for other in (agreement(a, b), agreement(none, b)):
        assert other.spearman is None
        assert other.kendall is None
    assert [(p.a, p.b) for p in compare_all([a, b, none])] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_distinct_ngrams():
    texts = [["a", "b", "a"], ["a", "b", "c"]]
    assert distinct_ngrams(texts, 1) == 3 / 6
    assert distinct_ngrams(texts, 2) == 3 / 4
    assert distinct_ngrams(texts, 4) == 0.0


def test_self_bleu():
    same = [["the", "answer", "is", "4", "now"]] * 3
    assert self_bleu(same) == pytest.approx(1.0)
    assert self_bleu([["a", "b", "c", "d"], ["e", "f", "g", "h"]]) == 0.0
    # "a b c d e" against "a b c d f": precisions 4/5, (3+1)/(4+1), (2+1)/(3+1), (1+1)/(2+1); same length.
    pair = [["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "f"]]
    assert self_bleu(pair) == pytest.approx((4 / 5 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    # "a b" against "a b c": all precisions 1, penalty exp(1 − 3/2); "a b c" against "a b": 2/3, 2/3, 1/2.
    brief = [["a", "b"], ["a", "b", "c"]]
    assert self_bleu(brief) == pytest.approx((math.exp(-0.5) + (2 / 3 * 2 / 3 * 1 / 2) ** (1 / 3)) / 2)
    # Counts are clipped both ways: "a b" has one a of four, "a a a a" may count one.
    repeated = (math.exp(-1) * 0.5 + (1 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25) / 2
    assert self_bleu([["a", "b"], ["a"] * 4]) == pytest.approx(repeated)
    assert self_bleu([[], []]) == 1.0
    assert self_bleu([[], ["a"]]) == 0.0
    with pytest.raises(ValueError, match="two texts"):
        self_bleu([["a"]])


def test_diversity_by_level():
    rows = [(0, True, "a b", 2, 0.0)] * 4
    rows += [(1, True, text, 6, 0.0) for text in ("a b", "A  B", "c d", "e f")]
    rows += [(2, True, "x", 1, 0.0)]
    found = diversity_by_level(trials(rows), np.array([0, 1, 1, 3]))
    assert list(found) == ["easy", "middle", "hard", "unsolved"]
    assert found["easy"].distinct == 0.25
    assert found["easy"].self_bleu == pytest.approx(1.0)
    assert found["middle"].distinct == 0.75
    assert (found["middle"].queries, found["middle"].compared) == (2, 1)  # query 2 has one response
    assert found["middle"].distinct_1 == 6 / 8
    assert found["middle"].length == 6
    assert found["middle"].self_bleu < found["easy"].self_bleu
    assert found["hard"] == LevelDiversity(queries=0, compared=0)
    assert found["unsolved"] == LevelDiversity(queries=1, compared=0)
