"""Speeds of stages against hand-counted ones."""

from types import SimpleNamespace

import pytest

from dast_jax.metrics.devices import peak_of
from dast_jax.metrics.flops import Flops
from dast_jax.metrics.speed import Speed, sampling_speed, training_speed
from dast_jax.records import SamplingStats


def test_sampling_by_hand():
    work = SamplingStats(
        prompt_tokens=75, padded_prompt_tokens=100, generated_tokens=80, slot_steps=160, used_slot_steps=40,
        decode_steps=20, seconds=4.0, device_seconds=3.0,
    )  # fmt: skip
    two = peak_of("NVIDIA H100 80GB HBM3", 2)
    assert two is not None
    speed = sampling_speed(work, Flops(useful=4 * 989.4e12), 1e9, two)
    assert speed == Speed(
        tokens_per_second=20.0, padding=0.25, idle_slots=0.75, host_wait=0.25, mfu=pytest.approx(0.5),
        bandwidth_share=pytest.approx(20e9 / 4 / 6.7e12),
    )  # fmt: skip


def test_training_by_hand_and_without_a_known_peak():
    work = SimpleNamespace(tokens=90, padded_tokens=120)
    speed = training_speed(work, 3.0, 2.4, Flops(useful=1.0), peak_of("cpu"))
    assert (speed.tokens_per_second, speed.padding) == (30.0, 0.25)
    assert speed.host_wait == pytest.approx(0.2)
    assert (speed.mfu, speed.idle_slots, speed.bandwidth_share) == (None, None, None)


def test_nothing_run_has_no_speed():
    assert sampling_speed(SamplingStats(replayed=3), Flops(), 1e9, peak_of("TPU v5e")) == Speed()
