"""Shapes of the sampler chosen from model, memory and device, where the options leave them open.

| option | chosen value |
|---|---|
| `prompt_buckets` | three lengths an octave up to 1,024 tokens, or what the model's positions leave |
| `tick_steps` | the power of two nearest √(max_new_tokens / 2), from 4 to 64 |
| `prefill_tokens` | 512 on a CPU, 8,192 elsewhere |
| `slots` | 64 on a CPU, 256 elsewhere, halved until slots and pool take 2/5 of the memory; at least 8 |

Ticks: a response of n tokens idles for half a tick at its end, and pays n / tick times the price of a tick,
which is about one step; with n a quarter of `max_new_tokens`, √(2 n) is cheapest. Buckets are a function of
the model alone, never of memory: which prompts fit must not depend on the machine.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax
from jax.sharding import Mesh

from dast_jax.metrics.devices import peak_of
from dast_jax.models.llama import LlamaConfig
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.state import state_bytes

__all__ = ["available_memory", "choose_shapes", "device_memory"]

_BUCKETS = (32, 64, 96, 128, 192, 256, 320, 384, 512, 640, 768, 1024)
_MEMORY_SHARE = 0.4


def choose_shapes(
    options: SamplingOptions,
    config: LlamaConfig,
    dtype: Any,
    *,
    cpu: bool,
    memory: int | None,
    shards: int = 1,
) -> SamplingOptions:
    """Return `options` with a number for each shape that they leave open; what is set stays.

    `cpu` is whether the devices are CPUs, `memory` the bytes of all of them, or None where that is not known.
    Slots are a multiple of the `shards` into which a mesh splits them.
    """
    chosen: dict[str, Any] = {}
    if not options.prompt_buckets:
        longest = max(1, min(_BUCKETS[-1], config.max_position_embeddings - options.max_new_tokens))
        chosen["prompt_buckets"] = (*(b for b in _BUCKETS if b < longest), longest)
    if not options.tick_steps:
        power = round(math.log2(math.sqrt(options.max_new_tokens / 2)))
        chosen["tick_steps"] = min(64, max(4, 2**power))
    if not options.prefill_batch and not options.prefill_tokens:
        chosen["prefill_tokens"] = 512 if cpu else 8192
    found = dataclasses.replace(options, **chosen)
    if options.slots:
        return found
    slots = 64 if cpu else 256
    while True:
        found = dataclasses.replace(found, slots=-(-slots // shards) * shards)
        fits = memory is None or state_bytes(found, config, dtype, shards) <= _MEMORY_SHARE * memory
        if fits or slots <= 8:
            return found
        slots //= 2


def available_memory(mesh: Mesh | None) -> int | None:
    """Return the bytes of memory of the devices, a CPU's being the machine's; None where that is not known.

    Devices of another process, or that are compiled for and not there, have what is published of their kind.
    """
    devices = jax.devices()[:1] if mesh is None else list(mesh.devices.flatten())
    if devices[0].platform == "cpu":
        return device_memory(devices[0]) or None
    limits = [device_memory(device) for device in devices]
    return sum(limits) if all(limits) else None


def device_memory(device: Any) -> int:
    """Return the bytes that programs may use of a device, of a CPU the machine's; 0 where it is not known."""
    if device.platform == "cpu":
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return 0
    try:
        return int((device.memory_stats() or {}).get("bytes_limit", 0))
    except jax.errors.JaxRuntimeError:  # another process's, or one that is compiled for and not there
        peak = peak_of(device.device_kind)
        return 0 if peak is None else int(peak.memory)
