"""A tagger: another model, behind an OpenAI-compatible endpoint, that names the topics of a query.

SAI-DPO (arXiv 2505.16176) has a strong model tag each query with knowledge points. [ours] The prompt, at most
`most` tags a query in lower case, and what an untagged query gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dast_jax.llm.client import Endpoint, EndpointOptions, NonsenseError
from dast_jax.options import opt
from dast_jax.runtime.progress import OnProgress, silent

__all__ = ["Tagger", "TaggerOptions"]

_PROMPT = (
    "Name the knowledge points that this problem tests, for example: linear equations, unit conversion. "
    "Name one to three of them, the most important first, each in one to four words. "
    "Do not solve the problem. Reply with the names only, separated by commas.\n\nProblem:\n{question}"
)
_HEADING = re.compile(r"\W*(?:the\s+)?(?:knowledge points|tags|topics|names|answer)\b[^:,;\n]{0,40}:", re.I)
_LONGEST = 60
"""Maximum characters of a tag; longer text is prose."""


@dataclass(frozen=True, kw_only=True)
class TaggerOptions(EndpointOptions):
    """A model that tags queries; everything here is [ours]."""

    prompt: str = opt(_PROMPT, "prompt for the tagger; {question} is replaced by the query")
    most: int = opt(3, "maximum tags per query; the first ones are kept", min=1)
    fallback: str = opt(
        "text",
        "for an untagged query: use its text in place of tags, or stop the run",
        choices=("text", "stop"),
        changes_result=False,
    )


class Tagger:
    """Tags queries. Errors are those of `Endpoint`."""

    def __init__(self, options: TaggerOptions, *, name: str = "tagger"):
        """`name` is the section of the options in messages."""
        self._most = options.most
        self._endpoint = Endpoint(options, self._tags, name=name)

    def __call__(
        self, questions: Sequence[str], *, on_progress: OnProgress = silent
    ) -> tuple[list[tuple[str, ...] | None], Mapping[str, int]]:
        """Return each question's tags, None where there are none, and counts of the failures."""
        return self._endpoint(questions, on_progress=on_progress)

    def _tags(self, reply: str) -> tuple[str, ...]:
        """Return the names in a reply: a JSON list, or separated by commas, semicolons or lines."""
        listed = re.search(r"\[.*\]", reply, re.S)
        try:
            parts = [str(part) for part in json.loads(listed.group())] if listed else []
        except (ValueError, RecursionError):
            parts = []
        parts = parts or re.split(r"[,;\n]", _HEADING.sub("", reply, count=1))
        tags = [_cleaned(part) for part in parts]
        tags = list(dict.fromkeys(tag for tag in tags if tag))
        if not tags or any(len(tag) > _LONGEST for tag in tags):
            raise NonsenseError("no tags")
        return tuple(tags[: self._most])


def _cleaned(part: str) -> str:
    """Return a tag in lower case, without bullets, numbers, quotes and full stop; empty without letters."""
    tag = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", part)
    tag = " ".join(tag.strip(" \t\r\n\"'`*_.").split()).lower()
    return tag if any(c.isalpha() for c in tag) else ""
