"""`transformers.generate` on prompts sorted by length, several prompts a batch, all trials of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from benchmarks.sides import Setting
from benchmarks.work import Tokens, Work

__all__ = ["Generate", "load_torch"]

CHECKED_PROMPTS, CHECKED_TOKENS = 8, 32


def load_torch(work: Work) -> Any:
    """Return the model of `work` in float32."""
    return AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32, attn_implementation="sdpa")


class Generate:
    """`generate`; where `shared`, a prompt runs through the model once and its cache is repeated."""

    def __init__(self, work: Work, *, shared: bool):
        self.candidates: Sequence[Setting] = tuple({"prompts_per_batch": n} for n in (2, 4, 8, 16))
        self._model = load_torch(work).eval()
        self._work = work
        self._shared = shared
        torch.manual_seed(0)

    def run(self, setting: Setting, work: Work) -> int:
        """Generate all trials; return the tokens up to the first EOS of each."""
        rows = sorted(work.prompts, key=len)
        size, useful = int(setting["prompts_per_batch"]), 0
        options = {
            "do_sample": True, "temperature": work.temperature, "top_p": work.top_p, "top_k": 0,
            "max_new_tokens": work.max_new,
        }  # fmt: skip
        for start in range(0, len(rows), size):
            new = self._generate(rows[start : start + size], work.trials, options)
            useful += sum(len(tokens) for tokens in new)
        return useful

    def check(self) -> list[float]:
        """Return greedy tokens."""
        rows = self._work.prompts[:CHECKED_PROMPTS]
        new = self._generate(rows, 1, {"do_sample": False, "max_new_tokens": CHECKED_TOKENS})
        return [float(token) for tokens in new for token in tokens]

    @torch.inference_mode()
    def _generate(self, rows: Sequence[Tokens], trials: int, options: dict[str, Any]) -> list[list[int]]:
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        if self._shared:
            cache = DynamicCache(config=self._model.config)
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, :-1]
            self._model.model(
                ids[:, :-1], attention_mask=mask[:, :-1], position_ids=positions, past_key_values=cache
            )
            cache.batch_repeat_interleave(trials)
            ids, mask = ids.repeat_interleave(trials, 0), mask.repeat_interleave(trials, 0)
            options = options | {"past_key_values": cache}
        else:
            options = options | {"num_return_sequences": trials}
        out = self._model.generate(
            ids, attention_mask=mask, eos_token_id=list(self._work.eos), pad_token_id=0, **options
        )
        return [_until_eos(row[longest:].tolist(), self._work.eos) for row in out]


def _until_eos(tokens: list[int], eos: Tokens) -> list[int]:
    for i, token in enumerate(tokens):
        if token in eos:
            return tokens[: i + 1]
    return tokens
