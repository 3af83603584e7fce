"""Measures a base model on the embedded problems: accuracy, level shares, and whether it follows exemplars.

python launch/make_assets/measure.py --model dast_jax/assets/base_model --problems dast_jax/assets/problems
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from corpus import format_problem
from generate import generate

from dast_jax.models.load import LoadedModel, load_model

__all__ = [
    "Decoder",
    "few_shot_prompt",
    "greedy_accuracy",
    "level_counts",
    "read_rows",
    "style_of",
    "trial_counts",
]

LEVELS = ("easy", "middle", "hard", "unsolved")
NEW_TOKENS = 112


def read_rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def style_of(answer: str) -> str:
    """ "detailed" where the first step still holds an operation or a detailed lead, else "brief"."""
    return "detailed" if answer.strip().startswith(("so", "thus", "left")) else "brief"


def final_answer(text: str) -> str | None:
    """Return the integer after the last `####`, if there is one."""
    found = re.findall(r"#### *(-?\d+)", text)
    return found[-1] if found else None


class Decoder:
    """Decodes prompts in batches of similar length, so that few shapes are compiled."""

    def __init__(self, model: LoadedModel, *, batch: int = 64):
        self.model, self.batch = model, batch
        newline = model.tokenizer.encode("\n\n")
        self.ends = (*model.tokenizer.eos_ids, newline[0])
        if len(newline) != 1:
            raise ValueError("the blank line is expected to be one token")

    def __call__(
        self, prompts: list[str], *, temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[str, int]]:
        """(text, number of new tokens) of each prompt's response."""
        ids = [self.model.tokenizer.encode(p) for p in prompts]
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        out: list[tuple[str, int]] = [("", 0)] * len(ids)
        for start in range(0, len(order), self.batch):
            some = order[start : start + self.batch]
            padded = some + [some[-1]] * (self.batch - len(some))
            responses = generate(
                self.model.graphdef,
                self.model.params,
                [ids[k] for k in padded],
                new=NEW_TOKENS,
                ends=self.ends,
                temperature=temperature,
                seed=seed * 1_000_003 + start,
                bucket=64,
            )
            for k, response in zip(some, responses, strict=False):
                out[k] = (self.model.tokenizer.decode(response), len(response))
        return out


def few_shot_prompt(question: str, exemplars: list[dict[str, str]]) -> str:
    """Return the exemplars and the question as blocks joined by blank lines, ending in `A:`."""
    blocks = [format_problem(e["question"], e["answer"]) for e in exemplars]
    return "\n\n".join([*blocks, f"Q: {question}\nA:"])


def greedy_accuracy(decoder: Decoder, rows: list[dict[str, str]]) -> dict[str, float]:
    """Return the zero-shot greedy accuracy, overall and by level; the share of detailed responses."""
    responses = [text for text, _ in decoder([few_shot_prompt(r["question"], []) for r in rows])]
    right = [final_answer(t) == final_answer(r["answer"]) for t, r in zip(responses, rows, strict=True)]
    by_level = defaultdict(list)
    for row, ok in zip(rows, right, strict=True):
        by_level[row["level"]].append(ok)
    return {
        "all": float(np.mean(right)),
        **{f"level {k}": float(np.mean(v)) for k, v in sorted(by_level.items())},
        "detailed": float(np.mean([style_of(t) == "detailed" for t in responses])),
    }


def trial_counts(
    decoder: Decoder,
    rows: list[dict[str, str]],
    pool: list[dict[str, str]],
    *,
    trials: int,
    temperature: float,
) -> np.ndarray:
    """Correct trials of each row, int [n], with four exemplars drawn per query from `pool`."""
    rng = random.Random("exemplars")
    prompts = []
    for row in rows:
        others = rng.sample([p for p in pool if p["question"] != row["question"]], 4)
        prompts += [few_shot_prompt(row["question"], others)] * trials
    responses = decoder(prompts, temperature=temperature, seed=1)
    right = [
        final_answer(text) == final_answer(rows[k // trials]["answer"])
        for k, (text, _) in enumerate(responses)
    ]
    return np.array(right).reshape(len(rows), trials).sum(1)


def level_counts(correct: np.ndarray, trials: int) -> Counter:
    """How many queries fall in each DAST level: p >= 3/4, >= 1/4, > 0, 0."""
    rate = correct / trials
    return Counter(
        np.where(
            rate >= 0.75, "easy", np.where(rate >= 0.25, "middle", np.where(rate > 0, "hard", "unsolved"))
        ).tolist()
    )


def following(decoder: Decoder, rows: list[dict[str, str]], pool: list[dict[str, str]]) -> dict[str, Any]:
    """Mean new tokens and accuracy with four exemplars of one style, at temperature 1."""
    out: dict[str, Any] = {}
    for style in ("brief", "detailed"):
        rng = random.Random("following")
        some = [p for p in pool if style_of(p["answer"]) == style]
        prompts = [few_shot_prompt(r["question"], rng.sample(some, 4)) for r in rows]
        responses = decoder(prompts, temperature=1.0, seed=2)
        right = [
            final_answer(t) == final_answer(r["answer"]) for (t, _), r in zip(responses, rows, strict=True)
        ]
        out[style] = {
            "tokens": float(np.mean([n for _, n in responses])),
            "accuracy": float(np.mean(right)),
            "prompt": float(np.mean([len(decoder.model.tokenizer.encode(p)) for p in prompts])),
            "longest_prompt": max(len(decoder.model.tokenizer.encode(p)) for p in prompts),
        }
    out["ratio"] = out["detailed"]["tokens"] / out["brief"]["tokens"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("dast_jax/assets/base_model"))
    parser.add_argument("--problems", type=Path, default=Path("dast_jax/assets/problems"))
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--train-rows", type=int, default=512)
    args = parser.parse_args()
    decoder = Decoder(load_model(args.model))
    train = read_rows(args.problems / "train.jsonl")
    for name in ("test_in_domain", "test_ood"):
        accuracy = greedy_accuracy(decoder, read_rows(args.problems / f"{name}.jsonl"))
        print(name, "greedy zero-shot", {k: round(100 * v, 1) for k, v in accuracy.items()}, flush=True)
    print("following", json.dumps(following(decoder, train[:256], train)), flush=True)
    rows = train[: args.train_rows]
    correct = trial_counts(decoder, rows, train, trials=args.trials, temperature=args.temperature)
    for count in sorted({min(256, len(rows)), len(rows)}):
        shares = level_counts(correct[:count], args.trials)
        print(f"first {count} training queries", {k: round(100 * shares[k] / count, 1) for k in LEVELS})
    for level in sorted({r["level"] for r in rows}):
        chosen = np.array([r["level"] == level for r in rows])
        shares = level_counts(correct[chosen], args.trials)
        print(f"  {level} operations", {k: round(100 * shares[k] / int(chosen.sum()), 1) for k in LEVELS})


if __name__ == "__main__":
    main()
