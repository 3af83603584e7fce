"""Prompts to sample responses to, and the responses, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Messages", "Prompt", "SampledResponse", "SampledResponses", "prompts_of"]

Messages = Sequence[dict[str, str]]
"""A chat: `role` and `content` of each message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt: its id, its row number in its file (from 1), and its text or chat messages."""

    id: Any
    row: int
    content: str | Messages


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledResponse:
    """One response: the prompt's `id`, its number among the prompt's `trial`s, and what was sampled.

    `logprob` is the sum over `tokens` under the untempered policy; `finish_reason` is eos, stop or length.
    """

    id: Any
    trial: int
    text: str
    tokens: tuple[int, ...]
    logprob: float
    finish_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledResponses:
    """The responses in the order of prompts and trials; `skipped` prompts were too long and have none."""

    responses: tuple[SampledResponse, ...]
    skipped: tuple[Prompt, ...]
    new_tokens: int
    seconds: float


def prompts_of(prompts: Sequence[str | Messages | Prompt]) -> list[Prompt]:
    """Return `prompts` as records; texts and chats get their number (from 1) as id."""
    return [
        prompt if isinstance(prompt, Prompt) else Prompt(id=number, row=number, content=prompt)
        for number, prompt in enumerate(prompts, start=1)
    ]
