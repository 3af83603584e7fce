"""Training throughput of a small Llama on this machine: `python benchmarks/training_throughput.py`.

Prints tokens per second, useful (without padding) and processed, of whole optimizer steps on packed
rows of random examples, after compilation; and the share of the machine's float32 matmul rate reached.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dast_jax.data.packing import batches, pack
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.records import SFTExample
from dast_jax.training.options import TrainingOptions
from dast_jax.training.step import init_optimizer, make_train_step, put_batch


def matmul_rate() -> float:
    """FLOP/s of a large float32 product, the best of several."""
    x = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda x: jnp.dot(x, x, precision="highest"))
    product(x).block_until_ready()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product(x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=300)
    parser.add_argument("--rows", type=int, default=16, help="packed rows per step")
    parser.add_argument("--micro", type=int, default=0, help="rows per micro-batch (0: all)")
    parser.add_argument("--length", type=int, default=256, help="tokens per row")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()

    config = LlamaConfig(
        vocab_size=arguments.vocab,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.hidden * 11 // 4,
        num_layers=arguments.layers,
        num_heads=arguments.hidden // 32,
        num_kv_heads=arguments.hidden // 32,
        head_dim=32,
    )
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    size = sum(p.size for p in jax.tree.leaves(params))
    random = np.random.default_rng(0)
    lengths = random.integers(20, 60, (arguments.rows * arguments.length // 20, 2))
    draw = lambda n: tuple(random.integers(0, arguments.vocab, n).tolist())  # noqa: E731
    examples = [SFTExample(query=i, prompt=draw(p), response=draw(r)) for i, (p, r) in enumerate(lengths)]
    options = TrainingOptions(
        batch_size=arguments.rows, micro_batch_size=arguments.micro, sequence_length=arguments.length
    )
    rows = pack(examples, options.sequence_length)
    host = next(batches(rows, batch_size=options.batch_size, epochs=1, seed=0))
    useful, processed = int((host["segment_ids"] > 0).sum()), host["tokens"].size
    batch = put_batch(host, options)
    opt_state = init_optimizer(options, params)
    step = make_train_step(graphdef, options)
    seconds = []
    for _ in range(arguments.steps + 1):
        start = time.perf_counter()
        params, opt_state, metrics = step(params, opt_state, batch, np.float32(1e-4))
        metrics.loss.block_until_ready()
        seconds.append(time.perf_counter() - start)
    median, best = statistics.median(seconds[1:]), min(seconds[1:])
    attention = 12 * config.num_layers * config.hidden_size * arguments.length
    flops = processed * (6 * (size - config.vocab_size * config.hidden_size) + attention)
    peak = matmul_rate()
    print(f"{size:,} parameters, {arguments.rows} rows of {arguments.length}, {jax.devices()[0].device_kind}")
    print(f"first step, with compilation: {seconds[0]:.1f} s")
    print(f"step: median {median * 1e3:.0f} ms, best {best * 1e3:.0f} ms")
    print(f"tokens/s: {processed / median:,.0f} processed, {useful / median:,.0f} useful")
    print(f"best step at {flops / best / 1e9:.1f} GFLOP/s; a 2048 matmul at {peak / 1e9:.1f} GFLOP/s")


if __name__ == "__main__":
    main()
