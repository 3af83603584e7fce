"""`python -m dast_jax.export --run DIR --out DIR [--push OWNER/NAME] [round=best]`: a run's policy, exported.

The folder is a Hugging Face model that transformers and vLLM load.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, Flag, command
from dast_jax.loop.export import ExportOptions, export_run
from dast_jax.models.hub import check_push, push_folder

__all__ = ["main"]

ARGUMENTS = Arguments(
    "export",
    "Export a run's trained policy as a Hugging Face folder.",
    ExportOptions,
    Flag("--run", required=True, help="the run directory"),
    Flag("--out", required=True, help="the folder to write"),
    Flag("--push", help="the hub model (owner/name) to upload the folder to; private where it is new"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder and print which round it came from. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    if args.push:
        check_push(args.push)
    round = export_run(Path(args.run), Path(args.out), options)
    best = ", the best" if options.round == "best" else ""
    print(f"{args.out}: the policy after round {round}{best}")
    if args.push:
        print(push_folder(Path(args.out), args.push))


if __name__ == "__main__":
    sys.exit(main())
