"""Write dast_jax/assets/word_problems: arithmetic in words of one and two steps, for SmolLM2's smoke run.

python -m launch.make_assets.word_problems
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "dast_jax" / "assets" / "word_problems"
NAMES = ("Tom", "Ann", "Ben", "Eva", "Max", "Lily", "Sam", "Mia", "Leo", "Zoe")
THINGS = ("apples", "books", "coins", "stickers", "pencils", "marbles", "cards", "shells")
SIZES = {"train": 48, "test": 24}


def problem(rng: random.Random, level: int) -> tuple[str, str, int]:
    """Return question, solution and answer; level 1 adds, 2 takes away, 3 multiplies, 4 has two steps."""
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    a, b, c = rng.randint(5, 20), rng.randint(2, 9), rng.randint(2, 5)
    if level == 1:
        question = f"{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?"
        return question, f"{name} has {a} + {b} = {a + b} {things} now.", a + b
    if level == 2:
        a += b
        question = f"{name} has {a} {things} and gives away {b}. How many {things} does {name} have left?"
        return question, f"{name} has {a} - {b} = {a - b} {things} left.", a - b
    if level == 3:
        question = f"{name} has {c} boxes with {b} {things} in each. How many {things} does {name} have?"
        return question, f"{name} has {c} * {b} = {c * b} {things}.", c * b
    asked = f"How many {things} does {name} have left?"
    question = f"{name} has {a} {things}, buys {b} more and then gives away {c}. {asked}"
    first = f"{name} has {a} + {b} = {a + b} {things} after buying."
    return question, f"{first}\n{name} has {a + b} - {c} = {a + b - c} {things} left.", a + b - c


def rows(split: str) -> list[dict[str, str]]:
    """Return the rows of a split, levels in turn; no question is in both splits."""
    rng, seen, found = random.Random(15), set(), []
    for number in range(sum(SIZES.values())):
        level = number % 4 + 1
        question, solution, answer = problem(rng, level)
        while question in seen:
            question, solution, answer = problem(rng, level)
        seen.add(question)
        found.append(
            {
                "id": f"words-{number}",
                "question": question,
                "answer": str(answer),
                "solution": f"{solution}\nThe answer is {answer}.",
                "level": str(level),
            }
        )
    return found[: SIZES["train"]] if split == "train" else found[SIZES["train"] :]


def main() -> None:
    """Write both splits."""
    FOLDER.mkdir(exist_ok=True)
    for split in SIZES:
        lines = [json.dumps(row) + "\n" for row in rows(split)]
        (FOLDER / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
