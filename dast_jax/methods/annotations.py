"""What a method may require about the queries before it begins: declarations, carried out by the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dast_jax.llm.judge import JudgeOptions
from dast_jax.llm.tagger import TaggerOptions

__all__ = ["Annotation", "Clusters", "Ratings"]


@dataclass(frozen=True, slots=True)
class Ratings:
    """A judge's rating of each query's difficulty: float64 [n], NaN where it gave none."""

    column: ClassVar[str] = "rating"
    judge: JudgeOptions


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which of `count` clusters each query belongs to, by topic: int32 [n].

    The text of a query's tags (else the query's own) becomes a vector by `encoder`, one of
    `estimators.clustering.ENCODERS`; K-Means makes the clusters.
    """

    column: ClassVar[str] = "cluster"
    count: int
    encoder: str
    encoder_model: str
    tagger: TaggerOptions


Annotation = Ratings | Clusters
