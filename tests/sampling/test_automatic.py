"""Shapes that are chosen: what the formulas say, what is set, and what must not depend on the machine."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import pytest
import tiny_llama

from dast_jax.models.hf import config_from_dict
from dast_jax.sampling.automatic import available_memory, choose_shapes
from dast_jax.sampling.options import AUTOMATIC, SamplingOptions
from dast_jax.sampling.state import state_bytes

TINY = config_from_dict(tiny_llama.CONFIG, "tiny")
LARGE = dataclasses.replace(
    TINY, num_layers=32, num_heads=32, num_kv_heads=8, head_dim=128, max_position_embeddings=8192
)


def chosen(config=LARGE, *, cpu=False, memory=None, **options):
    return choose_shapes(SamplingOptions(**options), config, jnp.bfloat16, cpu=cpu, memory=memory)


def test_everything_open_is_chosen_and_what_is_set_stays():
    found = chosen()
    assert all(getattr(found, name) for name in AUTOMATIC)
    assert choose_shapes(found, TINY, jnp.float32, cpu=True, memory=1) == found
    shapes = {"slots": 5, "tick_steps": 3, "prompt_buckets": (7, 9), "prefill_batch": 2}
    found = chosen(**shapes)
    assert {name: getattr(found, name) for name in shapes} == shapes
    assert found.prefill_rows(9) == 2


@pytest.mark.parametrize(("new_tokens", "ticks"), [(1, 4), (128, 8), (512, 16), (2048, 32), (100_000, 64)])
def test_a_tick_follows_the_length_of_responses(new_tokens, ticks):
    config = dataclasses.replace(LARGE, max_position_embeddings=200_000)
    assert chosen(config, max_new_tokens=new_tokens).tick_steps == ticks


def test_slots_follow_memory_and_buckets_never_do():
    sizes = [chosen(memory=memory) for memory in (80 << 30, 16 << 30, 4 << 30, 1)]
    slots = [found.slots for found in sizes]
    assert slots == sorted(slots, reverse=True)
    assert len(set(slots)) > 2
    assert slots[-1] == 8
    assert len({found.prompt_buckets for found in sizes}) == 1
    for found, memory in zip(sizes[:2], (80 << 30, 16 << 30), strict=True):
        assert state_bytes(found, LARGE, jnp.bfloat16) <= 0.4 * memory
        doubled = dataclasses.replace(found, slots=2 * found.slots)
        assert found.slots == 256 or state_bytes(doubled, LARGE, jnp.bfloat16) > 0.4 * memory


def test_buckets_fit_the_models_positions():
    assert chosen().prompt_buckets[-1] == 1024
    assert chosen(TINY, max_new_tokens=100).prompt_buckets[-1] == 412
    assert chosen(TINY, max_new_tokens=500).prompt_buckets == (12,)
    buckets = chosen().prompt_buckets
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(buckets[1:]))


def test_a_call_prefills_fewer_long_prompts_than_short_ones():
    found = chosen(cpu=True)
    assert [found.prefill_rows(bucket) for bucket in (32, 128, 1024)] == [16, 4, 1]


def test_this_machine_says_how_much_memory_it_has():
    assert 1e8 < available_memory(None) < 1e14
