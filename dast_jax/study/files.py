"""The files of a study besides its runs: the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dast_jax.study.definition import Study, run_directory

__all__ = ["write_comparison"]


def write_comparison(study: Study, out: Path, diverged: Mapping[tuple[str, int], str]) -> None:
    """Compare the runs that have finished; write `comparison.json` and `comparison.html` into `out`."""
    from dast_jax.reporting.study_page import render_comparison
    from dast_jax.store.durable import write_text
    from dast_jax.store.typed_json import write_result
    from dast_jax.study.results import compare, load_result

    labels = [entry.label for entry in study.entries]
    loaded = [
        load_result(run_directory(out, label, seed), label, seed)
        for label in labels
        for seed in study.options.seeds
    ]
    comparison = compare(
        [result for result in loaded if result is not None],
        name=study.options.name,
        labels=labels,
        seeds=study.options.seeds,
        baselines=study.options.baselines,
        diverged=diverged,
    )
    write_result(out / "comparison.json", comparison)
    write_text(out / "comparison.html", render_comparison(comparison))
