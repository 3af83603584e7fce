"""Generated tokens per second of the sampler with a million-parameter Llama of random weights.

    python benchmarks/sampling_throughput.py [--slots 64] [--prompt 64 256] [--kv-heads 4] [--repeat 3]

One line per prompt length: tokens/s by the wall clock, and per second of CPU time (all threads; the number
to compare where the machine is shared), after a first run that compiles. Responses end after 48 tokens on
average.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence


class _NoText:
    """A tokenizer for text that is never read."""

    eos_ids = (1,)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--prompt", type=int, nargs="+", default=[64, 256], help="prompt lengths")
    parser.add_argument("--prompts", type=int, default=64, help="number of prompts")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()

    import numpy as np
    from flax import nnx

    from dast_jax.models.llama import Llama, LlamaConfig
    from dast_jax.records import StageKey
    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.options import SamplingOptions
    from dast_jax.sampling.scheduler import StaticRequests, sample

    config = LlamaConfig(
        vocab_size=96,
        hidden_size=128,
        intermediate_size=352,
        num_layers=4,
        num_heads=4,
        num_kv_heads=args.kv_heads,
        head_dim=32,
        eos_token_ids=(1,),
    )
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    for length in args.prompt:
        options = SamplingOptions(slots=args.slots, prompt_buckets=(length,), max_new_tokens=64)
        engine = Engine(graphdef, params, tokenizer=_NoText(), options=options)
        prompts = [tuple(row) for row in rng.integers(2, 96, (args.prompts, length)).tolist()]
        rates = []
        for repeat in range(args.repeat + 1):
            source = StaticRequests(prompts, trials=args.trials)
            cpu, wall = time.process_time(), time.perf_counter()
            stats = sample(engine, source, key=StageKey(0, repeat))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if repeat:  # the first one compiles
                rates.append((stats.generated_tokens / wall, stats.generated_tokens / cpu))
        wall_rate, cpu_rate = (max(column) for column in zip(*rates, strict=True))
        used = stats.used_slot_steps / stats.slot_steps
        print(
            f"prompts of {length}: {wall_rate:,.0f} tokens/s, {cpu_rate:,.0f} per CPU second "
            f"(best of {args.repeat}); {stats.generated_tokens:,} tokens, {stats.prompt_tokens:,} of prompts "
            f"in {stats.prefill_calls} calls, {used:.0%} of slot steps used, "
            f"{engine.memory_bytes() / 1e6:.0f} MB of cache",
            flush=True,
        )


if __name__ == "__main__":
    main()
