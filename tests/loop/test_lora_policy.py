"""A run's policy with adapters: one copy of the base model, checkpoints of adapters alone, exports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from model_cases import case, forward, write_folder
from reference.llama_cases import hf_config, inputs, weights

from dast_jax.config import build_config, run_settings
from dast_jax.errors import UserError
from dast_jax.export import main
from dast_jax.loop.policy import BASE, Policy
from dast_jax.metrics.flops import Flops
from dast_jax.models.load import load_model
from dast_jax.models.peft import open_adapter
from dast_jax.store.results import TrainedResult, TrainingResult
from dast_jax.store.run_store import RunStore

NAME = "qwen2"


@pytest.fixture
def run(tmp_path):
    """(config, policy after round 0, folder) of a run with adapters whose round 0 is trained."""
    base = write_folder(tmp_path / "base", hf_config(NAME), weights(NAME))
    config = build_config(
        {
            "run": {"dir": str(tmp_path / "run"), "rounds": 1},
            "model": {"path": str(base)},
            "training": {"lora": {"rank": 3, "targets": ["q_proj", "o_proj", "down_proj"]}},
            "data": {"train": "train.jsonl"},
        }
    )
    with RunStore.open(run_settings(config)) as store:
        policy = Policy(config, store.path / "checkpoints")
        rng = np.random.default_rng(0)
        trained = jax.tree.map(
            lambda x: x + jnp.asarray(0.05 * rng.standard_normal(x.shape), x.dtype), policy.take(BASE)
        )
        policy.put(trained, 0)
        policy.finish()
        store.mark_done("00/train", TrainedResult(training=TrainingResult(), flops=Flops()))
    return config, policy, tmp_path / "run"


def of_base(params):
    return [leaf.get_value() for path, leaf in nnx.to_flat_state(params) if "lora" not in str(path[-1])]


def test_there_is_one_copy_of_the_base_model(run):
    config, policy, folder = run
    held = of_base(policy.after(0))
    assert all(a is b for a, b in zip(held, of_base(policy.after(BASE)), strict=True))
    assert all(a is b for a, b in zip(held, jax.tree.leaves(policy.frozen), strict=True))
    base = load_model(config.model.path)
    assert all(np.array_equal(a, b) for a, b in zip(held, jax.tree.leaves(base.params), strict=True))
    # M_0, and so the reference of DPO and the start of `restart`, is the base model to the bit
    found = forward(policy.graphdef, policy.after(BASE), *inputs(NAME))
    np.testing.assert_array_equal(found, forward(base.graphdef, base.params, *inputs(NAME)))
    assert policy.parameters == policy.trained_parameters + sum(x.size for x in held)
    saved = sum(f.stat().st_size for f in (folder / "checkpoints/round_00").rglob("*") if f.is_file())
    assert saved < sum(x.nbytes for x in held) / 2


def test_another_base_model_is_refused(run):
    config, _, folder = run
    weights_file = Path(config.model.path) / "model.safetensors"
    data = bytearray(weights_file.read_bytes())
    data[-1] ^= 1
    weights_file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"round_00: the adapters belong to another model"):
        Policy(config, folder / "checkpoints").after(0)


def test_exports_compute_what_the_policy_does(run, tmp_path):
    config, policy, folder = run
    expected = np.asarray(forward(policy.graphdef, policy.after(0), *inputs(NAME)))
    assert np.abs(expected - np.asarray(forward(*case(NAME)[1:], *inputs(NAME)))).max() > 0.01
    assert main(["--run", str(folder), "--out", str(tmp_path / "merged")]) == 0
    whole = load_model(tmp_path / "merged")
    found = np.asarray(forward(whole.graphdef, whole.params, *inputs(NAME)))
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()
    out = tmp_path / "adapter"
    assert main(["--run", str(folder), "--out", str(out), "adapter=true"]) == 0
    assert "PeftModel" in (out / "README.md").read_text()
    assert not (out / "model.safetensors").exists()
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 3
    again = load_model(config.model.path, adapter=open_adapter(out))
    found = np.asarray(forward(again.graphdef, again.params, *inputs(NAME)))
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


def test_an_adapter_is_trained_on(run, tmp_path):
    config, policy, folder = run
    out = tmp_path / "adapter"
    assert main(["--run", str(folder), "--out", str(out), "adapter=true"]) == 0
    from dast_jax.config import config_dict

    mapping = config_dict(config)
    mapping["model"]["adapter"] = str(out)
    later = Policy(build_config(mapping), tmp_path / "later")
    for a, b in zip(jax.tree.leaves(later.trained(BASE)), jax.tree.leaves(policy.trained(0)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert later.base_digest != policy.base_digest
    mapping["training"]["lora"]["rank"] = 2
    with pytest.raises(UserError, match=r"set training\.lora\.rank=3"):
        Policy(build_config(mapping), tmp_path / "later")
