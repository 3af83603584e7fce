"""What can be set about the judge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

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
class JudgeOptions:
    """A model that rates queries, behind an OpenAI-compatible endpoint; everything here is [ours]."""

    endpoint: str = opt(
        "",
        "base URL of the service, to which /chat/completions is added: https://HOST/v1",
        changes_result=False,
    )
    model: str = opt("", "name of the model at that endpoint")
    key_variable: str = opt(
        "",
        "NAME of the environment variable that holds the key (never the key itself); empty sends none",
        changes_result=False,
    )
    prompt: str = opt(_PROMPT, "what the judge is asked; {question} stands for the query")
    scale: int = opt(10, "the highest rating; the lowest is 1", min=2)
    max_tokens: int = opt(64, "tokens the judge may answer with", min=1)
    fallback: str = opt(
        "sampled",
        "what an unrated query gets: its sampled level, its label's, the median rating, or stop the run",
        choices=FALLBACKS,
    )
    retries: int = opt(
        4, "further attempts after a failed one; each waits twice as long", min=0, changes_result=False
    )
    backoff: float = opt(1.0, "seconds before the first retry", min=0, changes_result=False)
    timeout: float = opt(60.0, "seconds that one request may take", min=0.01, changes_result=False)
    concurrency: int = opt(8, "requests under way at a time", min=1, max=256, changes_result=False)
    give_up_after: int = opt(
        16, "queries that fail one after another before the rest is not asked", min=1, changes_result=False
    )
    cache: str = opt(
        "~/.cache/dast_jax/judge",
        "folder where ratings are kept, so that no query is paid for twice; empty keeps none",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        if self.prompt.count("{question}") != 1:
            raise ValueError("prompt: must contain {question} exactly once")
        if self.key_variable and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", self.key_variable):
            raise ValueError(
                "key_variable: must be the NAME of an environment variable, in capitals, and is not"
            )
        if not self.endpoint:
            return
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("endpoint: must be a URL like https://HOST/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "endpoint: must hold no user, password or query, as it is kept with the run; "
                "put the key in an environment variable and its name in key_variable"
            )
