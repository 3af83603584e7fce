"""What a method needs of the estimators: is there all that one needs, and the levels it gives."""

from __future__ import annotations

from collections.abc import Sequence

from dast_jax.difficulty import DEFAULT_CUTS, Cuts
from dast_jax.errors import UserError
from dast_jax.estimators.estimate import DEFAULT_SHARES, ESTIMATORS, Estimate, Rater, estimate
from dast_jax.estimators.options import JudgeOptions
from dast_jax.options import nearest
from dast_jax.records import Query, Responses

__all__ = ["check_estimator", "make_levels"]


def check_estimator(name: str, queries: Sequence[Query], judge: JudgeOptions | None = None) -> None:
    """Raise `UserError` where estimator `name` lacks its labels, endpoint or key; nothing is asked."""
    if name not in ESTIMATORS:
        raise UserError(f"estimator {name!r}: unknown{nearest(name, ESTIMATORS)}")
    fallback = judge.fallback if judge is not None and name == "judge" else None
    if "label" in (name, fallback):
        estimate("label", queries)
    if name == "judge":
        _judge(judge)


def make_levels(
    name: str,
    queries: Sequence[Query],
    responses: Responses | None = None,
    *,
    cuts: Cuts = DEFAULT_CUTS,
    shares: Sequence[float] = DEFAULT_SHARES,
    judge: JudgeOptions | None = None,
) -> Estimate:
    """The levels of `queries` by estimator `name`, from their trials `responses` where it needs any.

    A function of its arguments and not of the order of `responses`; the judge's ratings come from its cache
    where they are known. Arguments and errors as for `estimate`; `judge` is needed by `judge` only.
    """
    asked = _judge(judge) if name == "judge" else None
    fallback = judge.fallback if judge is not None else "sampled"
    return estimate(name, queries, responses, cuts=cuts, shares=shares, judge=asked, fallback=fallback)


def _judge(options: JudgeOptions | None) -> Rater:
    from dast_jax.estimators.judge import Judge

    return Judge(options or JudgeOptions())
