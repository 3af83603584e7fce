"""Makes the embedded problems: integer expressions of several independent parts, solved step by step.

A question is `((7+12)*3)-(40-(6*2))=?`. It is a tree of operations, bushy on purpose, so that many orders of
reduction are correct: their number is that of the linear extensions of the tree, n! over the product of the
sizes of its subtrees, and every shape here has at least `FEWEST_ORDERS` of them. A solution writes what is
left of the expression after each operation, in a random order, and ends in `#### N`:

    (19*3)-(40-(6*2)) = (19*3)-(40-12) = 57-(40-12) = 57-28 = 29
    #### 29

A short solution writes every second of these states, and the last. Every value is an integer in 1..limit,
99 in the strata of small values and 999 in the others; a quotient is exact. The rare skill is precedence: the
hard strata write products in sums without parentheses, `3+4*(9-2)`; no other query of the training and
in-domain sets does, and few problems of the end of pretraining do.

Which of the sets a question may appear in is decided by a hash of its text, so the training set, the two
test sets and the pretraining corpus are disjoint by construction, whatever their mix of strata.

    python launch/make_assets/problems.py --out dast_jax/assets/problems
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FEWEST_ORDERS",
    "MIX",
    "SEED",
    "STRATA",
    "Node",
    "Problem",
    "Stratum",
    "draw_problem",
    "is_for",
    "problem_rows",
    "render_solution",
    "write_sets",
]

SEED = 20250309
BUCKETS = {"train": (0,), "test_in_domain": (1,), "test_ood": (2,), "pretraining": tuple(range(3, 16))}
SMALL, LARGE = 99, 999
LARGEST_QUOTIENT = 20

FEWEST_ORDERS = {1: 1, 2: 1, 3: 1, 4: 3, 5: 6, 6: 15, 7: 40, 8: 80, 9: 200}
"""The fewest orders of reduction of a tree, by its number of operations; below 4 no tree has many."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """What the problems of a stratum have in common; its name is their `level`."""

    name: str
    operations: tuple[int, ...]
    limit: int
    bare: int = 0
    short: float = 0.0
    """share of short reference solutions"""


STRATA = {
    stratum.name: stratum
    for stratum in (
        Stratum(name="small", operations=(6,), limit=SMALL, short=0.15),
        Stratum(name="large", operations=(6,), limit=LARGE),
        Stratum(name="bare", operations=(6,), limit=SMALL, bare=1),
        Stratum(name="bare-2", operations=(6,), limit=SMALL, bare=2),
        Stratum(name="long", operations=(7, 8), limit=LARGE),
        Stratum(name="long-bare", operations=(7,), limit=SMALL, bare=1),
    )
}

# Rows per stratum. Chosen from an earlier base model's measured pass rates, so that each of the
# four DAST levels holds its share of the training queries. Out of domain is longer than all training queries.
MIX: dict[str, dict[str, int]] = {
    "train": {"small": 140, "large": 104, "bare": 204, "bare-2": 64},
    "test_in_domain": {"small": 164, "large": 122, "bare": 239, "bare-2": 75},
    "test_ood": {"long": 300, "long-bare": 300},
}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression: a number, or an operation on two parts; `value` is what it comes to."""

    value: int
    operator: str = ""
    parts: tuple[Node, ...] = ()
    bare: bool = False
    """whether it is written without parentheses: a product in a sum or difference, by precedence"""


@dataclass(frozen=True, slots=True)
class Problem:
    """An expression, as a tree."""

    root: Node

    @property
    def question(self) -> str:
        """The text of the question."""
        return f"{_text(self.root, ())}=?"

    @property
    def answer(self) -> int:
        """The value of the expression."""
        return self.root.value

    @property
    def operations(self) -> int:
        """The number of operations."""
        return _size(self.root)

    @property
    def divisions(self) -> int:
        """How many of the operations are divisions."""
        return sum(node.operator == "/" for _, node in _inner(self.root))

    @property
    def orders(self) -> int:
        """How many orders of reduction are correct: the linear extensions of the tree."""
        return math.factorial(self.operations) // math.prod(_size(node) for _, node in _inner(self.root))

    def states(self, rng: random.Random) -> tuple[str, ...]:
        """Return what is left after each operation, in an order drawn one ready operation at a time.

        The last one is the answer.
        """
        open_ = dict(_inner(self.root))
        done: list[Path_] = []
        states = []
        while open_:
            ready = [path for path in open_ if not any((*path, side) in open_ for side in (0, 1))]
            done.append(rng.choice(ready))
            del open_[done[-1]]
            states.append(_text(self.root, done))
        return tuple(states)


