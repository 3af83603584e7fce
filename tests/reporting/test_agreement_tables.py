"""The tables of the agreement of estimators fit the terminal and hold the numbers."""

from __future__ import annotations

from helpers_tables import check_fits

from dast_jax.estimators.agreement import LevelDiversity, PairAgreement
from dast_jax.records import LEVELS
from dast_jax.reporting.agreement_tables import print_agreement
from dast_jax.store.comparison_results import Agreement, Diversity

PAIR = PairAgreement(
    a="sampled",
    b="uncertainty",
    n=10_000,
    spearman=-0.123,
    kendall=None,
    same_level=0.5,
    confusion=((100, 0, 0, 0),) * 4,
)
FULL = LevelDiversity(
    queries=10_000,
    compared=10_000,
    distinct=0.5,
    distinct_1=0.1,
    distinct_2=0.2,
    distinct_3=0.3,
    distinct_4=0.4,
    self_bleu=0.987,
    length=1234.5,
)


def test_tables_fit_80_columns_and_hold_the_numbers() -> None:
    by_level = dict.fromkeys(LEVELS[:3], FULL) | {LEVELS[3]: LevelDiversity(queries=0, compared=0)}
    result = Agreement(
        model="m",
        data="d",
        skipped=(),
        queries=10_000,
        trials=16,
        correct=0.25,
        estimators={},
        pairs=(PAIR,),
        diversity=Diversity(levels_by="sampled", by_level=by_level),
        ids=(),
        scores={},
    )
    shown = check_fits(print_agreement, result)
    for text in ("sampled / uncertainty", "-0.123", "self-BLEU", "0.987", "1234.5", "25.0 % of them correct"):
        assert text in shown
    assert shown.count("–") >= 8  # a constant side, and a level without responses to compare
