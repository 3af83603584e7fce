"""Compute accounting: 6·N per trained and 2·N per sampled token, as in AdaSTaR's tables (arXiv 2505.16322).

N is the number of weights, embeddings included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Flops", "SampledWork", "TokenWork", "sampling_flops", "scoring_flops", "training_flops"]


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations: 6·N per trained and 2·N per sampled, scored or prompt token."""

    useful: float = 0
    """for tokens of prompts, responses and examples"""
    padded: float = 0
    """for every position that the compiled programs computed"""

    def __add__(self, other: Flops) -> Flops:
        return Flops(useful=self.useful + other.useful, padded=self.padded + other.padded)


class SampledWork(Protocol):
    """What sampling counts (`records.SamplingStats`)."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def padded_prompt_tokens(self) -> int: ...
    @property
    def generated_tokens(self) -> int: ...
    @property
    def slot_steps(self) -> int: ...


class TokenWork(Protocol):
    """What training or scoring counted: input tokens, without and with padding."""

    @property
    def tokens(self) -> int: ...
    @property
    def padded_tokens(self) -> int: ...


def sampling_flops(parameters: int, *work: SampledWork) -> Flops:
    """Return the FLOPs of sampling stages: 2·N per prompt token run and per token decoded."""
    useful = padded = 0
    for w in work:
        useful += w.prompt_tokens + w.generated_tokens
        padded += w.padded_prompt_tokens + w.slot_steps
    return Flops(useful=2 * parameters * useful, padded=2 * parameters * padded)


def scoring_flops(parameters: int, work: TokenWork) -> Flops:
    """Return the FLOPs of scoring texts, as for a reference policy: 2·N per token."""
    return Flops(useful=2 * parameters * work.tokens, padded=2 * parameters * work.padded_tokens)


def training_flops(parameters: int, work: TokenWork, *, frozen: int = 0) -> Flops:
    """Return the FLOPs of one training stage: 6·N per token of every epoch.

    4·N for the `frozen` weights beside trained adapters: they have no gradients of their own.
    """
    each = 6 * parameters + 4 * frozen
    return Flops(useful=each * work.tokens, padded=each * work.padded_tokens)
