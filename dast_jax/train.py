"""`python -m dast_jax.train --config C.yaml [key=value …]`: a whole self-training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, ProgressDisplay, command
from dast_jax.cli.schemas import RunSchema

__all__ = ["main"]

ARGUMENTS = Arguments(
    "train",
    "Self-train a model: sample, verify, build the training set, train, evaluate, round after round.\n"
    "Run the same command again to resume an interrupted run; a finished one reports that it is finished.",
    RunSchema(),
    example="--config quickstart",
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run or resume the run, write its report, print the summary. Returns the exit code."""
    _, config = ARGUMENTS.parse(argv)
    from dast_jax.loop.selftrain import run
    from dast_jax.reporting.report import write_report
    from dast_jax.reporting.run_tables import print_summary
    from dast_jax.store.mirror import refresh

    with ProgressDisplay() as progress:
        summary = run(config, on_progress=progress)
    report = Path(config.run.dir) / "report.html"
    write_report([Path(config.run.dir)], report)
    if config.run.mirror:
        refresh(config.run.mirror, Path(config.run.dir).expanduser())
    print_summary(summary)
    print(f"report: {report}")


if __name__ == "__main__":
    sys.exit(main())
