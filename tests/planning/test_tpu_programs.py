"""Every program of a run compiles for TPUs that are not there, at a tiny shape."""

import dataclasses

import pytest

from dast_jax.config import build_config, load_config
from dast_jax.models.hf_config import config_from_dict
from dast_jax.planning import find_target, model_shapes
from dast_jax.planning.plan import compile_program
from dast_jax.planning.programs import programs, run_shapes

MODEL = config_from_dict(
    {
        "model_type": "llama", "vocab_size": 256, "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 1,
        "max_position_embeddings": 512,
    },
    "tiny",
)  # fmt: skip

CONFIG = {
    "run": {"dir": "runs/x", "rounds": 1},
    "model": {"path": "x/tiny"},
    "mesh": {"fsdp": 2, "tensor": 2, "sampling": {"data": 2, "tensor": 2}},
    "data": {"train": "x"},
    "method": {"name": "dpo"},
    "sampling": {
        "max_new_tokens": 32,
        "prompt_buckets": [64],
        "slots": 8,
        "tick_steps": 4,
        "prefill_batch": 4,
    },
    "training": {"batch_size": 4, "sequence_length": 64, "head_chunk": 16},
}
"""Rows of 64 tokens do not take the splash kernel, whose compilation `test_attention.py` has."""

STAGES = ("prefill", "decode", "sft", "score", "preference")


@pytest.fixture(scope="module")
def tpu():
    return pytest.importorskip(
        "libtpu", reason="libtpu, the TPU compiler, is not installed (pip install 'dast_jax[plan]')"
    )


@pytest.mark.parametrize("chips", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_program_compiles_for_a_tpu(tpu, chips, stage):
    target = find_target(chips)
    shapes = run_shapes(build_config(CONFIG), MODEL, target)
    assert shapes.options.compute_dtype == "bfloat16"
    assert shapes.options.remat == "full"
    program = next(p for p in programs(shapes) if p.name == stage)
    plan = compile_program(program, target)
    assert plan.fits
    assert plan.cost.flops > 0
    assert plan.cost.seconds > 0
    weights = plan.memory.weights + plan.memory.optimizer + plan.memory.cache
    assert weights < plan.memory.total


def test_the_formula_of_an_8b_step_is_near_what_the_compiler_said(tpu):
    """docs/hardware.md has what `plan` compiled for the config: 56.86 GB a chip, micro-batches added up."""
    config = load_config("llama31_8b_gsm8k_v5p8")
    shapes = run_shapes(config, model_shapes(config.model.path, None)[0], find_target("v5p:2x2x1"))
    sft = next(program for program in programs(shapes) if program.name == "sft")
    assert sft.estimate == pytest.approx(56.86e9, rel=0.05)


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_sampling_sends_no_unembedding_between_chips(tpu, stage):
    """Left to itself, the compiler gathers it to have whole rows of logits, which are much smaller."""
    model = dataclasses.replace(MODEL, vocab_size=2**15)
    target = find_target("v5e:2x2")
    shapes = run_shapes(build_config(CONFIG), model, target)
    cost = compile_program(next(p for p in programs(shapes) if p.name == stage), target).cost
    part = 2 * model.vocab_size * model.hidden_size / 2
    assert cost.interconnect_bytes < part / 2
