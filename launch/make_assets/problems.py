"""Makes the embedded problems: integer expressions, solved one operation at a time.

A question is `((7+12)*3)-5=?`; every intermediate value is an integer in 1..99. A solution is written
in one of two styles, both ending in `#### N`:

* brief: every second running value and the last, `57, 52`; two operations at a time in the head;
* detailed: what is left of the expression after each operation, `so (19*3)-5 = 57-5 = 52`.

Which of the sets a question may appear in is decided by a hash of its text, so the training set, the
two test sets and the pretraining corpus are disjoint by construction, whatever their level mix.

    python launch/make_assets/problems.py --out dast_jax/assets/problems
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "LEFT_MIX",
    "RIGHT_MIX",
    "SEED",
    "Problem",
    "draw_problem",
    "is_for",
    "problem_rows",
    "render_solution",
    "write_sets",
]

SEED = 20250309
LARGEST = 99
BUCKETS = {"train": (0,), "test_in_domain": (1,), "test_ood": (2,), "pretraining": tuple(range(3, 16))}

# Rows per number of operations, with the parentheses nested on the left, or on the right. Chosen after
# pretraining, from the base model's measured pass rates, so that each of the four DAST levels holds its
# share of the training queries. Out of domain is longer than anything in the training set.
LEFT_MIX: dict[str, dict[int, int]] = {
    "train": {1: 80, 2: 70, 3: 70, 4: 82, 5: 62},
    "test_in_domain": {1: 94, 2: 82, 3: 82, 4: 96, 5: 73},
    "test_ood": {6: 250, 7: 150},
}
RIGHT_MIX: dict[str, dict[int, int]] = {
    "train": {2: 44, 3: 52, 4: 52},
    "test_in_domain": {2: 51, 3: 61, 4: 61},
    "test_ood": {5: 200},
}

# Surface forms: (text before the first step, weight). Several of each, so that one query has many
# distinct correct responses; the brief style's plain opening is the most common of all.
_LEADS = {
    "brief": (("", 14), ("get ", 4), ("first ", 2)),
    "detailed": (("so ", 11), ("thus ", 5), ("left ", 4)),
}
_SEPARATORS = {"brief": ((", ", 6), ("; ", 2), (" -> ", 2)), "detailed": ((" = ", 6), ("; ", 2), (" -> ", 2))}
_ENDS = (("", 7), (".", 3))


@dataclass(frozen=True, slots=True)
class Problem:
    """An expression and what it becomes: `states[0]` is the expression, `states[k]` what is left of it
    after k operations (`states[-1]` is the answer), `values[k]` the result of operation k + 1."""

    states: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def question(self) -> str:
        return f"{self.states[0]}=?"

    @property
    def answer(self) -> int:
        return self.values[-1]

    @property
    def written_values(self) -> tuple[int, ...]:
        """The values that a brief solution writes: every second one, and the last."""
        return (*self.values[1:-1:2], self.answer)

    @property
    def level(self) -> int:
        """The number of operations."""
        return len(self.values)


def is_for(question: str, purpose: str) -> bool:
    """Whether the question's hash reserves it for `purpose` (a key of BUCKETS)."""
    return hashlib.sha256(question.encode()).digest()[0] % 16 in BUCKETS[purpose]


def _small_or_large(rng: random.Random, largest: int) -> int:
    """Return an operand in 1..largest, a single digit more often than not."""
    if largest <= 9 or rng.random() < 0.65:
        return rng.randint(1, min(9, largest))
    return rng.randint(10, min(60, largest))


