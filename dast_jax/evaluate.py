"""`python -m dast_jax.evaluate --model … --data … [--out metrics.json]`: a model's accuracy on a data set.

With `--run DIR [round=N]` a run's policy is evaluated, with the run's own prompts and limits: on each of its
evaluation sets, or on the one or the other data that `--data` names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dast_jax.cli import Arguments, Flag, ProgressDisplay, command, output_path
from dast_jax.errors import UserError
from dast_jax.inference.options import EvaluateOptions

__all__ = ["main"]

ARGUMENTS = Arguments(
    "evaluate",
    "Evaluate a model on a data set, or a run's policy on the run's sets: greedy pass@1;\n"
    "with evaluation.trials > 1, avg@k as the accuracy, pass@k and majority@k.",
    EvaluateOptions,
    Flag("--run", help="run directory: evaluate its policy, as the run does", config_below=True),
    Flag("--model", key="model.path", help="Hugging Face folder, .gguf file or hub model"),
    Flag("--data", key="data.train", help="queries: file, asset:NAME or hub id; with --run, or a set of it"),
    Flag("--out", help="write the metrics to this JSON file; of several sets to one for each"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, write and print the metrics. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    out = output_path(args.out) if args.out else None
    if args.run and args.model:
        raise UserError("--model: is that of the run; give --run or --model")
    if not args.run and options.round != "last":
        raise UserError("round: is that of a run; name the run with --run")
    from dast_jax.reporting.run_tables import print_metrics
    from dast_jax.store.typed_json import write_result

    with ProgressDisplay() as progress:
        if args.run:
            from dast_jax.loop.evaluate_run import evaluate_run

            found = evaluate_run(Path(args.run), options, args.data, on_progress=progress)
        else:
            from dast_jax.inference.evaluate_model import evaluate_model

            found = {"": evaluate_model(options, on_progress=progress)}
    for name, metrics in found.items():
        if out:
            alone = len(found) == 1
            write_result(out if alone else out.with_name(f"{out.stem}-{name}{out.suffix}"), metrics)
        print_metrics(metrics, name=name)


if __name__ == "__main__":
    sys.exit(main())
