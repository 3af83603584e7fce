"""`python -m dast_jax.verify --data pairs.jsonl --out verdicts.jsonl`: predictions against references.

Rows with `reference`, `prediction` (a bare answer or a whole solution) and optionally `task` in; the same
rows in the same order with `verdict`, `extracted` and `reason` out. Needs no model, and imports no jax.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dast_jax.cli import Arguments, Flag, command, output_path
from dast_jax.options import opt
from dast_jax.records import VerdictKind
from dast_jax.verifiers import VerifierOptions

__all__ = ["VerifyOptions", "main"]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The keys of the command."""

    verifier: VerifierOptions = opt(VerifierOptions, "how answers are compared")


ARGUMENTS = Arguments(
    "verify",
    "Check predictions against reference answers; writes each row with its verdict.",
    VerifyOptions,
    Flag("--data", required=True, help="JSONL rows with reference, prediction and optionally task"),
    Flag("--out", required=True, help="JSONL to write: the same rows with verdict, extracted, reason"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Verify the rows and print how many got each verdict. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    from dast_jax.verifiers.files import verify_file

    counts = verify_file(Path(args.data), output_path(args.out), options.verifier)
    total = sum(counts.values())
    print(f"{total} rows: " + ", ".join(f"{counts[kind]} {kind}" for kind in VerdictKind) + f"; {args.out}")


if __name__ == "__main__":
    sys.exit(main())
