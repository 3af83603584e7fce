"""Do the reference answers of real data sets verify as correct against themselves?

    python benchmarks/reference_self_check.py ../shared/data/*/*.json* [--sample N]

Prints, for each file, the share of its references that the verifier calls correct when they are the
prediction: bare, and at the end of a sentence; and of its reference solutions. References that are not are
shown with the reason.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.verifiers import Verifier

_SHOWN = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--sample", type=int, default=0, help="check this many queries of each file; 0: all")
    parser.add_argument("--verbose", action="store_true", help="show references that are not correct")
    args = parser.parse_args()
    with Verifier() as verifier:
        for path in args.files:
            queries = load_queries(path, options=DataOptions(train=path))
            n = len(queries)
            if args.sample and args.sample < n:
                chosen = np.random.default_rng(0).permutation(n)[: args.sample]
                queries = tuple(queries[i] for i in sorted(chosen))
            shares = []
            begun = time.perf_counter()
            for kind, rows in (
                ("bare", [(q.answer, q.answer, q.task) for q in queries]),
                ("sentence", [(q.answer, f"So the answer is {q.answer}.", q.task) for q in queries]),
                ("solution", [(q.answer, q.solution, q.task) for q in queries if q.solution]),
            ):
                verdicts = verifier.verify_many(rows)
                if not rows:
                    continue
                shares.append(f"{kind} {100 * np.mean([v.correct for v in verdicts]):.2f} %")
                wrong = [(r, v) for r, v in zip(rows, verdicts, strict=True) if not v.correct]
                for row, verdict in wrong[:_SHOWN] if args.verbose else []:
                    print(f"    {kind}: {row[0]!r} ({row[2]}): {verdict}")
            tasks = ", ".join(f"{task} {count}" for task, count in Counter(q.task for q in queries).items())
            seconds = time.perf_counter() - begun
            print(
                f"{path}: {n} rows, {len(queries)} checked: {'; '.join(shares)}  [{tasks}; {seconds:.1f} s]"
            )


if __name__ == "__main__":
    main()
