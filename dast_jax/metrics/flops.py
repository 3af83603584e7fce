"""Compute accounting: 6·N per trained and 2·N per sampled token, as in AdaSTaR's tables (arXiv 2505.16322).

N is the number of weights, embeddings included. `useful` counts tokens of prompts, responses and
examples; `padded` counts every position that the compiled programs computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dast_jax.records import SamplingStats
    from dast_jax.training.score import Scores
    from dast_jax.training.stage import TrainStats

__all__ = ["sampling_flops", "scoring_flops", "training_flops", "with_cumulative"]


def sampling_flops(parameters: int, *work: SamplingStats) -> dict[str, int]:
    """{"useful", "padded"} FLOPs of sampling stages: 2·N per prompt token run and per token decoded."""
    useful = padded = 0
    for w in work:
        useful += w.prompt_tokens + w.generated_tokens
        padded += w.padded_prompt_tokens + w.slot_steps
    return {"useful": 2 * parameters * useful, "padded": 2 * parameters * padded}


def scoring_flops(parameters: int, scores: Scores) -> dict[str, int]:
    """{"useful", "padded"} FLOPs of scoring texts, as for a reference policy: 2·N per token."""
    return {"useful": 2 * parameters * scores.tokens, "padded": 2 * parameters * scores.padded_tokens}


def training_flops(parameters: int, stats: TrainStats) -> dict[str, int]:
    """{"useful", "padded"} FLOPs of one training stage: 6·N per token of every epoch."""
    return {"useful": 6 * parameters * stats.tokens, "padded": 6 * parameters * stats.padded_tokens}


def with_cumulative(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `rounds` of `summary.json`, each with `cumulative`: what self-training took from round 0 to it.

    That is sampling and training; evaluation is measuring, and left out.
    """
    total: dict[str, Any] = {"sampled_tokens": 0, "trained_tokens": 0, "flops": {"useful": 0, "padded": 0}}
    found = []
    for entry in rounds:
        flops = entry.get("flops") or {}
        total = {
            "sampled_tokens": total["sampled_tokens"] + ((entry.get("sampling") or {}).get("tokens") or 0),
            "trained_tokens": total["trained_tokens"] + ((entry.get("training") or {}).get("tokens") or 0),
            "flops": {
                kind: before + sum((flops.get(stage) or {}).get(kind, 0) for stage in ("sample", "train"))
                for kind, before in total["flops"].items()
            },
        }
        found.append({**entry, "cumulative": total})
    return found
