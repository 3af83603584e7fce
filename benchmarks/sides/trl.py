"""TRL's SFTTrainer and DPOTrainer in float32, against padding with sorted lengths, or packed."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from benchmarks.sides import Setting
from benchmarks.sides.transformers import load_torch
from benchmarks.work import Work

__all__ = ["DPO", "SFT"]

CHECKED_EXAMPLES = 8


def _arguments(work: Work, micro: int, **more: Any) -> dict[str, Any]:
    """Return the arguments of both trainers: float32, no recomputation, no files, no logging."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": micro,
        "num_train_epochs": 1,
        "learning_rate": work.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "adam_epsilon": 1e-8,
        "optim": "adamw_torch_fused",
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "max_length": work.max_length,
        "seed": 0,
    } | more


def _tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer that is never asked to encode: the data are tokens already."""
    from tokenizers import Tokenizer, models

    vocab = {f"t{i}": i for i in range(vocab_size)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="t0", eos_token="t1")


class SFT:
    """SFTTrainer; the accumulated batch is `per_step` examples, or as many packed rows as hold them."""

    candidates: Sequence[Setting] = (
        {"packed": False, "micro_batch": 4},
        {"packed": False, "micro_batch": 8},
        {"packed": False, "micro_batch": 16},
        {"packed": True, "micro_batch": 1},
    )

    def __init__(self, work: Work):
        self._model = load_torch(work)
        self._tokenizer = _tokenizer(work.vocab_size)
        self._work = work
        self._trainers: dict[tuple[str, int], Any] = {}

    def run(self, setting: Setting, work: Work) -> int:
        """Train for one epoch; preparing the data set is not in a later run's time."""
        key = str(setting), len(work.examples)
        if key not in self._trainers:
            self._trainers[key] = self._trainer(setting, work)
        self._trainers[key].train()
        return len(work.examples)

    def check(self) -> list[float]:
        """Return the losses of two steps."""
        work = dataclasses.replace(self._work.part(CHECKED_EXAMPLES), per_step=CHECKED_EXAMPLES)
        before = {name: value.clone() for name, value in self._model.state_dict().items()}
        trainer = self._trainer(
            {"packed": False, "micro_batch": CHECKED_EXAMPLES},
            work, num_train_epochs=2, logging_strategy="steps", logging_steps=1,
        )  # fmt: skip
        self._score(trainer, trainer.train_dataset)
        trainer.train()
        self._model.load_state_dict(before)
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    def _score(self, trainer: Any, data: Dataset) -> None:
        """Do nothing: no reference policy."""

    def _trainer(self, setting: Setting, work: Work, **more: Any) -> Any:
        micro = int(setting["micro_batch"])
        packing: dict[str, Any] = {"packing": False, "train_sampling_strategy": "group_by_length"}
        step = work.per_step // micro
        if setting["packed"]:
            packing = {"packing": True, "packing_strategy": "bfd"}
            rows = sum(len(p.prompt) + len(p.chosen) for p in work.examples) / work.max_length
            step = max(1, round(rows / work.steps / micro))
        rows_data = [
            {
                "input_ids": [*p.prompt, *p.chosen],
                "completion_mask": [0] * len(p.prompt) + [1] * len(p.chosen),
            }
            for p in work.examples
        ]
        options = _arguments(work, micro, gradient_accumulation_steps=step, **packing) | more
        return SFTTrainer(
            self._model,
            args=SFTConfig(completion_only_loss=True, **options),
            train_dataset=Dataset.from_list(rows_data),
            processing_class=self._tokenizer,
        )


class _Tokenized(DPOTrainer):
    """DPOTrainer on data that are tokens already; it has no such option."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class DPO(SFT):
    """DPOTrainer with precomputed log-probabilities of the reference policy, whose pass is in the time."""

    candidates: Sequence[Setting] = tuple({"micro_batch": n} for n in (2, 4, 8, 16))

    def run(self, setting: Setting, work: Work) -> int:
        """Score the pairs under the policy as it is, then train for one epoch."""
        key = str(setting), len(work.examples)
        if key not in self._trainers:
            trainer = self._trainer(setting, work)
            self._trainers[key] = trainer, trainer.train_dataset
        trainer, data = self._trainers[key]
        self._score(trainer, data)
        trainer.train()
        return len(work.examples)

    def _score(self, trainer: Any, data: Dataset) -> None:
        """Put the reference's log-probabilities into the trainer's data."""
        trainer.train_dataset = _with_reference(trainer, data)

    def _trainer(self, setting: Setting, work: Work, **more: Any) -> Any:
        """Return a trainer as `precompute_ref_log_probs` leaves it, but for its pass, which `run` does."""
        micro = int(setting["micro_batch"])
        # Sorted by length, so that a batch has little padding; both texts of a pair are in one batch.
        pairs = sorted(work.examples, key=lambda p: len(p.prompt) + max(len(p.chosen), len(p.rejected)))
        rows = [
            {"prompt_ids": list(p.prompt), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected)}
            for p in pairs
        ]
        options = {"train_sampling_strategy": "sequential", "beta": work.beta}
        options |= _arguments(work, micro, gradient_accumulation_steps=work.per_step // micro) | more
        trainer = _Tokenized(
            self._model,
            args=DPOConfig(**options),
            train_dataset=Dataset.from_list(rows),
            processing_class=self._tokenizer,
        )
        trainer.precompute_ref_logps, trainer.ref_model = True, None
        return trainer


@torch.no_grad()
def _with_reference(trainer: DPOTrainer, data: Dataset) -> Dataset:
    """Return `data` with the log-probabilities that the trainer's own precomputation gives."""
    chosen: list[float] = []
    rejected: list[float] = []
    size = trainer.args.per_device_train_batch_size
    trainer.model.eval()
    for start in range(0, len(data), size):
        batch = trainer.data_collator([data[i] for i in range(start, min(start + size, len(data)))])
        first, second = trainer.compute_ref_log_probs(trainer.model, batch)
        chosen += first.tolist()
        rejected += second.tolist()
    trainer.model.train()
    return data.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)
