"""Plans of a run: shapes, memory, work, and what to change."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from dast_jax.config import build_config, load_config, override, packaged_configs
from dast_jax.errors import UserError
from dast_jax.planning import PlanOptions, find_target, make_plan, model_shapes
from dast_jax.planning.formula import forward_flops
from dast_jax.planning.model_shapes import known_models
from dast_jax.planning.plan import compile_program
from dast_jax.planning.programs import programs, run_shapes
from dast_jax.planning.targets import libtpu_mismatch
from dast_jax.store.plan_results import Plan
from dast_jax.store.typed_json import from_json, to_json

TINY = {
    "run": {"dir": "runs/x", "rounds": 1},
    "model": {"path": "asset:base_model", "compute_dtype": "float32", "remat": "full"},
    "data": {"train": "asset:problems/train.jsonl", "limit": 100},
    "method": {"name": "dast"},
    "sampling": {
        "max_new_tokens": 32,
        "prompt_buckets": [32],
        "slots": 8,
        "tick_steps": 4,
        "prefill_batch": 4,
    },
    "training": {"batch_size": 4, "sequence_length": 64, "head_chunk": 16},
}


def tiny(*overrides):
    return build_config(override(TINY, overrides))


@pytest.fixture(scope="module")
def model():
    return model_shapes("asset:base_model", None)


def stages(plan):
    return {stage.name: stage for stage in plan.stages}


def test_the_parameters_of_known_models():
    """Llama-3.1-8B, 70B, 3.2-1B and Qwen2.5-0.5B have the parameters that their cards say, in billions."""
    import jax

    from dast_jax.models.load import abstract_model

    counted = {
        name: sum(x.size for x in jax.tree.leaves(abstract_model(model_shapes("", name)[0])[1])) / 1e9
        for name in known_models()
    }
    expected = {"llama-3.1-8b": 8.03, "llama-3.1-70b": 70.55, "llama-3.2-1b": 1.236, "qwen2.5-0.5b": 0.494}
    assert counted == pytest.approx(expected, rel=1e-3)


def test_a_model_is_found_by_its_hub_id_a_file_or_a_folder(tmp_path, model):
    assert model_shapes("meta-llama/Llama-3.1-8B-Instruct@main", None)[0].num_layers == 32
    assert model_shapes("someone/Qwen2.5-0.5B", None)[0].vocab_size == 151936
    file = tmp_path / "config.json"
    file.write_text(known_models()["llama-3.2-1b"].read_text())
    assert model_shapes("x/y", str(file)) == model_shapes("x/y", str(tmp_path))
    with pytest.raises(
        UserError, match=r"--model-config llama-3.1-9b: no such file.*did you mean llama-3.1-8b"
    ):
        model_shapes("x/y", "llama-3.1-9b")
    with pytest.raises(UserError, match=r"model\.path: owner/unknown .*give --model-config FILE"):
        model_shapes("owner/unknown", None)


@pytest.mark.parametrize(
    "name", [n for n in packaged_configs() if n.startswith(("llama", "qwen")) and n.endswith(("100", "_l4"))]
)
def test_the_gpu_configs_fit_by_formula(name):
    config = load_config(name)
    kind = "l4" if name.endswith("l4") else "h100"
    target = find_target(f"{kind}:1")
    if "8x" in name:  # this process has four CPU devices to stand for GPUs
        config = build_config(override({**_plain(config)}, ["mesh.fsdp=4", "mesh.sampling.data=1"]))
        target = find_target("h100:4")
    plan = make_plan(config, model_shapes(config.model.path, None), target, PlanOptions())
    assert plan.fits is True
    assert all("an estimate" in stage.notes[0] for stage in plan.stages)
    assert plan.chip_hours == pytest.approx(plan.run_seconds * plan.devices / 3600)


def _plain(config):
    from dast_jax.config import config_dict

    return config_dict(config)


def test_weights_and_moments_are_exact_and_the_plan_is_json():
    """8.03e9 float32 weights over 4 devices, two moments of the same; and the sampler's bfloat16 copy."""
    config = load_config("llama31_8b_8xh100", ["mesh.fsdp=4", "mesh.sampling.data=1"])
    plan = make_plan(config, model_shapes(config.model.path, None), find_target("h100:4"), PlanOptions())
    sft, decode = stages(plan)["sft"].memory, stages(plan)["decode"].memory
    assert sft.weights == pytest.approx(8.030e9 * 4 / 4, rel=1e-3)
    assert sft.optimizer == pytest.approx(2 * sft.weights, rel=1e-6)
    assert decode.held == sft.weights
    assert decode.weights == pytest.approx(sft.weights / 2, rel=1e-3)
    assert from_json(Plan, json.loads(json.dumps(to_json(plan))), "plan") == plan