Path_ = tuple[int, ...]
"""Where a part is in its expression: 0 for left or 1 for right, from the root down."""


def _inner(node: Node, path: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
    """Yield the operations of an expression, each with its path."""
    if node.parts:
        yield path, node
        for side, part in enumerate(node.parts):
            yield from _inner(part, (*path, side))


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.parts)) if node.parts else 0


def _text(node: Node, done: tuple[Path_, ...] | list[Path_], path: Path_ = ()) -> str:
    """Return the expression as written once the operations `done` are carried out."""
    if not node.parts or path in done:
        return str(node.value)
    left, right = (_text(part, done, (*path, side)) for side, part in enumerate(node.parts))
    inside = f"{left}{node.operator}{right}"
    return f"({inside})" if path and not node.bare else inside


def is_for(question: str, purpose: str) -> bool:
    """Whether the question's hash reserves it for `purpose` (a key of BUCKETS)."""
    return hashlib.sha256(question.encode()).digest()[0] % 16 in BUCKETS[purpose]


# --- drawing a problem --------------------------------------------------------------------------------

_Shape = tuple["_Shape", "_Shape"] | None
"""A tree of operations without their operators and numbers; None is a number."""


def _draw_shape(rng: random.Random, operations: int) -> _Shape:
    if not operations:
        return None
    left = rng.randrange(operations)
    return _draw_shape(rng, left), _draw_shape(rng, operations - 1 - left)


def _shape_sizes(shape: _Shape) -> list[int]:
    """Return the operations of every subtree, the whole first."""
    if shape is None:
        return []
    below = [_shape_sizes(part) for part in shape]
    return [1 + sum(sizes[0] for sizes in below if sizes), *below[0], *below[1]]


def _bushy_shape(rng: random.Random, operations: int) -> _Shape:
    while True:
        shape = _draw_shape(rng, operations)
        if math.factorial(operations) // math.prod(_shape_sizes(shape)) >= FEWEST_ORDERS[operations]:
            return shape


