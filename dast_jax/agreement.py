"""`python -m dast_jax.agreement --model … --data … [--out F.json]`: how far difficulty estimators agree.

Samples trials of every query, estimates its difficulty with each estimator, and compares every pair: rank
correlations and the levels they give; and how diverse the responses are, by level.
docs/schemas.md has the fields of the JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dast_jax.cli import Arguments, Flag, ProgressDisplay, command, output_path
from dast_jax.inference.options import AgreementOptions

__all__ = ["main"]

ARGUMENTS = Arguments(
    "agreement",
    "Compare difficulty estimators on a data set, for a model.",
    AgreementOptions,
    Flag("--model", key="model.path", help="Hugging Face folder, .gguf file or hub model"),
    Flag("--data", key="data.train", help="queries: file, asset:NAME or hub id"),
    Flag("--out", help="write the result to this JSON file"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Compare the estimators, write and print the result. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    out = output_path(args.out) if args.out else None
    from dast_jax.inference.agreement import measure_agreement
    from dast_jax.reporting.agreement_tables import print_agreement
    from dast_jax.store.typed_json import write_result

    with ProgressDisplay() as progress:
        result = measure_agreement(options, on_progress=progress)
    if out:
        write_result(out, result)
    print_agreement(result)


if __name__ == "__main__":
    sys.exit(main())