def _left_step(rng: random.Random, value: int) -> tuple[str, int, int]:
    """Return an operation `value op operand` that stays in 1..99: (op, operand, result)."""
    ops, weights = [], []
    if value < LARGEST:
        ops.append("+")
        weights.append(4)
    if value > 1:
        ops.append("-")
        weights.append(3)
    if value <= LARGEST // 2:
        ops.append("*")
        weights.append(4)
    op = rng.choices(ops, weights)[0]
    if op == "+":
        operand = _small_or_large(rng, LARGEST - value)
        return op, operand, value + operand
    if op == "-":
        operand = _small_or_large(rng, value - 1)
        return op, operand, value - operand
    operand = rng.randint(2, min(9, LARGEST // value))
    return op, operand, value * operand


def _right_step(rng: random.Random, value: int) -> tuple[int, str, int]:
    """Return an operation `operand op value` that stays in 1..99: (operand, op, result)."""
    ops, weights = [], []
    if value < LARGEST:
        ops += ["+", "-"]
        weights += [4, 3]
    if value <= LARGEST // 2:
        ops.append("*")
        weights.append(4)
    if not ops:
        raise ValueError("99 admits no further operation on its left")
    op = rng.choices(ops, weights)[0]
    if op == "+":
        operand = _small_or_large(rng, LARGEST - value)
        return operand, op, operand + value
    if op == "-":
        result = _small_or_large(rng, LARGEST - value)
        return value + result, op, result
    operand = rng.randint(2, min(9, LARGEST // value))
    return operand, op, operand * value


def _left_expression(value: int, steps: list[tuple[str, int]]) -> str:
    text = str(value)
    for k, (op, operand) in enumerate(steps):
        text = f"({text}){op}{operand}" if k else f"{text}{op}{operand}"
    return text


def _right_expression(value: int, steps: list[tuple[int, str]]) -> str:
    text = str(value)
    for k, (operand, op) in enumerate(steps):
        text = f"{operand}{op}({text})" if k else f"{operand}{op}{text}"
    return text


def draw_problem(rng: random.Random, operations: int, *, nested_right: bool = False) -> Problem:
    """Return a random problem of the given number of operations, evaluated from the inside out.

    `nested_right` puts the innermost parentheses last, `8+(5*(12-3))`, instead of first.
    """
    while True:
        value = start = rng.randint(2, 9) if rng.random() < 0.5 else rng.randint(10, 50)
        values: list[int] = []
        left: list[tuple[str, int]] = []
        right: list[tuple[int, str]] = []
        for _ in range(operations):
            if nested_right:
                if value == LARGEST:
                    break
                operand, op, value = _right_step(rng, value)
                right.append((operand, op))
            else:
                op, operand, value = _left_step(rng, value)
                left.append((op, operand))
            values.append(value)
        if len(values) == operations:
            break
    held = [start, *values]
    if nested_right:
        states = [_right_expression(v, right[k:]) for k, v in enumerate(held)]
    else:
        states = [_left_expression(v, left[k:]) for k, v in enumerate(held)]
    return Problem(tuple(states), tuple(values))


def _pick(rng: random.Random, options: tuple[tuple[str, int], ...]) -> str:
    return rng.choices([text for text, _ in options], [weight for _, weight in options])[0]


def render_solution(rng: random.Random, problem: Problem, style: str) -> str:
    """Return the solution in a style ("brief" or "detailed"), ending in `#### N`; `rng` draws its form."""
    steps = problem.states[1:] if style == "detailed" else tuple(map(str, problem.written_values))
    body = _pick(rng, _SEPARATORS[style]).join(steps)
    return f"{_pick(rng, _LEADS[style])}{body}{_pick(rng, _ENDS)}\n#### {problem.answer}"


def problem_rows(
    rng: random.Random, purpose: str, operations: int, count: int, *, nested_right: bool = False
) -> list[dict[str, str]]:
    """Rows (question, answer, level) without repeats, brief and detailed solutions in turn."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        problem = draw_problem(rng, operations, nested_right=nested_right)
        if problem.question in rows or not is_for(problem.question, purpose):
            continue
        solution = render_solution(rng, problem, ("brief", "detailed")[len(rows) % 2])
        rows[problem.question] = {"question": problem.question, "answer": solution, "level": str(operations)}
    return list(rows.values())


def _shuffled(rng: random.Random, strata: list[list[dict[str, str]]]) -> list[dict[str, str]]:
    """All rows in random order, except that the first half has the whole's mix of strata and styles."""
    halves: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    for stratum in strata:
        for k, row in enumerate(stratum):
            halves[k // 2 % 2].append(row)
    for half in halves:
        rng.shuffle(half)
    return halves[0] + halves[1]


def write_sets(out: Path, seed: int = SEED) -> dict[str, int]:
    """Write train.jsonl, test_in_domain.jsonl and test_ood.jsonl to `out`; returns rows per set."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for purpose in LEFT_MIX:
        rng = random.Random(f"{seed} {purpose}")
        strata = [problem_rows(rng, purpose, k, n) for k, n in LEFT_MIX[purpose].items()]
        strata += [problem_rows(rng, purpose, k, n, nested_right=True) for k, n in RIGHT_MIX[purpose].items()]
        rows = _shuffled(rng, strata)
        with (out / f"{purpose}.jsonl").open("w", encoding="utf-8") as file:
            for k, row in enumerate(rows):
                file.write(json.dumps({"id": f"{purpose.replace('_', '-')}-{k:04d}", **row}) + "\n")
        counts[purpose] = len(rows)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dast_jax/assets/problems"))
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    print(write_sets(args.out, args.seed))


if __name__ == "__main__":
    main()
