"""What can be set about the judge."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.llm.client import EndpointOptions
from dast_jax.options import opt

__all__ = ["FALLBACKS", "JudgeOptions"]

FALLBACKS = ("sampled", "label", "median", "stop")
"""What a query that the judge did not rate gets: another estimator's level, the median rating, an error."""

_PROMPT = (
    "Rate how difficult this problem is for a student, from 1 (trivial) to 10 (extremely hard). "
    "Consider how many steps it takes and how easily one goes wrong. "
    "Do not solve it. Reply with the number only.\n\nProblem:\n{question}"
)


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(EndpointOptions):
    """A model that rates queries; everything here is [ours]."""

    prompt: str = opt(_PROMPT, "what the judge is asked; {question} is replaced by the query")
    scale: int = opt(10, "the highest rating; the lowest is 1", min=2)
    fallback: str = opt(
        "sampled",
        "what an unrated query gets: its sampled level, its label's, the median rating, or stop the run",
        choices=FALLBACKS,
        changes_result=False,
    )
