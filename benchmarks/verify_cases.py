"""Which of the labelled answer cases does the verifier judge as expected?

    python benchmarks/verify_cases.py [tests/verifiers/cases.jsonl] [--verbose]

A row holds `reference`, `prediction`, optionally `task` and `kind`, and `expect`: a verdict, several joined
by `|`, or `not correct`. Prints, for each kind, how many rows agree and how many are judged correct that
should not be.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from dast_jax.records import Verdict
from dast_jax.verifiers import Verifier

_CASES = Path(__file__).parents[1] / "tests" / "verifiers" / "cases.jsonl"


def agrees(verdict: Verdict, expect: str) -> bool:
    """Return whether a verdict is one that a case expects."""
    if expect == "not correct":
        return not verdict.correct
    return verdict.kind.value in expect.split("|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", nargs="?", default=str(_CASES))
    parser.add_argument("--verbose", action="store_true", help="show the rows that do not agree")
    args = parser.parse_args()
    rows = [json.loads(line) for line in Path(args.file).read_text(encoding="utf-8").splitlines() if line]
    with Verifier() as verifier:
        verdicts = verifier.verify_many(
            (row["reference"], row["prediction"], row.get("task") or "math") for row in rows
        )
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row, verdict in zip(rows, verdicts, strict=True):
        good = agrees(verdict, row["expect"])
        false_correct = verdict.correct and not good
        one = (1, int(good), int(false_correct))
        for name in (row.get("kind") or "other", "all"):
            counts[name] = [a + b for a, b in zip(counts[name], one, strict=True)]
        if args.verbose and not good:
            label = "FALSE CORRECT" if false_correct else verdict.kind.value
            print(
                f"  {label}: {row.get('task') or 'math'} {row['reference']!r} {row['prediction']!r} {verdict}"
            )
    total = counts.pop("all")
    for name, (count, agreed, false) in sorted(counts.items(), key=lambda item: item[1][1] - item[1][0]):
        if agreed < count:
            print(f"{name[:60]:<60} {agreed:>4} of {count:>3} agree, {false} false correct")
    print(f"{total[1]} of {total[0]} agree ({100 * total[1] / total[0]:.1f} %), {total[2]} false correct")


if __name__ == "__main__":
    main()
