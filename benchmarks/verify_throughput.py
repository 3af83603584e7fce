"""Verdicts per CPU second: plain numbers, solutions, sentences of each family, and symbolic pairs.

    python benchmarks/verify_throughput.py [--data gsm8k/test.jsonl]
    python benchmarks/verify_throughput.py --against ../another-checkout [--pairs 5]

Prints one line per kind: checks per second of CPU time, of this process and of the symbolic workers, so that
other load on the machine does not count. With `--against`, this version and the one of another checkout run
in turn, and the median of the ratios of their rates is printed with its range. Without --data the solutions
are made up in GSM8K's style.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dast_jax.verifiers import Verifier

Rows = list[tuple[str, str, str]]


def plain_rows(count: int, rng: random.Random) -> Rows:
    """Bare numbers in the spellings that models use, half of them correct."""
    spell = ["{}", "{:,}", "${:,}", "{}.00", "{} apples", "\\${:,}", "{:,}.0", "-{}"]
    return [
        (str(n), rng.choice(spell).format(n + rng.randrange(2)), "math")
        for n in (rng.randrange(1, 10**6) for _ in range(count))
    ]


def solution_rows(count: int, rng: random.Random, data: str | None, *, marked: bool) -> Rows:
    """Whole solutions against their answers: the file's, with or without the final marker."""
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
        rows.append((answer.strip(), text if marked else body, "math"))
    return rows


_STEPS = "There are 3 rows of 7 seats. First add them up: 7 + 7 + 7 = 21.\nThen half of the people leave. "


def sentence_rows(count: int, rng: random.Random, task: str) -> Rows:
    """Short solutions of a family that end with a marked answer, half of them correct."""
    spell = ["The answer is {}.", "So the final answer is: {}", "**Answer:** {}", "\\boxed{{{}}}", "#### {}"]
    draws: dict[str, Callable[[], str]] = {
        "math": lambda: str(rng.randrange(2, 10**4)),
        "choice": lambda: rng.choice("ABCD"),
        "yes_no": lambda: rng.choice(["yes", "no"]),
        "list": lambda: str([rng.randrange(9) for _ in range(3)]),
    }
    draw = draws[task]
    rows = []
    for _ in range(count):
        answer = draw()
        said = answer if rng.random() < 0.5 else draw()
        rows.append((answer, _STEPS + rng.choice(spell).format(said), task))
    return rows


def symbolic_rows(count: int, rng: random.Random) -> Rows:
    """Distinct pairs that only the workers can decide."""
    return [
        (f"{a}x^2+{i}\\sqrt{{2}}", f"\\boxed{{\\sqrt{{2}} \\cdot {i} + {a} x^2}}", "math")
        for i, a in enumerate((rng.randrange(2, 99) for _ in range(count)), start=2)
    ]


def measure(name: str, verifier: Verifier, rows: Rows) -> float:
    """Verify the rows and print the rate; return checks per second of CPU time."""
    wall, cpu = time.perf_counter(), _cpu_seconds(verifier)
    verdicts = verifier.verify_many(rows)
    wall, cpu = time.perf_counter() - wall, _cpu_seconds(verifier) - cpu
    share = sum(v.correct for v in verdicts) / len(verdicts)
    print(
        f"{name:<22} {len(rows):>7} checks  {len(rows) / cpu:>8,.0f} /s of CPU time"
        f"  {len(rows) / wall:>8,.0f} /s  {share:.0%} correct",
        file=sys.stderr,
    )
    return len(rows) / cpu


def _cpu_seconds(verifier: Verifier) -> float:
    """Return the CPU time so far of this process and of the verifier's workers."""
    ticks = 0
    for pid in verifier.worker_pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def rates(data: str | None, size: float) -> dict[str, float]:
    """Return the rate of each kind of rows."""
    rng = random.Random(0)
    with Verifier() as verifier:
        kinds = {
            "plain numbers": plain_rows(int(50_000 * size), rng),
            "solutions, marked": solution_rows(int(20_000 * size), rng, data, marked=True),
            "solutions, unmarked": solution_rows(int(10_000 * size), rng, data, marked=False),
        }
        for task in ("math", "choice", "yes_no", "list"):
            kinds[f"sentences, {task}"] = sentence_rows(int(10_000 * size), rng, task)
        measured = {name: measure(name, verifier, rows) for name, rows in kinds.items()}
        verifier.verify_many([("x+1", "1+x")] * 2)  # the workers are up
        measured["symbolic"] = measure("symbolic", verifier, symbolic_rows(int(1_000 * size), rng))
    return measured


def compare(other: str, pairs: int, arguments: Sequence[str]) -> None:
    """Run this version and that of another checkout in turn, and print the ratios of their rates."""
    ratios: dict[str, list[float]] = {}
    for _ in range(pairs):
        theirs, ours = (_run(Path(root), arguments) for root in (other, Path(__file__).parents[1]))
        for name, rate in ours.items():
            ratios.setdefault(name, []).append(rate / theirs[name])
    for name, values in ratios.items():
        print(f"{name:<22} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


def _run(root: Path, arguments: Sequence[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"PYTHONPATH": str(root.resolve())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="GSM8K JSONL with `answer`")
    parser.add_argument("--against", help="a checkout of another version, to compare with")
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each version")
    parser.add_argument("--size", type=float, default=1.0, help="factor of the numbers of rows")
    args = parser.parse_args()
    given = [*(["--data", args.data] if args.data else []), "--size", str(args.size)]
    if args.against:
        compare(args.against, args.pairs, given)
    else:
        json.dump(rates(args.data, args.size), sys.stdout)
        print()


if __name__ == "__main__":
    main()
