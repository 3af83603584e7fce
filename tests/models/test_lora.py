"""LoRA adapters: what they compute, PEFT's format in and out, merged exports, refusals."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from model_cases import case, forward, our_logits, state_equal, tokenizer, write_folder
from reference.llama_cases import hf_config, inputs, weights

from dast_jax.errors import UserError
from dast_jax.models.hf import build_params, config_from_dict, save_model
from dast_jax.models.load import abstract_model, load_model
from dast_jax.models.lora import fresh_adapters, join_adapters, lora_of, merged, split_adapters
from dast_jax.models.options import LORA_TARGETS, LoraOptions, MeshOptions
from dast_jax.models.peft import adapter_params, check_same_adapters, open_adapter, save_adapter
from dast_jax.models.sharding import make_mesh, param_shardings

NAME = "all_biases"
OPTIONS = LoraOptions(rank=4, alpha=6.0)
LORA = lora_of(OPTIONS)
CONFIG = config_from_dict(hf_config(NAME), NAME)
_MODULES = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn"}


def peft_tensors(targets=LORA_TARGETS, rank=4, seed=5):
    """A trained adapter by PEFT's names, made without our code."""
    rng, found = np.random.default_rng(seed), {}
    for name, base in weights(NAME).items():
        module = name.removesuffix(".weight")
        if name.endswith("_proj.weight") and module.rsplit(".", 1)[-1] in targets:
            out, into = base.shape
            for part, shape in (("lora_A", (rank, into)), ("lora_B", (out, rank))):
                found[f"base_model.model.{module}.{part}.weight"] = (0.1 * rng.standard_normal(shape)).astype(
                    np.float32
                )
    return found


def peft_folder(folder, tensors=None, **changes):
    """A folder as PEFT's documentation describes it."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 6, "bias": "none"}
    config |= {"target_modules": list(LORA_TARGETS), "base_model_name_or_path": "base", "lora_dropout": 0.05}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    tensors = peft_tensors() if tensors is None else tensors
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def merged_by_hand(tensors, scale=1.5):
    """The base model's tensors with scale · B · A added, in numpy."""
    out = dict(weights(NAME))
    for name, a in tensors.items():
        if ".lora_A." in name:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            out[f"{module}.weight"] = out[f"{module}.weight"] + scale * (
                tensors[name.replace("lora_A", "lora_B")] @ a
            )
    return out


def logits_of(tensors):
    graphdef, template = abstract_model(CONFIG)
    params = build_params(template, CONFIG, tensors.__getitem__)
    return np.asarray(forward(graphdef, params, *inputs(NAME)))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """(graph, parameters) of the case with the adapter of `peft_tensors`, and the adapter's folder."""
    folder = peft_folder(tmp_path_factory.mktemp("lora") / "adapter")
    graphdef, template = abstract_model(CONFIG, lora=LORA)
    adapters = adapter_params(open_adapter(folder), split_adapters(template)[0], CONFIG)
    return graphdef, join_adapters(adapters, case(NAME)[2]), folder


def test_an_adapter_computes_what_peft_defines(adapted):
    graphdef, params, _ = adapted
    expected = logits_of(merged_by_hand(peft_tensors()))
    assert np.abs(expected - our_logits(NAME)).max() > 0.1 * expected.std()
    found = np.asarray(forward(graphdef, params, *inputs(NAME)))
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


