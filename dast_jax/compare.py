"""Methods side by side: `python -m dast_jax.compare --config configs/studies/NAME.yaml [--quick]`.

Runs every entry of a study with every seed, or goes on with a study that was stopped, and writes
DIR/comparison.json and DIR/comparison.html after every run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.cli import Flag, command, parse_arguments
from dast_jax.cli.schemas import Schema
from dast_jax.options import OptionInfo
from dast_jax.study.runner import Study, StudyOptions, build_study, run_directory, run_study, study_keys

__all__ = ["main"]


class _StudySchema(Schema[Study]):
    """A study for `faces.parse_arguments`."""

    def __init__(self) -> None:
        super().__init__(StudyOptions)  # type: ignore[arg-type]

    def load(self, path: str) -> dict[str, Any]:
        from dast_jax.config import study_path
        from dast_jax.options import load_yaml

        return load_yaml(study_path(path))

    def build(self, mapping: Mapping[str, Any]) -> Study:
        return build_study(mapping)

    def describe(self, mapping: Mapping[str, Any]) -> list[OptionInfo]:
        return study_keys()

    def plain(self, config: Study) -> dict[str, Any]:
        return config.plain


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, write and print the comparison. Returns the exit code: 3 when a run diverged."""
    args, study = parse_arguments(
        "compare",
        "Run methods x seeds as a study describes, and compare them: accuracy, work, paired differences.\n"
        "The same command run again goes on with a study that was stopped.",
        _StudySchema(),
        argv,
        Flag("--quick", switch=True, help="the shorter study of the section `quick`"),
        Flag("--out", help="folder of the study (default: runs/NAME)"),
    )
    from dast_jax.errors import DivergedError
    from dast_jax.reporting.study_tables import print_comparison
    from dast_jax.store.comparison_results import Comparison
    from dast_jax.store.typed_json import read_result

    if args.quick:
        study = study.shortened()
    out = Path(args.out or Path("runs") / study.options.name)
    diverged = run_study(
        study,
        out,
        prepare=lambda: _use_cache(out / "cache"),
        after_each=lambda diverged: _write(study, out, diverged),
    )
    print_comparison(read_result(Comparison, out / "comparison.json"))
    print(f"comparison: {out / 'comparison.json'} and {out / 'comparison.html'}")
    return DivergedError.exit_code if diverged else 0


def _write(study: Study, out: Path, diverged: Mapping[tuple[str, int], str]) -> None:
    """Compare the runs that have finished, and write that for programs and for people."""
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


def _use_cache(folder: Path) -> None:
    """Let XLA keep what it compiles in `folder`, unless the environment names another place."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    sys.exit(main())
