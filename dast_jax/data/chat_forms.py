"""Rows made for training chat models, which have no answer to check: which form it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["chat_form"]

_FORMS = (
    ({"chosen", "rejected"}, "preference pairs"),
    ({"prompt", "completion"}, "prompts with completions"),
    ({"instruction", "output"}, "instructions with outputs"),
    ({"instruction", "response"}, "instructions with responses"),
    ({"query", "response"}, "queries with responses"),
    ({"messages"}, "chat messages"),
    ({"conversations"}, "chat conversations"),
    ({"conversation"}, "a chat conversation"),
)
"""Columns that a form has, and what it is; the first that fits is taken."""


def chat_form(columns: Iterable[str]) -> str | None:
    """Return the sentence about the form of rows whose columns fit no schema; None for none that is known."""
    have = set(columns)
    for needed, name in _FORMS:
        if needed <= have:
            return (
                f"its columns ({', '.join(sorted(have)[:8])}) look like {name}, without an answer to check; "
                "write each row's question and final answer to columns question and answer (and the worked "
                "solution to solution), or name such columns in data.columns"
            )
    return None
