"""`python -m dast_jax.export --run DIR --out DIR [round=1] [dtype=bfloat16]`: a run's policy, exported.

The folder is a Hugging Face model that transformers and vLLM load.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, Flag, command
from dast_jax.loop.export import ExportOptions, export_run

__all__ = ["main"]

ARGUMENTS = Arguments(
    "export",
    "Export a run's trained policy as a Hugging Face folder.",
    ExportOptions,
    Flag("--run", required=True, help="the run directory"),
    Flag("--out", required=True, help="the folder to write"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder and print which round it came from. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    round = export_run(Path(args.run), Path(args.out), options)
    print(f"{args.out}: the policy after round {round}")


if __name__ == "__main__":
    sys.exit(main())
