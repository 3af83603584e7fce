"""The training stage of a round: from a method's training set, whatever its kind, to the next policy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.data.prompts import PromptBuilder
from dast_jax.loop.policy import Policy
from dast_jax.metrics.flops import Flops, scoring_flops, training_flops
from dast_jax.records import Pool, PreferencePair, PreferenceSet, SFTExample, TrainingSet
from dast_jax.store import RunStore
from dast_jax.store.results import PreferenceResult, TrainedResult, TrainingResult
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import (
    PreferenceStats,
    needs_reference,
    reference_logprobs,
    train_preferences,
)
from dast_jax.training.stage import TrainStats
from dast_jax.training.trainer import train

__all__ = ["Learner"]

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What training needs of a run; `options` with the method's own choices put in."""

    policy: Policy
    store: RunStore
    prompts: PromptBuilder
    pool: Pool
    options: TrainingOptions
    seed: int

    def learn(
        self, round: int, training_set: TrainingSet | PreferenceSet, start: int, on_step: OnStep
    ) -> TrainedResult:
        """Train the policy after round `start` on the set and keep it as the policy of `round`."""
        checkpoints = TrainCheckpoints(
            self.store.path / "checkpoints" / "training", seconds=self.options.checkpoint_seconds
        )
        common: dict[str, Any] = {
            "options": self.options,
            "seed": self.seed * 1000 + round,
            "pad_id": self.policy.tokenizer.pad_id,
            "mesh": self.policy.mesh,
            "checkpoints": checkpoints,
            "on_step": on_step,
            "donate": True,
        }
        graphdef = self.policy.graphdef
        scoring = Flops()
        if isinstance(training_set, PreferenceSet):
            pairs = self._pairs(training_set)
            reference, scoring = self._reference(round, pairs, start)
            result = train_preferences(graphdef, self.policy.take(start), pairs, reference, **common)
            references = int(training_set.chosen_is_reference.sum())
        else:
            result = train(graphdef, self.policy.take(start), self._examples(training_set), **common)
            references = int(training_set.is_reference.sum())
        self.policy.put(result.params, round)
        checkpoints.clear()
        return TrainedResult(
            training=_training_result(result.stats, references),
            flops=training_flops(self.policy.parameters, result.stats) + scoring,
        )

    def _examples(self, training_set: TrainingSet) -> list[SFTExample]:
        """The set as tokens: zero-shot prompts, whatever prompts the responses were sampled with."""
        prompts = self._prompts_of(training_set.query)
        return [
            SFTExample(query=int(q), prompt=prompts[int(q)], response=self.prompts.response_tokens(text))
            for q, text in zip(training_set.query, training_set.text, strict=True)
        ]

    def _pairs(self, training_set: PreferenceSet) -> list[PreferencePair]:
        """The pairs as tokens, zero-shot like the examples."""
        prompts, tokens = self._prompts_of(training_set.query), self.prompts.response_tokens
        columns = training_set.query, training_set.chosen, training_set.rejected
        return [
            PreferencePair(query=int(q), prompt=prompts[int(q)], chosen=tokens(c), rejected=tokens(r))
            for q, c, r in zip(*columns, strict=True)
        ]

    def _prompts_of(self, queries: np.ndarray) -> dict[int, tuple[int, ...]]:
        return {int(q): self.prompts.build(self.pool.queries[q].question, ()) for q in np.unique(queries)}

    def _reference(
        self, round: int, pairs: list[PreferencePair], start: int
    ) -> tuple[np.ndarray | None, Flops]:
        """What the policy that the round's training starts from says of the pairs, and the FLOPs of that.

        Computed once, kept beside the pairs, and found there when the stage is resumed.
        """
        if not needs_reference(self.options):
            return None, Flops()
        kept = self.store.read_reference(round)
        if kept is None:
            logprobs, scores = reference_logprobs(
                self.policy.graphdef,
                self.policy.after(start),
                pairs,
                options=self.options,
                pad_id=self.policy.tokenizer.pad_id,
                mesh=self.policy.mesh,
            )
            kept = logprobs, scoring_flops(self.policy.parameters, scores)
            self.store.write_reference(round, *kept)
        return kept


def _training_result(stats: TrainStats, references: int) -> TrainingResult:
    preference = None
    if isinstance(stats, PreferenceStats):
        preference = PreferenceResult(
            reward_margin=stats.reward_margin,
            reward_accuracy=stats.reward_accuracy,
            chosen_logprob=stats.chosen_logprob,
            rejected_logprob=stats.rejected_logprob,
            kl=stats.kl,
        )
    return TrainingResult(
        examples=stats.examples,
        reference_examples=references,
        skipped=len(stats.skipped),
        rows=stats.rows,
        steps=stats.steps,
        tokens=stats.tokens,
        padded_tokens=stats.padded_tokens,
        response_tokens=stats.response_tokens,
        final_loss=stats.final_loss,
        mean_loss=stats.mean_loss,
        accuracy=stats.accuracy,
        seconds=stats.seconds,
        preference=preference,
    )
