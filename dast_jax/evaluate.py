"""`python -m dast_jax.evaluate --model … --data … [--out metrics.json]`: a model's accuracy on a data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.config import EvaluationOptions
from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.sampling.options import SamplingOptions
from dast_jax.verifiers.functions import check_config_task
from dast_jax.verifiers.options import VerifierOptions

__all__ = ["EvaluateOptions", "evaluate_model", "main"]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Keys of the face; `--model` sets model.path and `--data` data.train."""

    model: ModelOptions
    data: DataOptions
    mesh: MeshOptions
    prompts: PromptOptions
    sampling: SamplingOptions
    evaluation: EvaluationOptions
    verifier: VerifierOptions
    seed: int = opt(0, "seed of the sampling noise", min=0)

    def __post_init__(self) -> None:
        check_config_task(self.data.task, self.verifier.functions)


def evaluate_model(options: EvaluateOptions) -> dict[str, Any]:
    """Sample zero-shot answers to `options.data.train`, verify them, return the EVAL entry (docs/schemas.md).

    Raises `UserError` for a model or data that cannot be read.
    """
    from dast_jax.assets import resolve_path
    from dast_jax.cli.progress_display import ProgressDisplay
    from dast_jax.data.prompts import PromptBuilder
    from dast_jax.data.sources import load_queries
    from dast_jax.inference.evaluation import evaluate, summarise
    from dast_jax.loop.problems import fitting_queries
    from dast_jax.models.load import load_model
    from dast_jax.models.sharding import make_mesh
    from dast_jax.records import StageKey
    from dast_jax.runtime.progress import progress_of
    from dast_jax.sampling.engine import Engine
    from dast_jax.verifiers import Verifier

    queries = load_queries(options.data.train, options=options.data, functions=options.verifier.functions)
    mesh = make_mesh(options.mesh)
    model = options.model
    loaded = load_model(
        resolve_path(model.path), dtype=model.dtype, compute_dtype=model.compute_dtype, mesh=mesh
    )
    sampling = options.evaluation.sampling(options.sampling)
    engine = Engine(loaded.graphdef, loaded.params, tokenizer=loaded.tokenizer, options=sampling, mesh=mesh)
    prompts = PromptBuilder(loaded.tokenizer, options.prompts, engine.max_prompt_length)
    queries, skipped = fitting_queries(queries, prompts.fits, options.data.train)
    with (
        Verifier(options.verifier, task=options.data.task) as verifier,
        progress_of(ProgressDisplay(), "evaluating", total=len(queries)) as update,
    ):
        outcome = evaluate(
            engine,
            queries,
            [prompts.build(query.question, ()) for query in queries],
            verifier=verifier,
            key=StageKey(options.seed, 0),
            trials=options.evaluation.trials,
            on_progress=lambda done, total: update(done, total=total),
        )
    entry = summarise(outcome, [query.level for query in queries])
    return {
        "schema": "dast_jax.store.metrics_log/1",
        "model": model.path,
        "data": options.data.train,
        "skipped": list(skipped),
        **entry,
    }


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Parse, evaluate, print and write. Returns the exit code."""
    args, options = parse_arguments(
        "evaluate",
        "Evaluate a model on a data set: greedy pass@1; with evaluation.trials > 1, avg@k as the "
        "accuracy, pass@k and majority@k.",
        EvaluateOptions,
        argv,
        Flag("--model", key="model.path", help="Hugging Face folder or .gguf file"),
        Flag("--data", key="data.train", help="queries: file, asset:NAME or hub id"),
        Flag("--out", help="write the metrics to this JSON file"),
    )
    from dast_jax.reporting.run_tables import print_metrics

    out = output_path(args.out) if args.out else None
    metrics = evaluate_model(options)
    if out:
        out.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    print_metrics(metrics)
    return None


if __name__ == "__main__":
    sys.exit(main())
