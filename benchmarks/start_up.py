"""What a command costs before it is useful: `python -m benchmarks.start_up`.

Time to the first token: `dast_jax.sample` with one prompt and one new token on the embedded model, as a
process of its own from its start to its end, first with an empty folder of compiled programs, then with the
programs in it (`--repeat` times; the median counts). Compilation: the training steps of SFT and of DPO for
the model of 5 million weights, without that folder. CPU seconds, and of the first token wall seconds too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_name

__all__ = ["main"]


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3, help="runs with compiled programs at hand")
    parser.add_argument("--only", choices=("sample", "compile"), help="one of the two measurements")
    args = parser.parse_args(argv)
    result: dict[str, Any] = {"benchmark": "start_up"}
    if args.only != "compile":
        cold, *warm = _first_tokens(args.repeat)
        cpu, wall = (statistics.median(column) for column in zip(*warm, strict=True))
        print(f"first token: {cold[0]:.1f} CPU s without compiled programs, {cpu:.1f} with them")
        result |= {"cold_cpu_s": cold[0], "first_token_cpu_s": cpu, "first_token_wall_s": wall}
    if args.only != "sample":
        sft, dpo = _compilation("sft"), _compilation("dpo")
        print(f"compilation of a step: SFT {sft:.1f} CPU s, DPO {dpo:.1f}")
        result |= {"compile_sft_cpu_s": sft, "compile_dpo_cpu_s": dpo, "compile_ratio": dpo / sft}
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}
    print(json.dumps(rounded | {"machine": machine_name()}))


def _first_tokens(repeat: int) -> list[tuple[float, float]]:
    """Return the CPU and wall seconds of each run, of which the first has to compile."""
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = Path(folder) / "prompts.jsonl", Path(folder) / "out.jsonl"
        prompts.write_text(json.dumps({"prompt": "Q: 12 + 30 = ?\nA:"}) + "\n")
        command = [sys.executable, "-m", "dast_jax.sample", "--model", "asset:base_model"]
        command += ["--data", str(prompts), "--out", str(out), "sampling.max_new_tokens=1"]
        variables = {
            "XDG_CACHE_HOME": f"{folder}/cache",
            "JAX_PLATFORMS": "cpu",
            "TOKENIZERS_PARALLELISM": "false",
        }
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | variables

        def run() -> None:
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

        return [_cost(run) for _ in range(1 + repeat)]


def _cost(run: Callable[[], None]) -> tuple[float, float]:
    """Return the CPU seconds of the children and the wall seconds that `run` takes."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, begin = cpu(), time.perf_counter()
    run()
    return cpu() - before, time.perf_counter() - begin


def _compilation(work: str) -> float:
    """Return the CPU seconds that a fresh process compiles one training step for."""
    code = f"from benchmarks.start_up import compile_step; print(compile_step({work!r}))"
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.splitlines()[-1])


def compile_step(work: str) -> float:
    """Return the CPU seconds of lowering and compiling a step on 8 rows of 512 tokens."""
    import jax
    import numpy as np

    from benchmarks.models import model_folder
    from dast_jax.models.hf import open_folder
    from dast_jax.models.load import abstract_model
    from dast_jax.training.options import TrainingOptions
    from dast_jax.training.preference import preference_objective
    from dast_jax.training.step import SFTObjective, batch_shapes, init_optimizer, make_train_step

    graphdef, params = abstract_model(open_folder(model_folder("5m")).config)
    options = TrainingOptions(batch_size=8, sequence_length=512, preference_loss="sigmoid")
    pairs = work == "dpo"
    objective = preference_objective(options) if pairs else SFTObjective(head_chunk=options.head_chunk)
    state = jax.eval_shape(lambda p: init_optimizer(options, p), params)
    step: Any = make_train_step(graphdef, options, None, objective)
    begin = time.process_time()
    batch = batch_shapes(options, None, pairs=pairs)
    step.lower(params, state, batch, jax.ShapeDtypeStruct((), np.float32)).compile()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
