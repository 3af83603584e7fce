"""Our side: the sampler, and the two training stages with a fresh optimizer, as a round runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.sides import Setting
from benchmarks.work import Pair, Work
from dast_jax.models.hf import build_params, open_folder
from dast_jax.models.load import abstract_model
from dast_jax.records import PreferencePair, SFTExample, StageKey
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import StaticRequests, sample
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import reference_logprobs, train_preferences
from dast_jax.training.trainer import train

__all__ = ["DPO", "SFT", "Sampling"]

CHECKED_PROMPTS, CHECKED_TOKENS, CHECKED_EXAMPLES = 8, 32, 8


class _NoText:
    """A tokenizer for text that is never read: no side turns its tokens into text."""

    def __init__(self, eos: tuple[int, ...]):
        self.eos_ids = eos

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return ""


class _Model:
    def __init__(self, work: Work):
        folder = open_folder(work.model)
        self.config = folder.config
        self.graphdef, template = abstract_model(folder.config)
        self.params = build_params(template, folder.config, folder.read)
        self.work = work


class Sampling(_Model):
    """The sampler."""

    candidates: Sequence[Setting] = ({"slots": 0},)  # 0: chosen, as for a user, like all other shapes

    def __init__(self, work: Work):
        super().__init__(work)
        self._engines: dict[int, Engine] = {}
        self._runs = 0

    def _engine(self, **options: Any) -> Engine:
        tokenizer = _NoText(self.work.eos)
        return Engine(self.graphdef, self.params, tokenizer=tokenizer, options=SamplingOptions(**options))

    def run(self, setting: Setting, work: Work) -> int:
        """Sample every trial of every prompt; a run differs from the last one in its noise."""
        slots = int(setting["slots"])
        if slots not in self._engines:
            self._engines[slots] = self._engine(
                slots=slots, max_new_tokens=work.max_new, temperature=work.temperature, top_p=work.top_p
            )
        self._runs += 1
        requests = StaticRequests(work.prompts, trials=work.trials)
        stats = sample(self._engines[slots], requests, key=StageKey(0, self._runs))
        return stats.generated_tokens

    def check(self) -> list[float]:
        """Return greedy tokens."""
        engine = self._engine(slots=CHECKED_PROMPTS, max_new_tokens=CHECKED_TOKENS, temperature=0.0)
        requests = StaticRequests(self.work.prompts[:CHECKED_PROMPTS])
        sample(engine, requests, key=StageKey(0, 0))
        return [float(token) for (rollout,) in requests.rollouts for token in rollout.tokens]


class SFT(_Model):
    """Supervised fine-tuning on packed rows."""

    candidates: Sequence[Setting] = ({"micro_batches": 1}, {"micro_batches": 2}, {"micro_batches": 4})

    def run(self, setting: Setting, work: Work) -> int:
        """Train for one epoch."""
        self._train(work, self._options(work, int(setting["micro_batches"])), None)
        return len(work.examples)

    def check(self) -> list[float]:
        """Return the losses of two steps, both on the same first examples."""
        work = self.work.part(CHECKED_EXAMPLES)
        options = TrainingOptions(
            batch_size=CHECKED_EXAMPLES, epochs=2, **self._rates(work), sequence_length=2 * work.max_length
        )
        losses: list[float] = []
        self._train(work, options, lambda done, total, metrics: losses.append(metrics["loss"]))
        return losses

    def _train(self, work: Work, options: TrainingOptions, on_step: Any) -> None:
        examples = [_example(i, pair, pair.chosen) for i, pair in enumerate(work.examples)]
        result = train(
            self.graphdef, self.params, examples, options=options, seed=0, pad_id=0, on_step=on_step
        )
        jax.block_until_ready(result.params)

    def _options(self, work: Work, micro_batches: int) -> TrainingOptions:
        """Return options with as many optimizer steps as the peer makes."""
        texts = [len(p.prompt) + len(p.chosen) - 1 for p in work.examples]
        rows = -(-sum(texts) * 103 // (100 * work.max_length))  # packed rows are at least 97 % full
        micro = -(-rows // (work.steps * micro_batches))
        return TrainingOptions(
            batch_size=micro * micro_batches,
            micro_batch_size=micro,
            sequence_length=work.max_length,
            **self._rates(work),
        )

    def _rates(self, work: Work) -> dict[str, Any]:
        rate = work.learning_rate
        return {
            "learning_rate": rate, "preference_learning_rate": rate, "schedule": "constant",
            "warmup_fraction": 0.0, "weight_decay": 0.0, "clip_norm": 0.0, "beta": work.beta,
            "preference_loss": "sigmoid",
        }  # fmt: skip


class DPO(SFT):
    """DPO with the pass of the reference policy."""

    def _train(self, work: Work, options: TrainingOptions, on_step: Any) -> None:
        pairs = [
            PreferencePair(query=i, prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected)
            for i, pair in enumerate(work.examples)
        ]
        reference, _ = reference_logprobs(self.graphdef, self.params, pairs, options=options, pad_id=0)
        result = train_preferences(
            self.graphdef, self.params, pairs, np.asarray(reference),
            options=options, seed=0, pad_id=0, on_step=on_step,
        )  # fmt: skip
        jax.block_until_ready(result.params)

    def _options(self, work: Work, micro_batches: int) -> TrainingOptions:
        places = sum(2 * len(p.prompt) + len(p.chosen) + len(p.rejected) for p in work.examples)
        rows = -(-places * 110 // (100 * 2 * work.max_length))  # rows of pairs become twice as long
        micro = 2 * -(-rows // (work.steps * micro_batches))
        return TrainingOptions(
            batch_size=micro * micro_batches,
            micro_batch_size=micro,
            sequence_length=work.max_length,
            **self._rates(work),
        )


def _example(query: int, pair: Pair, response: tuple[int, ...]) -> SFTExample:
    return SFTExample(query=query, prompt=pair.prompt, response=response)
