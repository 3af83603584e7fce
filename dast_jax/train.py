"""`python -m dast_jax.train --config C.yaml [key=value …]`: a whole self-training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, ProgressDisplay, command
from dast_jax.cli.schemas import RunSchema
from dast_jax.config import RunConfig
from dast_jax.distributed.environment import process_count
from dast_jax.distributed.group import leads
from dast_jax.distributed.start import join
from dast_jax.distributed.supervise import is_child, supervise

__all__ = ["main"]

ARGUMENTS = Arguments(
    "train",
    "Self-train a model: sample, verify, build the training set, train, evaluate, round after round.\n"
    "Run the same command again to resume an interrupted run; a finished one reports that it is finished.\n"
    "On several hosts, run it on each of them.",
    RunSchema(),
    example="--config quickstart",
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run or resume the run, write its report, print the summary. Returns the exit code."""
    _, config = ARGUMENTS.parse(argv)
    count = process_count(config.distributed)
    if count > 1 and not is_child():
        arguments = sys.argv[1:] if argv is None else argv
        return supervise("dast_jax.train", arguments, config.distributed.silence_seconds)
    with join(config.distributed, count):
        if leads():
            _run(config)
        else:
            from dast_jax.loop.follow import follow

            follow(config)
    return 0


def _run(config: RunConfig) -> None:
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
