"""One or several runs as a self-contained HTML page.

    python -m dast_jax.report --run DIR [--run DIR2 …] --out FILE.html

The page needs no network and runs no script; a run still under way is shown as far as it got.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.reporting.report import ReportOptions, write_report

__all__ = ["main"]


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command line face; returns the exit code."""
    args, options = parse_arguments(
        "report",
        "One or several runs, compared, as one self-contained HTML page.",
        ReportOptions,
        argv,
        Flag("--run", required=True, repeated=True, help="a run directory; repeat it to compare runs"),
        Flag("--out", required=True, help="the HTML file to write"),
    )
    out = write_report([Path(run) for run in args.run], output_path(args.out), options)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
