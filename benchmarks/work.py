"""What both sides of a comparison are given: a model folder, and work that is the same token by token.

The command writes the work to a file that both processes read, so that a peer's process needs nothing of
`dast_jax`. Everything follows from fixed seeds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MODELS", "Pair", "Work", "dpo_work", "read_work", "sampling_work", "sft_work"]

MODELS = ("embedded", "5m")
TRIALS, TEMPERATURE, TOP_P = 8, 0.8, 0.95

Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One example: its `rejected` response is empty in supervised fine-tuning."""

    prompt: Tokens
    chosen: Tokens
    rejected: Tokens = ()


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one run; `name` is the benchmark, `model` a Hugging Face folder.

    prompts: of sampling, with `trials` responses each of at most `max_new` tokens; eos: tokens that end a
    response; examples: of training, `per_step` of them in an optimizer step; max_length: of an example.
    """

    name: str
    model: str
    vocab_size: int
    eos: Tokens
    prompts: tuple[Tokens, ...] = ()
    trials: int = TRIALS
    max_new: int = 0
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    examples: tuple[Pair, ...] = ()
    per_step: int = 32
    max_length: int = 512
    learning_rate: float = 1e-4
    beta: float = 0.1

    def write(self, file: Path) -> None:
        """Write the work to `file`."""
        file.write_text(json.dumps(dataclasses.asdict(self)))

    def part(self, n: int) -> Work:
        """Return the work with only the first `n` prompts or examples."""
        return dataclasses.replace(self, prompts=self.prompts[:n], examples=self.examples[:n])

    @property
    def size(self) -> int:
        """The number of prompts or examples."""
        return len(self.prompts) + len(self.examples)

    @property
    def steps(self) -> int:
        """The optimizer steps of one pass over the examples."""
        return -(-len(self.examples) // self.per_step)


def read_work(file: Path) -> Work:
    """Return the work that `Work.write` wrote to `file`."""
    data = json.loads(file.read_text(), object_pairs_hook=_with_tuples)
    return Work(**data | {"examples": tuple(Pair(**pair) for pair in data["examples"])})


def _with_tuples(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object whose lists, and the lists in them, are tuples as in a `Work`."""

    def fixed(value: Any) -> Any:
        return tuple(map(fixed, value)) if isinstance(value, list) else value

    return {name: fixed(value) for name, value in pairs}


def sampling_work(model: str, folder: Path, prompts: int = 64) -> Work:
    """Return W1: `prompts` few-shot prompts of 300–700 tokens, less at most one exemplar, 8 trials each.

    The embedded model gets exemplars of its own problems. The other one gets random tokens, and about one of
    64 tokens ends a response, so that responses are ragged.
    """
    random = np.random.default_rng(1)
    lengths = random.integers(300, 701, prompts)
    config = json.loads((folder / "config.json").read_text())
    eos = config["eos_token_id"]
    if model == "embedded":
        rows, max_new = _few_shot(folder, lengths), 64
    else:
        rows = tuple(_text(random, n, config["vocab_size"]) for n in lengths)
        max_new = 128
    return Work(
        name="sampling",
        model=str(folder),
        vocab_size=config["vocab_size"],
        eos=tuple(eos) if isinstance(eos, list) else (eos,),
        prompts=rows,
        max_new=max_new,
    )


def sft_work(model: str, folder: Path, examples: int = 1000) -> Work:
    """Return W2: examples with the lengths of GSM8K's, mean 150 and at most 512 tokens."""
    random = np.random.default_rng(2)
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    sigma = 0.45
    lengths = np.clip(np.exp(random.normal(np.log(150) - sigma**2 / 2, sigma, examples)), 40, 512).astype(int)
    rows = tuple(
        Pair(prompt=_text(random, int(0.6 * n), vocab), chosen=_text(random, n - int(0.6 * n), vocab))
        for n in lengths
    )
    return Work(name="sft", model=str(folder), vocab_size=vocab, eos=(1,), examples=rows)


def dpo_work(model: str, folder: Path, examples: int = 200) -> Work:
    """Return W3: pairs with prompts of 150 ± 40 tokens and two responses of 100 ± 60."""
    random = np.random.default_rng(3)
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]

    def length(mean: float, deviation: float) -> int:
        return int(np.clip(random.normal(mean, deviation), 10, 250))

    rows = tuple(
        Pair(
            prompt=_text(random, length(150, 40), vocab),
            chosen=_text(random, length(100, 60), vocab),
            rejected=_text(random, length(100, 60), vocab),
        )
        for _ in range(examples)
    )
    return Work(name="dpo", model=str(folder), vocab_size=vocab, eos=(1,), examples=rows, per_step=16)


def _text(random: np.random.Generator, n: int, vocab: int) -> Tokens:
    return tuple(random.integers(2, vocab, n).tolist())


def _few_shot(folder: Path, lengths: np.ndarray) -> tuple[Tokens, ...]:
    """Return a prompt of about each length: exemplars of the embedded problems, then a question."""
    from dast_jax.assets import ASSETS
    from dast_jax.data.options import PromptOptions
    from dast_jax.data.prompts import PromptBuilder
    from dast_jax.models.tokenizer import load_tokenizer
    from dast_jax.records import Exemplar

    rows = [json.loads(line) for line in (ASSETS / "problems" / "train.jsonl").read_text().splitlines()]
    exemplars = [Exemplar(question=row["question"], response=row["answer"]) for row in rows]
    tokenizer = load_tokenizer(folder)
    prompts = []
    for i, length in enumerate(lengths.tolist()):
        builder = PromptBuilder(tokenizer, PromptOptions(), length)
        shift = exemplars[(7 * i) % len(exemplars) :] + exemplars
        prompts.append(builder.build(rows[-1 - i]["question"], shift[:40]))
    return tuple(prompts)
