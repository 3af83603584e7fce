"""How sampling's cost grows with the number of queries: `python -m benchmarks.growth [--queries 64 1024]`.

Zero-shot prompts of the embedded model, 4 trials each. One line per number, with CPU seconds per query; the
last line is one JSON object whose `ratio` is the cost per query of the fewest over that of the most: 1 is
linear.
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.machine import machine_name

__all__ = ["main"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--queries", type=int, nargs="+", default=[64, 1024, 10_240])
    args = parser.parse_args()

    from dast_jax.assets import resolve_path
    from dast_jax.models.load import load_model
    from dast_jax.records import StageKey
    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.options import SamplingOptions
    from dast_jax.sampling.scheduler import StaticRequests, sample

    model = load_model(resolve_path("asset:base_model"))
    options = SamplingOptions(max_new_tokens=32, prompt_buckets=(16,))
    engine = Engine(model.graphdef, model.params, tokenizer=model.tokenizer, options=options)
    texts = [f"{i % 97}+{i % 89}=?\nA:" for i in range(max(args.queries))]
    prompts = [tuple(ids) for ids in model.tokenizer.encode_batch(texts)]
    sample(engine, StaticRequests(prompts[:64], trials=4), key=StageKey(0, 0))  # compiles
    costs = []
    for count in sorted(args.queries):
        cpu = time.process_time()
        stats = sample(engine, StaticRequests(prompts[:count], trials=4), key=StageKey(0, 1))
        costs.append((time.process_time() - cpu) / count)
        print(f"{count:,} queries: {1e3 * costs[-1]:.2f} CPU ms a query, {stats.generated_tokens:,} tokens")
    result = {"benchmark": "growth", "ratio": round(costs[0] / costs[-1], 3), "unit": "cost per query"}
    print(json.dumps(result | {"queries": sorted(args.queries), "machine": machine_name()}))


if __name__ == "__main__":
    main()
