"""`python -m dast_jax.report --run DIR [--run DIR2 …] --out FILE.html`: runs as one self-contained page.

The page needs no network and runs no script; an unfinished run is shown as far as it has got.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, Flag, command, output_path
from dast_jax.reporting.report import ReportOptions, write_report

__all__ = ["main"]

ARGUMENTS = Arguments(
    "report",
    "Write one or several runs, compared, as one self-contained HTML page.",
    ReportOptions,
    Flag("--run", required=True, repeated=True, help="a run directory; repeat it to compare runs"),
    Flag("--out", required=True, help="the HTML file to write"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and print its path. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    print(write_report([Path(run) for run in args.run], output_path(args.out), options))


if __name__ == "__main__":
    sys.exit(main())
