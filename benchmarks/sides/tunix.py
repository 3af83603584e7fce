"""Tunix: its Llama 3 with the same weights, its sampler, its SFT and its DPO trainer."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.llama3 import model
from tunix.models.llama3.model import Llama3, ModelConfig
from tunix.models.llama3.params import create_model_from_safe_tensors
from tunix.sft import peft_trainer
from tunix.sft.dpo import dpo_trainer
from tunix.sft.hooks import TrainingHooks
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from benchmarks.sides import Setting
from benchmarks.work import Tokens, Work

__all__ = ["DPO", "SFT", "Sampling"]

_APPLY_ROPE = model.apply_rope
CHECKED_PROMPTS, CHECKED_TOKENS, CHECKED_EXAMPLES = 8, 32, 8


def _load(work: Work) -> tuple[Llama3, ModelConfig]:
    data = json.loads((Path(work.model) / "config.json").read_text())
    config = ModelConfig(
        num_layers=data["num_hidden_layers"],
        vocab_size=data["vocab_size"],
        embed_dim=data["hidden_size"],
        hidden_dim=data["intermediate_size"],
        num_heads=data["num_attention_heads"],
        head_dim=data["head_dim"],
        num_kv_heads=data["num_key_value_heads"],
        rope_theta=int(data["rope_theta"]),
        norm_eps=data["rms_norm_eps"],
        weight_tying=data["tie_word_embeddings"],
    )
    # Tunix 0.1.5 leaves rope_theta out where it rotates, and takes its default of 1,000,000 for every model.
    model.apply_rope = functools.partial(_APPLY_ROPE, rope_theta=config.rope_theta)
    return create_model_from_safe_tensors(work.model, config, dtype=jnp.float32), config


class _Numbers:
    """A tokenizer of texts that are the token ids themselves."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        return ""

    def bos_id(self) -> int | None:
        return None

    def eos_id(self) -> int:
        return 1

    def pad_id(self) -> int:
        return 0


class _Sampler(Sampler):
    """Tunix's sampler without the BOS that it puts before every prompt: the prompts are complete."""

    def tokenize(self, input_string: str) -> Any:
        return jnp.array(self.tokenizer.encode(input_string), jnp.int32)