def test_merged_weights_are_those_with_the_product_added(adapted):
    _, params, folder = adapted
    plain = merged(params, LORA)
    expected = merged_by_hand(peft_tensors())
    by_hand = build_params(abstract_model(CONFIG)[1], CONFIG, expected.__getitem__)
    for ours, theirs in zip(jax.tree.leaves(plain), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    read = load_with(folder)
    for ours, theirs in zip(jax.tree.leaves(read), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def load_with(folder):
    """The parameters of the case, read from disk with the adapter in `folder` merged."""
    base = folder.parent / "base"
    if not base.exists():
        write_folder(base, hf_config(NAME), weights(NAME))
    return load_model(base, adapter=open_adapter(folder)).params


def test_fresh_adapters_change_no_bit_and_do_not_depend_on_the_mesh():
    graphdef, template = abstract_model(CONFIG, lora=LORA)
    adapters = fresh_adapters(split_adapters(template)[0], seed=3)
    params = join_adapters(adapters, case(NAME)[2])
    assert all(one is other for one, other in zip(  # no array of the base model is copied
        jax.tree.leaves(split_adapters(params)[1]), jax.tree.leaves(case(NAME)[2]), strict=True
    ))  # fmt: skip
    np.testing.assert_array_equal(forward(graphdef, params, *inputs(NAME)), our_logits(NAME))
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    split = fresh_adapters(split_adapters(template)[0], seed=3, mesh=mesh)
    assert state_equal(split, adapters)
    a, b = (getattr(split.layers.up, name).get_value().sharding.spec for name in ("lora_a", "lora_b"))
    assert (a[1], b[2]) == ("fsdp", "tensor")  # as the kernel's own axes; the rank is whole
    assert len(jax.tree.leaves(param_shardings(adapters, mesh))) == 14
    other = fresh_adapters(split_adapters(template)[0], seed=4)
    assert not state_equal(other, adapters)


def test_an_adapter_is_written_as_peft_reads_it(adapted, tmp_path):
    _, params, folder = adapted
    save_adapter(tmp_path, split_adapters(params)[0], LORA, CONFIG, base="/somewhere/base")
    found = safetensors.numpy.load_file(tmp_path / "adapter_model.safetensors")
    expected = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 6, "base")
    assert set(config["target_modules"]) == set(LORA_TARGETS)
    check_same_adapters(open_adapter(tmp_path), OPTIONS)


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_computes_the_same_from_the_same_files(adapted, tmp_path, rslora):
    """PEFT on transformers' model against ours: read by both, and written by us and read by PEFT."""
    pytest.importorskip("peft", reason="peft is not installed (extra [parity]); numpy's product is compared")
    torch = pytest.importorskip("torch", reason="torch is not installed (extra [parity])")
    import transformers
    from peft import PeftModel

    graphdef, params, _ = adapted
    folder = peft_folder(tmp_path / "adapter", use_rslora=rslora)
    base = tmp_path / "base"
    save_model(base, CONFIG, case(NAME)[2], tokenizer())

    def theirs(adapter):
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = PeftModel.from_pretrained(model, adapter).eval()
        tokens, positions = (torch.from_numpy(x).long() for x in inputs(NAME))
        with torch.no_grad():
            return model(tokens, position_ids=positions).logits.numpy()

    expected = theirs(folder)
    ours = np.asarray(forward(case(NAME)[1], load_with(folder), *inputs(NAME)))
    assert np.abs(ours - expected).max() <= 1e-4 * expected.std()
    if not rslora:
        save_adapter(tmp_path / "written", split_adapters(params)[0], LORA, CONFIG, base="base")
        np.testing.assert_array_equal(theirs(tmp_path / "written"), expected)
        found = np.asarray(forward(graphdef, params, *inputs(NAME)))
        assert np.abs(found - expected).max() <= 1e-4 * expected.std()


def test_rank_stabilized_scale_and_a_part_of_the_layers_are_read(tmp_path):
    some = {name: t for name, t in peft_tensors(("q_proj", "down_proj")).items() if ".layers.1." in name}
    folder = peft_folder(tmp_path / "adapter", some, use_rslora=True)
    adapter = open_adapter(folder)
    assert adapter.targets == ("q_proj", "down_proj")
    assert adapter.scale == 3.0  # 6 / √4
    read = load_with(folder)
    by_hand = merged_by_hand(some, scale=3.0)
    expected = build_params(abstract_model(CONFIG)[1], CONFIG, by_hand.__getitem__)
    for ours, theirs in zip(jax.tree.leaves(read), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(UserError, match=r"rank 4.*training\.lora\.rank=4 .*alpha=12 .*\[q_proj, down_proj\]"):
        check_same_adapters(adapter, OPTIONS)
    lora = lora_of(LoraOptions(rank=4, targets=("q_proj", "down_proj")))
    template, _ = split_adapters(abstract_model(CONFIG, lora=lora)[1])
    with pytest.raises(UserError, match=r"has nothing for model\.layers\.0"):
        adapter_params(adapter, template, CONFIG)


def test_an_adapter_of_a_model_of_another_name_is_used_with_a_warning(tmp_path, caplog):
    folder = peft_folder(tmp_path / "adapter", base_model_name_or_path="owner/Base-1B")
    open_adapter(folder, "elsewhere/base-1b@v2")
    assert not caplog.records
    open_adapter(folder, "owner/base-1b-instruct")
    assert "was trained on owner/Base-1B, and model.path is owner/base-1b-instruct" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "use_dora is true"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": None}, "r and lora_alpha must be numbers"),
        ({"r": 8}, r"has shape \[4, \d+\] where the model needs \[8, \d+\]"),
    ],
)
def test_an_adapter_that_is_something_else_is_refused(changes, said, tmp_path):
    folder = peft_folder(tmp_path / "adapter", **changes)
    with pytest.raises(UserError, match=said) as error:
        open_adapter(folder).check_fits(CONFIG)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_tensors_that_have_no_place_are_refused(tmp_path):
    odd = {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 64), np.float32)}
    odd["base_model.model.lm_head.lora_B.weight"] = np.zeros((97, 4), np.float32)
    with pytest.raises(UserError, match="for lm_head, which the model does not have"):
        open_adapter(peft_folder(tmp_path / "head", odd)).check_fits(CONFIG)
    magnitude = {"base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match="lora_magnitude_vector, and only LoRA"):
        open_adapter(peft_folder(tmp_path / "dora", magnitude))
    half = dict([next(iter(peft_tensors().items()))])
    with pytest.raises(UserError, match="has only lora_A"):
        open_adapter(peft_folder(tmp_path / "half", half))
    whole = peft_folder(tmp_path / "whole")
    shutil.copy(whole / "adapter_config.json", tmp_path)
    with pytest.raises(UserError, match=r"has no adapter_model\.safetensors"):
        open_adapter(tmp_path)
