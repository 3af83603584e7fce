"""Verdicts per second: plain numbers, GSM8K-style solutions, and symbolic pairs.

    python benchmarks/verify_throughput.py [--data gsm8k/test.jsonl]

Prints one line per kind: checks per second of wall clock, and per second of this process's CPU time (what
an otherwise idle core would do). Without --data the solutions are made up in GSM8K's style.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from dast_jax.verifiers import Verifier

Row = tuple[str, str]


def plain_rows(count: int, rng: random.Random) -> list[Row]:
    """Bare numbers in the spellings that models use, half of them correct."""
    spell = ["{}", "{:,}", "${:,}", "{}.00", "{} apples", "\\${:,}", "{:,}.0", "-{}"]
    return [
        (str(n), rng.choice(spell).format(n + rng.randrange(2)))
        for n in (rng.randrange(1, 10**6) for _ in range(count))
    ]


def solution_rows(count: int, rng: random.Random, data: str | None) -> list[Row]:
    """Whole solutions against their answers: the file's, with and without the final marker."""
    if data is not None:
        texts = [json.loads(line)["answer"] for line in Path(data).read_text().splitlines()]
    else:
        step = "She sold {0}+{1} = <<{0}+{1}={2}>>{2} clips in week {3}."
        texts = []
        for _ in range(1_000):
            lines, total = [], rng.randrange(100)
            for week in range(rng.randrange(2, 8)):
                more = rng.randrange(1, 500)
                lines.append(step.format(total, more, total + more, week))
                total += more
            texts.append("\n".join([*lines, f"#### {total}"]))
    rows = []
    for i in range(count):
        text = texts[i % len(texts)]
        body, _, answer = text.rpartition("####")
        rows.append((answer.strip(), text if i % 2 else body))
    return rows


def symbolic_rows(count: int, rng: random.Random) -> list[Row]:
    """Distinct pairs that only the workers can decide."""
    return [
        (f"{a}x^2+{i}\\sqrt{{2}}", f"\\boxed{{\\sqrt{{2}} \\cdot {i} + {a} x^2}}")
        for i, a in enumerate((rng.randrange(2, 99) for _ in range(count)), start=2)
    ]


def measure(name: str, verifier: Verifier, rows: list[Row]) -> float:
    """Verify the rows and print the rate; checks per second of wall clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    verdicts = verifier.verify_many(rows)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    share = sum(v.correct for v in verdicts) / len(verdicts)
    print(
        f"{name:<18} {len(rows):>7} checks  {len(rows) / wall:>9,.0f} /s wall"
        f"  {len(rows) / cpu:>9,.0f} /s CPU of this process  {share:.0%} correct"
    )
    return len(rows) / wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="GSM8K JSONL with `answer`")
    args = parser.parse_args()
    rng = random.Random(0)
    with Verifier() as verifier:
        measure("plain numbers", verifier, plain_rows(100_000, rng))
        measure("full solutions", verifier, solution_rows(20_000, rng, args.data))
        verifier.verify_many([("x+1", "1+x")] * 2)  # the workers are up
        measure("symbolic", verifier, symbolic_rows(2_000, rng))


if __name__ == "__main__":
    main()
