"""`python -m dast_jax.evaluate --model … --data … [--out metrics.json]`: a model's accuracy on a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.config import EvaluationOptions
from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.sampling.options import SamplingOptions
from dast_jax.verifiers.options import VerifierOptions

if TYPE_CHECKING:
    from dast_jax.store.results import Metrics

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


def evaluate_model(options: EvaluateOptions) -> Metrics:
    """Sample zero-shot answers to `options.data.train`, verify them, and return the accuracy and counts.

    Raises `UserError` for a model or data that cannot be read.
    """
    from dast_jax.assets import resolve_path
    from dast_jax.data.prompts import PromptBuilder
    from dast_jax.data.sources import load_queries
    from dast_jax.inference.evaluation import evaluate, summarize
    from dast_jax.loop.problems import fitting_queries
    from dast_jax.models.load import load_model
    from dast_jax.models.sharding import make_mesh
    from dast_jax.records import StageKey
    from dast_jax.runtime.progress import stage
    from dast_jax.sampling.engine import Engine
    from dast_jax.store.results import Metrics
    from dast_jax.verifiers import Verifier

    queries = load_queries(options.data.train, options=options.data)
    mesh = make_mesh(options.mesh)
    model = options.model
    loaded = load_model(
        resolve_path(model.path), dtype=model.dtype, compute_dtype=model.compute_dtype, mesh=mesh
    )
    sampling = options.evaluation.sampling(options.sampling)
    engine = Engine(loaded.graphdef, loaded.params, tokenizer=loaded.tokenizer, options=sampling, mesh=mesh)
    prompts = PromptBuilder(loaded.tokenizer, options.prompts, engine.max_prompt_length)
    queries, skipped = fitting_queries(queries, prompts.fits, options.data.train)
    with Verifier(options.verifier) as verifier, stage("evaluating", total=len(queries)) as bar:
        outcome = evaluate(
            engine,
            queries,
            [prompts.build(query.question, ()) for query in queries],
            verifier=verifier,
            key=StageKey(options.seed, 0),
            trials=options.evaluation.trials,
            on_progress=lambda done, total: bar.update(done, total=total),
        )
    evaluation = summarize(outcome, [query.level for query in queries])
    return Metrics(model=model.path, data=options.data.train, skipped=tuple(skipped), **vars(evaluation))


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
    from dast_jax.store.typed_json import write_result

    out = output_path(args.out) if args.out else None
    metrics = evaluate_model(options)
    if out:
        write_result(out, metrics)
    print_metrics(metrics)
    return None


if __name__ == "__main__":
    sys.exit(main())
