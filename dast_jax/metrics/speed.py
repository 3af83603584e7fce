"""How fast a stage was: padding, idle slots, waiting, and how much of the devices was used."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.metrics.devices import Peak
from dast_jax.metrics.flops import Flops, TokenWork
from dast_jax.records import SamplingStats

__all__ = ["DeviceUse", "Speed", "sampling_speed", "training_speed"]


@dataclass(frozen=True, kw_only=True)
class DeviceUse:
    """What a stage took of the devices besides their time.

    `compile_seconds`: compiling programs, or reading them from the cache, in any thread; `memory`: the
    largest number of bytes in use on a device so far, None where it does not say.
    """

    compile_seconds: float | None = None
    memory: float | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of one stage, compilation included; shares are of 1, null where nothing was run."""

    tokens_per_second: float | None = None
    """of sampling, tokens of the responses; of training, input tokens without padding"""
    padding: float | None = None
    """share of the positions of prompts (of training rows) that were computed for no token"""
    idle_slots: float | None = None
    """share of decode steps × slots that gave no token of a response; null for training"""
    host_wait: float | None = None
    """share of the time in which the host ran no compiled step: it scheduled, verified, read, wrote"""
    mfu: float | None = None
    """useful FLOPs per second over the published bfloat16 peak of the devices; null where none is known"""
    bandwidth_share: float | None = None
    """share of the devices' published memory bandwidth that reading the weights once a decode step takes;
    null for training, and where no bandwidth is known"""
    compile_seconds: float | None = None
    """seconds of compiling programs during the stage, also for later ones, or of reading them from a cache"""
    device_memory: float | None = None
    """the largest number of bytes in use on one device so far; null where devices do not say (CPUs)"""


def sampling_speed(
    work: SamplingStats,
    flops: Flops,
    weight_bytes: float,
    peak: Peak | None,
    use: DeviceUse = DeviceUse(),  # frozen
) -> Speed:
    """Return the speed of sampling; `peak` is that of all devices together, `weight_bytes` the model's."""
    return Speed(
        tokens_per_second=_over(work.generated_tokens, work.seconds),
        padding=_rest(work.prompt_tokens, work.padded_prompt_tokens),
        idle_slots=_rest(work.used_slot_steps, work.slot_steps),
        host_wait=_rest(work.device_seconds, work.seconds),
        mfu=None if peak is None else _over(flops.useful / peak.flops, work.seconds),
        bandwidth_share=None
        if peak is None
        else _over(weight_bytes * work.decode_steps / peak.bandwidth, work.seconds),
        compile_seconds=use.compile_seconds,
        device_memory=use.memory,
    )


def training_speed(
    work: TokenWork,
    seconds: float,
    device_seconds: float,
    flops: Flops,
    peak: Peak | None,
    use: DeviceUse = DeviceUse(),  # frozen
) -> Speed:
    """Return the speed of training steps, `seconds` in all, `device_seconds` of them in compiled steps."""
    return Speed(
        tokens_per_second=_over(work.tokens, seconds),
        padding=_rest(work.tokens, work.padded_tokens),
        host_wait=_rest(device_seconds, seconds),
        mfu=None if peak is None else _over(flops.useful / peak.flops, seconds),
        compile_seconds=use.compile_seconds,
        device_memory=use.memory,
    )


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _rest(part: float, whole: float) -> float | None:
    """Return the share of `whole` that `part` leaves."""
    return max(0.0, 1.0 - part / whole) if whole > 0 else None
