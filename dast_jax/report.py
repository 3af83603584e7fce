"""One or several runs as a self-contained HTML page.

    python -m dast_jax.report --run DIR [--run DIR2 …] --out FILE.html

The page needs no network and runs no script; a run still under way is shown as far as it got.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.options import opt

__all__ = ["ReportOptions", "main", "render_report", "write_report"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the report shows of the responses."""

    samples: int = opt(12, "questions shown with their responses, per run", min=0)
    characters: int = opt(1500, "characters of a question or response shown before it is cut", min=1)


def write_report(run_dirs: Sequence[Path], out: Path, options: ReportOptions | None = None) -> Path:
    """Write the report of `run_dirs` to `out`, atomically; returns `out`.

    Raises `UserError` when a directory is missing, is no run directory, or has an unreadable summary, and
    `InterruptedRunError` when the disk is full.
    """
    from dast_jax.store.durable import write_text

    write_text(out, render_report(run_dirs, options))
    return out


def render_report(run_dirs: Sequence[Path], options: ReportOptions | None = None) -> str:
    """The report of `run_dirs` as HTML text; several runs are compared. Raises as `write_report`."""
    from dast_jax import __version__
    from dast_jax.reporting import sections
    from dast_jax.reporting.accuracy import accuracy
    from dast_jax.reporting.headline import header
    from dast_jax.reporting.load import load_runs
    from dast_jax.reporting.method_facts import method_facts
    from dast_jax.reporting.page import page
    from dast_jax.reporting.samples import samples

    options = options or ReportOptions()
    runs = load_runs(run_dirs)
    body = [
        accuracy(runs),
        sections.training_data(runs),
        method_facts(runs),
        sections.responses(runs),
        samples(runs, limit=options.samples, characters=options.characters),
        sections.training(runs),
        sections.configuration(runs),
    ]
    title = " · ".join(run.label for run in runs)
    return page(f"{title} · dast_jax report", header(runs), body, f"Written by dast_jax {__version__}.")


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
