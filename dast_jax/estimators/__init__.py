"""Interchangeable estimators of how hard a query is: one score and one level for each."""

from dast_jax.estimators.checks import ask_judge, check_estimator
from dast_jax.estimators.estimate import ESTIMATORS, Estimate, estimate, levels_by_rank, rank_quantiles
from dast_jax.estimators.options import JudgeOptions

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "JudgeOptions",
    "ask_judge",
    "check_estimator",
    "estimate",
    "levels_by_rank",
    "rank_quantiles",
]