class Sampling:
    """Batches of prompts sorted by length, each prompt as often as it has trials."""

    candidates: Sequence[Setting] = tuple({"prompts_per_batch": n} for n in (2, 4, 8))

    def __init__(self, work: Work):
        self._model, config = _load(work)
        self._work = work
        longest = max(len(prompt) for prompt in work.prompts)
        cache = CacheConfig(
            cache_size=-(-longest // 128) * 128 + work.max_new,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        )
        self._sampler = _Sampler(self._model, _Numbers(), cache)
        self._runs = 0

    def run(self, setting: Setting, work: Work) -> int:
        """Generate all trials; return the tokens up to the first EOS of each."""
        rows = sorted(work.prompts, key=len)
        size, useful = int(setting["prompts_per_batch"]), 0
        for start in range(0, len(rows), size):
            batch = [row for row in rows[start : start + size] for _ in range(work.trials)]
            self._runs += 1
            new = self._sample(
                batch, work.max_new, temperature=work.temperature, top_p=work.top_p, seed=self._runs
            )
            useful += sum(len(tokens) for tokens in new)
        return useful

    def check(self) -> list[float]:
        """Return greedy tokens."""
        new = self._sample(self._work.prompts[:CHECKED_PROMPTS], CHECKED_TOKENS)
        return [float(token) for tokens in new for token in tokens]

    def _sample(self, rows: Sequence[Tokens], max_new: int, **options: Any) -> list[list[int]]:
        longest = max(len(row) for row in rows)
        found = self._sampler(
            [" ".join(map(str, row)) for row in rows],
            max_generation_steps=max_new,
            max_prompt_length=-(-longest // 128) * 128,  # one program per multiple of 128
            eos_tokens=list(self._work.eos),
            **options,
        )
        return [_with_eos(np.asarray(tokens).tolist(), max_new, self._work.eos) for tokens in found.tokens]


def _with_eos(tokens: list[int], max_new: int, eos: Tokens) -> list[int]:
    """Return the tokens and the EOS that ended them, which Tunix leaves out; its id is not known then."""
    return tokens if len(tokens) == max_new else [*tokens, eos[0]]


class SFT:
    """PeftTrainer on all weights; batches sorted by length, padded to a multiple of `padded_to`."""

    candidates: Sequence[Setting] = ({"padded_to": 64}, {"padded_to": 128})

    def __init__(self, work: Work):
        self._model, _ = _load(work)
        self._work = work
        self._trainers: dict[str, Any] = {}

    def run(self, setting: Setting, work: Work) -> int:
        """Train for one epoch; later runs go on with the same trainer, whose programs are compiled."""
        if str(setting) not in self._trainers:
            trainer = self._trainer(self._model, work)
            trainer.is_managed_externally = True  # else a second `train` skips as many batches as it has seen
            self._trainers[str(setting)] = trainer
        self._trainers[str(setting)].train(list(self._batches(work, int(setting["padded_to"]))))
        jax.block_until_ready(nnx.state(self._model))
        return len(work.examples)

    def check(self) -> list[float]:
        """Return the losses of two steps."""
        work = dataclasses.replace(self._work.part(CHECKED_EXAMPLES), per_step=CHECKED_EXAMPLES)
        fresh, _ = _load(work)
        losses = _Losses()
        trainer = self._trainer(fresh, work)
        trainer.with_training_hooks(losses)
        trainer.train(list(self._batches(work, 64)) * 2)
        trainer.close()  # writes, and so reports, the last step
        return losses.seen

    def _trainer(self, policy: Any, work: Work) -> Any:
        config = _training_config(peft_trainer.TrainingConfig)
        trainer = peft_trainer.PeftTrainer(policy, optax.adam(work.learning_rate), config)
        return trainer.with_gen_model_input_fn(_model_input)

    def _batches(self, work: Work, multiple: int) -> Iterator[Any]:
        rows = sorted(work.examples, key=lambda p: len(p.prompt) + len(p.chosen))
        for start in range(0, len(rows), work.per_step):
            part = rows[start : start + work.per_step]
            width = _up(max(len(p.prompt) + len(p.chosen) for p in part), multiple)
            tokens = np.zeros((work.per_step, width), np.int32)
            mask = np.zeros((work.per_step, width), np.int32)
            for i, p in enumerate(part):
                text = (*p.prompt, *p.chosen)
                tokens[i, : len(text)] = text
                mask[i, len(p.prompt) : len(text)] = 1
            yield peft_trainer.TrainingInput(input_tokens=tokens, input_mask=mask)


def _training_config(kind: Any, **more: Any) -> Any:
    return kind(eval_every_n_steps=10**9, **more)


def _model_input(batch: Any) -> dict[str, Any]:
    """Return the model's input: causal attention over right-padded rows, the mask only for the loss."""
    present = batch.input_tokens != 0
    return {
        "input_tokens": batch.input_tokens,
        "input_mask": batch.input_mask,
        "positions": build_positions_from_mask(present),
        "attention_mask": make_causal_attn_mask(present),
    }


class _Losses(TrainingHooks):
    """Keeps the losses of the steps."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_start(self, trainer: Any) -> None:
        pass

    def on_train_end(self, trainer: Any) -> None:
        pass

    def on_train_step_start(self, trainer: Any) -> None:
        pass

    def on_train_step_end(self, trainer: Any, step: int, loss: Any, step_time: float) -> None:
        self.seen.append(float(loss))

    def on_eval_step_start(self, trainer: Any) -> None:
        pass

    def on_eval_step_end(self, trainer: Any, eval_loss: Any) -> None:
        pass


class DPO(SFT):
    """DPOTrainer, which scores a batch under the reference model in each step; batches sorted by length."""

    def __init__(self, work: Work):
        super().__init__(work)
        self._reference, _ = _load(work)

    def _trainer(self, policy: Any, work: Work) -> Any:
        config = _training_config(dpo_trainer.DPOTrainingConfig, beta=work.beta)
        return dpo_trainer.DPOTrainer(policy, self._reference, optax.adam(work.learning_rate), config)

    def _batches(self, work: Work, multiple: int) -> Iterator[Any]:
        rows = sorted(work.examples, key=lambda p: len(p.prompt) + max(len(p.chosen), len(p.rejected)))
        for start in range(0, len(rows), work.per_step):
            part = rows[start : start + work.per_step]
            part += part[-1:] * (work.per_step - len(part))  # programs have one shape
            prompts = _padded([p.prompt for p in part], multiple, left=True)
            width = max(max(len(p.chosen), len(p.rejected)) for p in part)
            chosen = _padded([p.chosen for p in part], multiple, width=width)
            rejected = _padded([p.rejected for p in part], multiple, width=width)
            yield dpo_trainer.TrainingInput(
                prompt_ids=prompts[0],
                prompt_mask=prompts[1],
                chosen_ids=chosen[0],
                chosen_mask=chosen[1],
                rejected_ids=rejected[0],
                rejected_mask=rejected[1],
            )


def _padded(
    rows: Sequence[Tokens], multiple: int, *, left: bool = False, width: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and mask int32 [n, width], the width rounded up to a multiple."""
    width = _up(max(width, *(len(row) for row in rows)), multiple)
    tokens, mask = np.zeros((2, len(rows), width), np.int32)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[i, place], mask[i, place] = row, 1
    return tokens, mask


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
