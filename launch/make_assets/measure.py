"""Measures a base model on the embedded problems: accuracy by stratum, levels, orders, and exemplars' length.

    python launch/make_assets/measure.py --model base/model --problems dast_jax/assets/problems

The gates of a study are measured by `python -m dast_jax.compare --config STUDY --gates`.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from corpus import format_problem
from generate import Decoder

from dast_jax.estimators.levels import Cuts, level_shares, levels_from_counts
from dast_jax.estimators.reliability import cohen_kappa
from dast_jax.models.load import load_model
from dast_jax.records import LEVELS, Rollout
from dast_jax.verifiers.steps import steps_checker

Row = dict[str, str]

CUTS = Cuts(easy=0.7, hard=0.4)
"""The quickstart's cut points of the levels."""

CHAINS_OF = 16
"""Distinct chains are counted among this many correct responses of a query."""


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a set."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def few_shot_prompt(question: str, exemplars: Sequence[Row]) -> str:
    """Return the exemplars and the question as blocks joined by blank lines, ending in `A:`."""
    blocks = [format_problem(e["question"], e["answer"]) for e in exemplars]
    return "\n\n".join([*blocks, f"Q: {question}\nA:"])


def is_right(row: Row, response: Rollout) -> bool:
    """Whether the response ends with the row's answer."""
    return response.text.rstrip().endswith("#### " + row["answer"].split("#### ")[1])


def has_wrong_step(row: Row, response: Rollout) -> bool:
    """Whether a step of the response is wrong or cannot be read."""
    found = steps_checker(row["question"])(response.text)
    return found.wrong + found.unreadable > 0


def is_short(row: Row) -> bool:
    """Whether a solution leaves states out: it has fewer of them than the question has operations."""
    operations = sum(row["question"].count(sign) for sign in "+-*/")
    return row["answer"].count(" = ") + 1 < operations


def orders(row: Row) -> int:
    """Return how many orders of reducing the question's expression are correct, as `Problem.orders` does."""
    operations = [
        node
        for node in ast.walk(ast.parse(row["question"].removesuffix("=?")))
        if isinstance(node, ast.BinOp)
    ]
    sizes = [sum(isinstance(part, ast.BinOp) for part in ast.walk(node)) for node in operations]
    return math.factorial(len(sizes)) // math.prod(sizes)


def by_stratum(rows: Sequence[Row], values: Sequence[float]) -> str:
    """Return the mean of the values, and by stratum, as text."""
    found = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        found[row["level"]].append(value)
    parts = [f"{name} {np.mean(some):.3g}" for name, some in sorted(found.items())]
    return f"{np.mean(values):.3g} ({', '.join(parts)})"


def print_levels(rows: Sequence[Row], responses: Sequence[Sequence[Rollout]]) -> None:
    """Print two estimates of the levels, by every other trial, and what lies under correct answers."""
    right = np.array([[is_right(row, r) for r in some] for row, some in zip(rows, responses, strict=True)])
    wrong = np.array(
        [[has_wrong_step(row, r) for r in some] for row, some in zip(rows, responses, strict=True)]
    )
    print(f"  pass rate, %: {by_stratum(rows, 100 * right.mean(1))}")
    sound = right & ~wrong
    print(f"  without wrong steps, %: {by_stratum(rows, 100 * sound.mean(1))}")
    half = right.shape[1] // 2
    a, b = (levels_from_counts(sound[:, k::2].sum(1), half, CUTS) for k in (0, 1))
    shares = {k: round(50 * (level_shares(a)[k] + level_shares(b)[k]), 1) for k in LEVELS}
    hard = (a == 2), (b == 2)
    again = 2 * (hard[0] & hard[1]).sum() / max(1, hard[0].sum() + hard[1].sum())
    print(
        f"  levels by {half} trials, %: {shares}; κ {cohen_kappa(a, b):.2f}; hard again {100 * again:.0f} %"
    )
    found = np.array([orders(row) for row in rows])
    for level, name in enumerate(LEVELS):
        of = a == level
        false = 100 * (right & wrong)[of].sum() / max(1, right[of].sum())
        print(
            f"    {name}: {of.sum()} queries, median of correct orders {np.median(found[of]):g}; "
            f"false positives {false:.1f} % of the correct responses"
        )
    for title, of in (("hard and unsolved", a >= 2), ("easy and middle", a < 2)):
        print(f"  median of correct orders, {title}: {np.median(found[of]):g}")
    chains = [
        len({text.split("\n####")[0] for text in texts[:CHAINS_OF]}) / CHAINS_OF
        for i, some in enumerate(responses)
        if len(texts := [r.text for r, ok in zip(some, sound[i], strict=True) if ok]) >= CHAINS_OF
    ]
    print(
        f"  distinct chains among {CHAINS_OF} correct responses of a query, {len(chains)} queries: "
        f"median {100 * np.median(chains):.0f} %"
    )
    print(f"  tokens of a response: {np.mean([len(r.tokens) for some in responses for r in some]):.1f}")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("dast_jax/assets/base_model"))
    parser.add_argument("--problems", type=Path, default=Path("dast_jax/assets/problems"))
    parser.add_argument(
        "--trials", type=int, default=32, help="of each training query: those of two estimates"
    )
    parser.add_argument("--queries", type=int, default=128)
    args = parser.parse_args()
    model = load_model(args.model)
    parts = model.graphdef, model.params, model.tokenizer
    train = read_rows(args.problems / "train.jsonl")
    for name in ("test_in_domain", "test_ood"):
        rows = read_rows(args.problems / f"{name}.jsonl")[:300]
        responses = Decoder(*parts)([few_shot_prompt(r["question"], []) for r in rows])
        right = [100 * is_right(row, r) for row, (r,) in zip(rows, responses, strict=True)]
        print(f"{name}, greedy, zero-shot, %: {by_stratum(rows, right)}", flush=True)
        print(f"  tokens: {by_stratum(rows, [len(r.tokens) for (r,) in responses])}", flush=True)
    sampler = Decoder(*parts, temperature=1.0)
    rng = random.Random("exemplars")
    asked, others = train[: args.queries], train[args.queries :]
    lengths = {}
    for name, some in (
        ("long", [row for row in others if not is_short(row)]),
        ("short", [row for row in others if is_short(row)]),
    ):
        prompts = [few_shot_prompt(row["question"], rng.sample(some, 4)) for row in asked]
        lengths[name] = round(float(np.mean([len(r.tokens) for (r,) in sampler(prompts)])), 1)
    ratio = lengths["long"] / lengths["short"]
    print(f"behind four {lengths} exemplars, tokens: ratio {ratio:.2f}", flush=True)
    fixed = rng.sample([row for row in others if not is_short(row)], 4)
    print("sampling, behind four long exemplars", flush=True)
    prompts = [few_shot_prompt(row["question"], fixed) for row in asked]
    print_levels(asked, sampler(prompts, trials=args.trials))
    print("sampling, zero-shot", flush=True)
    responses = sampler([few_shot_prompt(row["question"], []) for row in asked], trials=args.trials // 4)
    right = [
        100 * np.mean([is_right(row, r) for r in some]) for row, some in zip(asked, responses, strict=True)
    ]
    print(f"  pass rate, %: {by_stratum(asked, right)}")


if __name__ == "__main__":
    main()
