"""The reference answer as a hint, for rationalization (STaR, arXiv 2203.14465), worded by task family.

The hint stands in the question that the policy is sampled with, never in the text that is trained on.
"""

from __future__ import annotations

from dast_jax.records import Query

__all__ = ["HINTS", "hinted"]

HINTS = {
    "choice": "the right choice is {answer}",
    "yes_no": "the right answer is {answer}",
    "label": "the right label is {answer}",
    "bool": "the right answer is {answer}",
}
"""[ours] What the hint says for each task family; the others say "the answer is …"."""


def hinted(query: Query) -> str:
    """The question with its reference answer as a hint behind it."""
    hint = HINTS.get(query.task, "the answer is {answer}").replace("{answer}", query.answer)
    return f"{query.question} (hint: {hint})"