def test_what_does_not_fit_is_said_with_what_should():
    config = load_config(
        "llama31_8b_8xh100", ["mesh.fsdp=1", "mesh.sampling.data=1", "mesh.sampling.tensor=1"]
    )
    target = find_target("h100:4")
    plan = make_plan(config, model_shapes(config.model.path, None), target, PlanOptions())
    assert plan.fits is False
    assert plan.message.startswith("does not fit: sft needs ")
    assert f"of {target.memory / 1e9:.1f} GB; these changes should fit: " in plan.message
    settings = [change.settings for change in plan.changes]
    assert settings[0][:3] == ("mesh.data=1", "mesh.fsdp=4", "mesh.tensor=1")
    for change in plan.changes:
        changed = build_config(override(_plain(config), list(change.settings)))
        again = make_plan(changed, model_shapes(config.model.path, None), target, PlanOptions())
        assert again.fits
    nothing = dataclasses.replace(target, memory=1e9)
    assert "no change of settings should make it fit" in (
        make_plan(config, model_shapes(config.model.path, None), nothing, PlanOptions()).message
    )


def test_sft_as_compiled_is_what_the_formulas_say(model):
    """Executed FLOPs are the model's, those of rematerialization, and the blocks of attention."""
    target = find_target("cpu:1")
    shapes = run_shapes(tiny(), model[0], target)
    program = next(p for p in programs(shapes) if p.name == "sft")
    stage = compile_program(program, target)
    assert stage.notes == ()
    assert 0.7 < stage.cost.useful_share < 0.85
    c, tokens = model[0], 4 * 64
    once = forward_flops(c, tokens=tokens, keys=0, logits=0)
    down = c.num_layers * 2 * c.hidden_size * c.intermediate_size * tokens  # whose output nothing reads again
    head = 3 * 2 * c.hidden_size * c.vocab_size * tokens
    attention = c.num_layers * 4 * (2 * 2 + 5) * 2 * c.num_heads * c.head_dim * 64 * 64
    assert stage.cost.flops == pytest.approx(4 * once - down + head + attention, rel=0.02)
    memory = stage.memory
    parts = memory.weights + memory.optimizer + memory.activations
    assert parts < memory.total < 1.2 * parts + 2e6


def test_decoding_as_compiled_with_fewer_layers_is_what_it_is_with_all(model):
    def program(layers):
        shapes = run_shapes(tiny(), dataclasses.replace(model[0], num_layers=layers), find_target("cpu:1"))
        return next(p for p in programs(shapes) if p.name == "decode")

    fewer = dataclasses.replace(program(3), fewer=((1, program(1)), (2, program(2))))
    found, whole = (compile_program(p, find_target("cpu:1")) for p in (fewer, program(3)))
    assert found.cost.flops == pytest.approx(whole.cost.flops)
    # One layer alone has fewer temporaries than a second one adds: the estimate is no less than it is.
    assert whole.cost.memory_bytes <= found.cost.memory_bytes < 1.15 * whole.cost.memory_bytes
    assert whole.memory.total <= found.memory.total < 1.15 * whole.memory.total
    assert found.notes == ("compiled with 1 and 2 of 3 layers, which add the same each",)


def test_a_method_that_trains_on_pairs_plans_its_steps_and_scores(model):
    config = tiny("method.name=dpo")
    shapes = run_shapes(config, model[0], find_target("cpu:1"))
    assert shapes.stages == ("prefill", "decode", "sft", "score", "preference")
    assert run_shapes(tiny("method.loss=sft"), model[0], find_target("cpu:1")).stages[-1] == "sft"
    simpo = tiny("method.name=dpo", "training.preference_loss=simpo")
    assert "score" not in run_shapes(simpo, model[0], find_target("cpu:1")).stages


@pytest.mark.parametrize(
    ("topology", "said"),
    [
        ("v5q:2x2", "did you mean v5p"),
        ("v5p:4", "write the chips of a TPU slice as v5p:2x2x1"),
        ("h100:0", "GPUs as h100:8"),
        ("cpu:512", "jax has started with 4 CPU devices already"),
    ],
)
def test_a_topology_that_is_none(topology, said):
    with pytest.raises(UserError, match=said):
        find_target(topology)


def test_what_a_mesh_does_not_divide_is_said(model):
    with pytest.raises(UserError, match=r"training\.batch_size=4"):
        run_shapes(tiny("mesh.data=3"), model[0], find_target("h100:4"))
    shapes = run_shapes(tiny("mesh.tensor=3"), model[0], find_target("h100:4"))
    assert any("vocabulary" in line or "heads" in line for line in shapes.replicated)


def test_another_libtpu_than_jax_is_built_for_is_named():
    requirements = [
        "numpy>=2.0",
        'jaxlib<=0.10.2,>=0.10.2; extra == "tpu"',
        'libtpu==0.0.42.*; extra == "tpu"',
    ]
    assert libtpu_mismatch(requirements, "0.0.42") == libtpu_mismatch(requirements, "0.0.42.1") == ""
    assert "built for libtpu 0.0.42, and 0.0.420 is installed" in libtpu_mismatch(requirements, "0.0.420")
    assert libtpu_mismatch(requirements[:2], "0.0.52") == ""
    # jax names it in this form: another one would be taken for none.
    assert libtpu_mismatch(metadata.requires("jax"), "0.0.1")


def test_without_libtpu_the_command_says_how_to_install_it():
    code = (
        "import sys; sys.modules['libtpu'] = None\n"
        "from dast_jax.plan import main\n"
        "sys.exit(main(['--config', 'quickstart', '--topology', 'v5p:2x2x1']))"
    )
    # Where it is installed, importing jax has set this variable.
    environment = {name: value for name, value in os.environ.items() if name != "TPU_LIBRARY_PATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("is not installed; pip install 'dast_jax[plan]'")
