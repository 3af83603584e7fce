"""Memory and work of Llama-3.1 on TPU slices, as compiled: `python -m benchmarks.tpu_aot [--only NAME …]`.

Needs no TPU: the TPU compiler, libtpu, comes with `pip install 'dast_jax[plan]'`. Compiles, without running
them, the SFT step of the 8B model on each slice in several layouts, decoding of 64 slots, and with
`--large` the SFT step of the 70B model on 64 chips. Prints a line for each, and ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from typing import Any

from dast_jax.config import build_config
from dast_jax.planning import find_target, model_shapes
from dast_jax.planning.plan import compile_program
from dast_jax.planning.programs import programs, run_shapes

SFT: dict[str, tuple[str, str, dict[str, int], int]] = {
    "v5p fsdp4": ("llama-3.1-8b", "v5p:2x2x1", {"fsdp": 4}, 4096),
    "v5p fsdp2 x tensor2": ("llama-3.1-8b", "v5p:2x2x1", {"fsdp": 2, "tensor": 2}, 4096),
    "v5p tensor4": ("llama-3.1-8b", "v5p:2x2x1", {"tensor": 4}, 4096),
    "v5p fsdp4, 8,192 tokens": ("llama-3.1-8b", "v5p:2x2x1", {"fsdp": 4}, 8192),
    "v6e fsdp8": ("llama-3.1-8b", "v6e:2x4", {"fsdp": 8}, 4096),
    "v6e fsdp4 x tensor2": ("llama-3.1-8b", "v6e:2x4", {"fsdp": 4, "tensor": 2}, 4096),
    "v5e fsdp16": ("llama-3.1-8b", "v5e:4x4", {"fsdp": 16}, 4096),
    "v5e fsdp4 x tensor4": ("llama-3.1-8b", "v5e:4x4", {"fsdp": 4, "tensor": 4}, 4096),
}
"""Name → model, slice, mesh, tokens of a row; one packed row for each part of the batch."""

DECODE: dict[str, tuple[str, str, dict[str, int], int]] = {
    "v5p decode tensor4": ("llama-3.1-8b", "v5p:2x2x1", {"tensor": 4}, 4096),
}
LARGE: dict[str, tuple[str, str, dict[str, int], int]] = {
    "v5p 70B fsdp16 x tensor4": ("llama-3.1-70b", "v5p:4x4x4", {"fsdp": 16, "tensor": 4}, 4096),
}


def measure(name: str, stage: str, case: tuple[str, str, dict[str, int], int]) -> dict[str, Any]:
    """Compile one program, print its line, and return its numbers."""
    model, chips, mesh, length = case
    rows = mesh.get("fsdp", 1)
    config = build_config(
        {
            "run": {"dir": "runs/x"},
            "model": {"path": model},
            "mesh": mesh,
            "data": {"train": "x"},
            "method": {"name": "dast"},
            "sampling": {
                "max_new_tokens": length // 2,
                "prompt_buckets": [length // 2],
                "slots": 64,
                "tick_steps": 16,
            },
            "training": {"batch_size": rows, "sequence_length": length},
        }
    )
    target = find_target(chips)
    shapes = run_shapes(config, model_shapes(model, None)[0], target)
    program = next(p for p in programs(shapes) if p.name == stage)
    begun = time.process_time()
    plan = compile_program(program, target)
    share, total = plan.cost.useful_share, plan.memory.total or 0.0
    limit = (target.memory or 0) / 2**30
    lines = (
        f"{name}: {total / 2**30:.1f} GiB of {limit:.1f}, by the formula {program.estimate / 2**30:.1f}",
        f"{plan.cost.flops / 1e12:.1f} TFLOP a chip, {100 * (share or 0):.0f} % of them useful",
        f"{plan.cost.memory_bytes / 1e9:.0f} GB through memory",
        f"{plan.cost.interconnect_bytes / 1e9:.1f} GB sent",
        f"{time.process_time() - begun:.0f} CPU seconds",
        *plan.notes,
    )
    print("; ".join(lines), flush=True)
    return {
        "peak": total,
        "fits": plan.fits,
        "formula": program.estimate,
        "flops": plan.cost.flops,
        "useful_share": share,
        "memory_bytes": plan.cost.memory_bytes,
        "interconnect_bytes": plan.cost.interconnect_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", help="cases whose names begin with one of these")
    parser.add_argument("--large", action="store_true", help="70B on 64 chips too")
    arguments = parser.parse_args()
    cases = [("sft", SFT), ("decode", DECODE), *([("sft", LARGE)] if arguments.large else [])]
    found = {
        name: measure(name, stage, case)
        for stage, group in cases
        for name, case in group.items()
        if not arguments.only or name.startswith(tuple(arguments.only))
    }
    result = {
        "benchmark": "tpu_aot",
        "programs": found,
        "unit": "peak bytes, FLOPs and bytes moved of one chip, as compiled",
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
