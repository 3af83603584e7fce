"""`python -m dast_jax.evaluate --model … --data … [--out metrics.json]`: a model's accuracy on a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dast_jax.cli import Arguments, Flag, ProgressDisplay, command, output_path
from dast_jax.inference.options import EvaluateOptions

__all__ = ["main"]

ARGUMENTS = Arguments(
    "evaluate",
    "Evaluate a model on a data set: greedy pass@1; with evaluation.trials > 1, avg@k as the "
    "accuracy, pass@k and majority@k.",
    EvaluateOptions,
    Flag("--model", key="model.path", help="Hugging Face folder, .gguf file or hub model"),
    Flag("--data", key="data.train", help="queries: file, asset:NAME or hub id"),
    Flag("--out", help="write the metrics to this JSON file"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, write and print the metrics. Returns the exit code."""
    args, options = ARGUMENTS.parse(argv)
    out = output_path(args.out) if args.out else None
    from dast_jax.inference.evaluate_model import evaluate_model
    from dast_jax.reporting.run_tables import print_metrics
    from dast_jax.store.typed_json import write_result

    with ProgressDisplay() as progress:
        metrics = evaluate_model(options, on_progress=progress)
    if out:
        write_result(out, metrics)
    print_metrics(metrics)


if __name__ == "__main__":
    sys.exit(main())
