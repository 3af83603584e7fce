"""A judge: another model, behind an OpenAI-compatible endpoint, that rates the difficulty of queries.

    judge = Judge(JudgeOptions(endpoint="https://HOST/v1", model="some-model", key_variable="SOME_API_KEY"))
    ratings, notes = judge(["What is 2+2?", …])      # float64 [n], NaN where there is no rating

Requests, retries and the handling of the key: `dast_jax.llm.client`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dast_jax.llm.client import Endpoint, EndpointOptions, NonsenseError
from dast_jax.options import opt
from dast_jax.runtime.progress import OnProgress, silent

__all__ = ["FALLBACKS", "Judge", "JudgeOptions"]


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

    prompt: str = opt(_PROMPT, "prompt for the judge; {question} is replaced by the query")
    scale: int = opt(10, "the highest rating; the lowest is 1", min=2)
    fallback: str = opt(
        "sampled",
        "what an unrated query gets: its sampled level, its label's, the median rating, or stop the run",
        choices=FALLBACKS,
        changes_result=False,
    )


class Judge:
    """Rates queries from 1 to `options.scale`. Errors are those of `Endpoint`."""

    def __init__(self, options: JudgeOptions, *, name: str = "judge"):
        """`name` is the section of the options in messages."""
        self._scale = options.scale
        self._endpoint = Endpoint(options, self._rating, name=name)

    def __call__(
        self, questions: Sequence[str], *, on_progress: OnProgress = silent
    ) -> tuple[np.ndarray, Mapping[str, int]]:
        """Return ratings float64 [n], NaN where there is none, and counts of the failures (`Endpoint`)."""
        ratings, counts = self._endpoint(questions, on_progress=on_progress)
        return np.array([np.nan if rating is None else rating for rating in ratings], np.float64), counts

    def _rating(self, reply: str) -> float:
        """Return the only number in a reply, or the last one called a rating; in 1..scale."""
        reply = re.sub(rf"(?:/|\bout of)\s*{self._scale}\b", "", reply)
        said = re.findall(
            r"\b(?:rating|difficulty|score)\b\D{0,20}?(\d{1,3}(?:\.\d+)?)(?![\d.]*\d)", reply, re.I
        )
        numbers = said or re.findall(r"(?<![\w.,-])(\d{1,3}(?:\.\d+)?)(?![\d,]*\w)", reply)
        if not numbers or (not said and len(set(numbers)) > 1):
            raise NonsenseError("no single number")
        rating = float(numbers[-1])
        if not 1 <= rating <= self._scale:
            raise NonsenseError("outside the scale")
        return rating