def _split(rng: random.Random, value: int, limit: int, divide: bool) -> tuple[str, int, int] | None:
    """Return an operation on two numbers in 1..limit that gives `value`, None where there is none."""
    if divide:
        divisors = [d for d in range(2, 10) if value * d <= limit]
        if not 2 <= value <= LARGEST_QUOTIENT or not divisors:
            return None
        divisor = rng.choice(divisors)
        return "/", value * divisor, divisor
    factors = [d for d in range(2, 10) if value % d == 0 and value // d >= 2]
    weights = {"+": 4 * (value > 3), "-": 4 * (value < limit), "*": 6 * bool(factors)}
    operator = rng.choices(list(weights), list(weights.values()))[0]
    if operator == "+":
        left = rng.randint(2, value - 2)
        return operator, left, value - left
    if operator == "-":
        right = rng.randint(1, min(limit - value, max(20, 2 * value)))
        return operator, value + right, right
    few = rng.choice(factors)
    return (operator, few, value // few) if rng.random() < 0.5 else (operator, value // few, few)


def _fill(rng: random.Random, shape: _Shape, value: int, limit: int, dividing: set[int]) -> Node | None:
    """Return an expression of this shape and value; the operations numbered in `dividing` are divisions.

    Operations are numbered in preorder. Returns None where a draw leads nowhere.
    """
    numbers = iter(range(_shape_sizes(shape)[0]))

    def fill(shape: _Shape, value: int) -> Node | None:
        if shape is None:
            return Node(value)
        split = _split(rng, value, limit, next(numbers) in dividing)
        if split is None:
            return None
        operator, *values = split
        left = fill(shape[0], values[0])
        right = fill(shape[1], values[1]) if left is not None else None
        return Node(value, operator, (left, right)) if left is not None and right is not None else None

    return fill(shape, value)


def _products_in_sums(node: Node) -> int:
    """Return how many products stand directly in a sum or difference."""
    here = sum(part.operator == "*" for part in node.parts) if node.operator in ("+", "-") else 0
    return here + sum(map(_products_in_sums, node.parts))


def _bared(node: Node, inside: str = "") -> Node:
    """Return the expression with products in sums and differences written without parentheses."""
    parts = tuple(_bared(part, node.operator) for part in node.parts)
    return dataclasses.replace(node, parts=parts, bare=node.operator == "*" and inside in ("+", "-"))


def draw_problem(
    rng: random.Random, operations: int, limit: int, divisions: int = 0, bare: int = 0
) -> Problem:
    """Return a random problem with values in 1..limit, `divisions` of its operations being divisions.

    With `bare` it has so many products in sums and differences, all without parentheses.
    """
    while True:
        shape = _bushy_shape(rng, operations)
        largest = limit if rng.random() < 0.5 else limit // 5
        value = rng.randint(2, max(largest, 9))
        root = _fill(rng, shape, value, limit, set(rng.sample(range(operations), divisions)))
        if root is None or (bare and _products_in_sums(root) != bare):
            continue
        return Problem(_bared(root) if bare else root)


# --- solutions and rows -------------------------------------------------------------------------------


def render_solution(rng: random.Random, problem: Problem, *, short: bool = False) -> str:
    """Return a solution in an order that `rng` draws; a short one writes every second state and the last."""
    states = problem.states(rng)
    written = (*states[1:-1:2], states[-1]) if short else states
    return f"{' = '.join(written)}\n#### {problem.answer}"


def problem_rows(rng: random.Random, purpose: str, stratum: Stratum, count: int) -> list[dict[str, str]]:
    """Rows (question, answer, level) without repeats."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        operations = stratum.operations[len(rows) % len(stratum.operations)]
        problem = draw_problem(rng, operations, stratum.limit, bare=stratum.bare)
        question = problem.question
        if question in rows or not is_for(question, purpose):
            continue
        solution = render_solution(rng, problem, short=rng.random() < stratum.short)
        rows[question] = {"question": question, "answer": solution, "level": stratum.name}
    return list(rows.values())


def _shuffled(rng: random.Random, strata: list[list[dict[str, str]]]) -> list[dict[str, str]]:
    """All rows in random order, except that each quarter has the whole's mix of strata."""
    quarters: list[list[dict[str, str]]] = [[] for _ in range(4)]
    k = 0
    for stratum in strata:
        for row in stratum:
            quarters[k % 4].append(row)
            k += 1
    for quarter in quarters:
        rng.shuffle(quarter)
    return [row for quarter in quarters for row in quarter]


def write_sets(out: Path, seed: int = SEED, mix: Mapping[str, Mapping[str, int]] = MIX) -> dict[str, int]:
    """Write train.jsonl, test_in_domain.jsonl and test_ood.jsonl to `out`; returns rows per set."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for purpose in mix:
        rng = random.Random(f"{seed} {purpose}")
        strata = [problem_rows(rng, purpose, STRATA[name], n) for name, n in mix[purpose].items()]
        rows = _shuffled(rng, strata)
        with (out / f"{purpose}.jsonl").open("w", encoding="utf-8") as file:
            for k, row in enumerate(rows):
                file.write(json.dumps({"id": f"{purpose.replace('_', '-')}-{k:04d}", **row}) + "\n")
        counts[purpose] = len(rows)
    return counts


def main() -> None:
    """Write the sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dast_jax/assets/problems"))
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    print(write_sets(args.out, args.seed))


if __name__ == "__main__":
    main()
