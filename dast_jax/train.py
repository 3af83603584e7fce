"""`python -m dast_jax.train --config C.yaml [key=value …]`: a whole self-training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import ProgressDisplay, command, parse_arguments
from dast_jax.cli.schemas import RunSchema

__all__ = ["main"]


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Parse, run, print. Returns the exit code."""
    _, config = parse_arguments(
        "train",
        "Self-train a model: sample, verify, build the training set, train, evaluate, round after round.\n"
        "The same command run again resumes an interrupted run; a finished one says so.",
        RunSchema(),
        argv,
    )
    from dast_jax.loop.selftrain import run
    from dast_jax.report import write_report
    from dast_jax.reporting.run_tables import print_summary

    summary = run(config, on_progress=ProgressDisplay())
    report = Path(config.run.dir) / "report.html"
    write_report([Path(config.run.dir)], report)
    print_summary(summary)
    print(f"report: {report}")
    return None


if __name__ == "__main__":
    sys.exit(main())
