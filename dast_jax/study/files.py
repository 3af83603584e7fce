"""The files of a study besides its runs: the comparison, and the cache of compiled programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dast_jax.study.definition import Study, run_directory

__all__ = ["use_compilation_cache", "write_comparison"]


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


def use_compilation_cache(folder: Path) -> None:
    """Let XLA keep what it compiles in `folder`, unless the environment names another folder."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
