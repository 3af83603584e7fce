"""One or several runs as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dast_jax.options import opt

__all__ = ["ReportOptions", "render_report", "write_report"]


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
    """Return the report of `run_dirs` as HTML text; several runs are compared. Raises as `write_report`."""
    from dast_jax.reporting import sections
    from dast_jax.reporting.accuracy import accuracy
    from dast_jax.reporting.headline import header
    from dast_jax.reporting.load import load_runs
    from dast_jax.reporting.method_facts import method_facts
    from dast_jax.reporting.page import page
    from dast_jax.reporting.probes import probes
    from dast_jax.reporting.queries import queries
    from dast_jax.reporting.samples import samples
    from dast_jax.version import __version__

    options = options or ReportOptions()
    runs = load_runs(run_dirs)
    body = [
        accuracy(runs),
        sections.training_data(runs),
        queries(runs),
        probes(runs),
        method_facts(runs),
        sections.responses(runs),
        samples(runs, limit=options.samples, characters=options.characters),
        sections.training(runs),
        sections.configuration(runs),
    ]
    title = " · ".join(run.label for run in runs)
    return page(f"{title} · dast_jax report", header(runs), body, f"Written by dast_jax {__version__}.")
