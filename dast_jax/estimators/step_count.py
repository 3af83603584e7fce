"""How many steps a response has, by what separates steps in its task (SAI-DPO, arXiv 2505.16176)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from dast_jax.records import Query, Responses

__all__ = ["STEP_SEPARATORS", "count_steps", "separators_of", "steps_of"]

_CALCULATION = ("\n", "=")
_PROSE = ("\n", ". ", "! ", "? ")
STEP_SEPARATORS = {
    "math": _CALCULATION,
    "number": _CALCULATION,
    "list": _CALCULATION,
    "choice": _PROSE,
    "yes_no": _PROSE,
    "label": _PROSE,
    "bool": _PROSE,
}
"""[ours] Task family → what ends a step: lines and equals signs of calculations, lines and sentences of text.

Lines alone tell nothing where every solution is one calculation and one line with the answer.
"""


def separators_of(task: str) -> tuple[str, ...]:
    """Return what ends a step in `task` (`math~0.04` is of the family math); lines for a custom verifier."""
    family = re.match(r"\w*", task)
    return STEP_SEPARATORS.get(family[0] if family else "", ("\n",))


def count_steps(text: str, separators: Sequence[str]) -> int:
    """Return the number of parts of `text` between `separators` that are not blank."""
    return sum(1 for part in _pattern(tuple(separators)).split(text) if part.strip())


def steps_of(
    responses: Responses, queries: Sequence[Query], separators: Sequence[str] = ()
) -> Int[np.ndarray, " m"]:
    """Return the steps of each response; `separators` replace those of its query's task where given."""
    ends = [tuple(separators) or separators_of(query.task) for query in queries]
    pairs = zip(responses.text, responses.query.tolist(), strict=True)
    return np.fromiter((count_steps(text, ends[query]) for text, query in pairs), np.int64, len(responses))


@lru_cache(maxsize=64)
def _pattern(separators: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, separators)))
