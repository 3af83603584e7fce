"""Interchangeable estimators of how hard a query is: one score and one level for each."""

from dast_jax.estimators.estimate import ESTIMATORS, Estimate, estimate, levels_by_rank, rank_quantiles

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "estimate",
    "levels_by_rank",
    "rank_quantiles",
]
