"""What a decode step costs beside what it must: `python -m benchmarks.decode_step [--model embedded|5m]`.

All slots hold responses to W1's prompts, 8 to a prompt, with the shapes that are chosen for a user. Prints
the CPU milliseconds of a step on one core, and beside them: the bytes that a step has to read (the weights
once, each prompt's keys and values once for the slots that share it, each slot's own), over the bandwidth of
a copy on this machine; its products, over the rate of a large matrix product; and the share of choosing the
tokens (temperature, top-p, draw, log-probability, entropy). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import machine_name

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="5m", choices=("embedded", "5m"))
    parser.add_argument("--ticks", type=int, default=6, help="ticks measured; the least time counts")
    parser.add_argument("--slots", type=int, default=0, help="0: as chosen")
    args = parser.parse_args(argv)
    machine = machine_name(1)
    _use_one_core()
    step = _Step(args.model, args.slots)
    seconds, context = step.measure(args.ticks)
    reads, flops = step.needs(context)
    copy, product, choice = _copy_rate(), _product_rate(), step.choice()
    result = {
        "benchmark": "decode_step",
        "model": args.model,
        "slots": step.slots,
        "step_cpu_ms": round(1e3 * seconds, 2),
        "bandwidth_share": round(reads / seconds / copy, 3),
        "product_share": round(flops / seconds / product, 3),
        "choice_share": round(choice / seconds, 3),
        "copy_gb_s": round(copy / 1e9, 1),
        "product_gflop_s": round(product / 1e9, 1),
        "machine": machine,
    }
    print(
        f"a step of {step.slots} slots: {1e3 * seconds:.2f} CPU ms; has to read {reads / 1e6:.1f} MB "
        f"({1e3 * reads / copy:.2f} ms at the rate of a copy) and to multiply {flops / 1e9:.2f} GFLOP "
        f"({1e3 * flops / product:.2f} ms); choosing tokens takes {1e3 * choice:.2f} ms"
    )
    print(json.dumps(result))


def _use_one_core() -> None:
    """Keep this process to one core; before jax is imported."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"


class _Step:
    """An engine whose slots are all in use."""

    def __init__(self, model: str, slots: int):
        import jax

        from benchmarks.models import model_folder
        from benchmarks.sides.ours import Sampling
        from benchmarks.work import sampling_work
        from dast_jax.sampling.engine import Engine
        from dast_jax.sampling.options import SamplingOptions

        work = sampling_work(model, model_folder(model))
        side = Sampling(work)
        options = SamplingOptions(
            slots=slots,
            max_new_tokens=work.max_new,
            min_new_tokens=work.max_new,  # no response ends while the ticks are measured
            temperature=work.temperature,
            top_p=work.top_p,
        )
        self.engine = Engine(side.graphdef, side.params, tokenizer=_NoText(), options=options)
        self.slots = self.engine.options.slots
        self._prompts = work.prompts[: -(-self.slots // work.trials)]
        self._trials, self._config = work.trials, side.config
        self._weights = sum(leaf.size for leaf in jax.tree.leaves(side.params))

    def measure(self, ticks: int) -> tuple[float, int]:
        """Return the least CPU seconds of a step, and the tokens of a slot's own behind it."""
        import numpy as np

        from dast_jax.records import StageKey

        engine, steps = self.engine, self.engine.options.tick_steps
        engine.start(StageKey(0, 0))
        for row, prompt in enumerate(self._prompts):
            engine.prefill(engine.bucket(len(prompt)), [prompt], [row])
        places = range(self.slots)
        queries = [slot // self._trials for slot in places]
        engine.insert(places, queries, queries, [slot % self._trials for slot in places])
        live = np.ones(self.slots, bool)
        engine.decode(live)  # compiles
        times = []
        for _ in range(min(ticks, (engine.options.max_new_tokens - 1) // steps - 1)):
            begin = time.process_time()
            engine.decode(live)
            times.append((time.process_time() - begin) / steps)
        least = min(range(len(times)), key=times.__getitem__)
        return times[least], (least + 1) * steps + steps // 2

    def needs(self, own: int) -> tuple[float, float]:
        """Return the bytes that a step has to read, and the FLOPs of its products."""
        c = self._config
        table = c.vocab_size * c.hidden_size  # unless tied, one row of it is read per slot
        weights = self._weights - (0 if c.tie_word_embeddings else table)
        position = 2 * c.num_layers * c.num_kv_heads * c.head_dim
        prompts = sum(map(len, self._prompts))
        reads = 4 * (weights + position * (prompts + self.slots * own))
        attended = self._trials * prompts + self.slots * own
        products = self.slots * weights + 2 * c.num_layers * c.num_heads * c.head_dim * attended
        return reads, 2.0 * products

    def choice(self) -> float:
        """Return the CPU seconds of choosing a token for every slot."""
        import jax
        import jax.numpy as jnp

        from dast_jax.sampling.filters import choose

        o, steps = self.engine.options, 16
        keys = jax.random.split(jax.random.key(0), self.slots)
        # As the logits of the model: a standard deviation of about 2.5.
        logits = 2.5 * jax.random.normal(jax.random.key(1), (self.slots, self._config.vocab_size))
        temperature = jnp.full(self.slots, o.temperature)

        @jax.jit
        def run(logits: Any, keys: Any, temperature: Any) -> Any:
            def one(i: Any, logits: Any) -> Any:
                own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
                found = choose(logits, own, temperature=temperature, top_k=o.top_k, top_p=o.top_p)
                return logits + 1e-6 * found.logprob[:, None]

            return jax.lax.fori_loop(0, steps, one, logits)

        return _least(lambda: run(logits, keys, temperature).block_until_ready()) / steps


class _NoText:
    """A tokenizer for text that is never read."""

    eos_ids = (1,)

    def decode(self, ids: Any, skip_special: bool = True) -> str:
        return ""


def _least(run: Callable[[], object], repeat: int = 5) -> float:
    """Return the least CPU seconds of a run, after a first one that compiles."""
    run()
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def _copy_rate() -> float:
    """Return the bytes per second of a copy of 128 MB, read and written ones."""
    import numpy as np

    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / _least(lambda: np.copyto(target, source))


def _product_rate() -> float:
    """Return the FLOP/s of a product of 1,024 × 1,024 matrices."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((1024, 1024))
    product = jax.jit(lambda x: jnp.dot(x, x, precision="highest"))
    return 2 * 1024**3 / _least(lambda: product(x).block_until_ready())


if __name__ == "__main__":
    main()
