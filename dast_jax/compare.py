"""Methods side by side: `python -m dast_jax.compare --config configs/studies/NAME.yaml [--quick]`.

Runs every entry of a study with every seed, or resumes a study that was stopped, and writes
DIR/comparison.json and DIR/comparison.html after every run. `--gates` measures whether the study can tell
methods apart, and writes DIR/gates.json; with `gates: true` this comes before every study.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, Flag, ProgressDisplay, command
from dast_jax.cli.study_schema import StudySchema

__all__ = ["main"]

ARGUMENTS = Arguments(
    "compare",
    "Run the methods x seeds of a study and compare them: accuracy, work, paired differences.\n"
    "Run the same command again to resume a study that was stopped.",
    StudySchema(),
    Flag("--quick", switch=True, help="the shorter study of the section `quick`"),
    Flag("--gates", switch=True, help="only measure the gates: whether this study can tell methods apart"),
    Flag("--out", help="folder of the study (default: runs/NAME)"),
    example="--config quickstart --quick",
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, write and print the comparison. Returns the exit code: 3 when a run diverged."""
    args, study = ARGUMENTS.parse(argv)
    from dast_jax.errors import DivergedError
    from dast_jax.reporting.study_tables import print_comparison, print_gates
    from dast_jax.store.comparison_results import Comparison
    from dast_jax.store.typed_json import read_result
    from dast_jax.study.files import write_comparison
    from dast_jax.study.runner import run_gates, run_study

    if args.quick:
        study = study.shortened()
    out = Path(args.out or Path("runs") / study.options.name)
    if args.gates or study.options.gates:
        with ProgressDisplay() as progress:
            gates = run_gates(study, out, on_progress=progress)
        print_gates(gates)
        print(f"gates: {out / 'gates.json'}")
    if args.gates:
        return 0
    with ProgressDisplay() as progress:
        diverged = run_study(
            study,
            out,
            after_each=lambda diverged: write_comparison(study, out, diverged),
            on_progress=progress,
        )
    print_comparison(read_result(Comparison, out / "comparison.json"))
    print(f"comparison: {out / 'comparison.json'} and {out / 'comparison.html'}")
    return DivergedError.exit_code if diverged else 0


if __name__ == "__main__":
    sys.exit(main())
