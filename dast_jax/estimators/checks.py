"""What a method wants of an estimator before it samples: has it all it needs, and what does the judge say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.estimate import ESTIMATORS, check_rated, estimate
from dast_jax.estimators.options import JudgeOptions
from dast_jax.options import nearest
from dast_jax.records import Query

__all__ = ["ask_judge", "check_estimator"]


def check_estimator(name: str, queries: Sequence[Query], judge: JudgeOptions | None = None) -> None:
    """Raise `UserError` where estimator `name` lacks its labels, endpoint or key; nothing is asked."""
    if name not in ESTIMATORS:
        raise UserError(f"estimator {name!r}: unknown{nearest(name, ESTIMATORS)}")
    fallback = judge.fallback if judge is not None and name == "judge" else None
    if "label" in (name, fallback):
        estimate("label", queries)
    if name == "judge":
        from dast_jax.llm.judge import Judge

        Judge(judge or JudgeOptions())


def ask_judge(queries: Sequence[Query], options: JudgeOptions, *, name: str = "judge") -> np.ndarray:
    """The judge's ratings of `queries`, float64 [n], NaN where it gave none; what went wrong is logged.

    `name` is the section of the options in messages. Raises `UserError` where something is not set, and where
    a query is unrated and `options.fallback` says stop.
    """
    from dast_jax.llm.judge import Judge

    ratings, _ = Judge(options, name=name)([query.question for query in queries])
    if options.fallback == "stop":
        check_rated(ratings, name)
    return ratings
