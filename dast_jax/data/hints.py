"""The reference answer as a hint, for rationalization (STaR, arXiv 2203.14465), worded by task family.

The hint is part of the question that the policy is sampled with, never of the text that is trained on.
"""

from __future__ import annotations

from dast_jax.records import Query

__all__ = ["HINTS", "hint", "hinted"]

HINTS = {
    "math": "the answer is {answer}",
    "number": "the answer is {answer}",
    "list": "the answer is {answer}",
    "choice": "the right choice is {answer}",
    "yes_no": "the right answer is {answer}",
    "label": "the right label is {answer}",
    "bool": "the right answer is {answer}",
}
"""[ours] What the hint says for each task family; with a tolerance, or a custom verifier,
it is `math`'s."""


def hint(task: str, answer: str) -> str:
    """Return the words that give `answer` away for a query of `task`: "the right choice is B".

    They follow the question in parentheses (`hinted`), and are never trained on: training examples have
    the question without them.
    """
    return HINTS.get(task, HINTS["math"]).replace("{answer}", answer)


def hinted(query: Query) -> str:
    """Return the question followed by its reference answer as a hint."""
    return f"{query.question} (hint: {hint(query.task, query.answer)})"
