"""Hugging Face folders: bits in, bits out, both rope schemas, and errors for bad folders."""

from __future__ import annotations

import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from model_cases import byte_tokenizer, case, state_equal, tokenizer, write_folder
from reference.llama_cases import CASES, hf_config, weights

from dast_jax.errors import UserError
from dast_jax.models import hf
from dast_jax.models.llama import RopeScaling
from dast_jax.models.load import load_model


@pytest.mark.parametrize("name", ["odd_heads", "all_biases", "llama3_near"])
def test_a_folder_round_trips_bit_for_bit(name, tmp_path):
    source = write_folder(tmp_path / "source", hf_config(name), weights(name))
    loaded = load_model(source)
    hf.save_model(tmp_path / "copy", loaded.config, loaded.params, loaded.tokenizer)
    tensors = safetensors.numpy.load_file(tmp_path / "copy/model.safetensors")
    expected = weights(name)
    assert tensors.keys() == expected.keys()
    for key, value in expected.items():
        assert tensors[key].dtype == value.dtype
        assert np.array_equal(tensors[key], value), key
    again = load_model(tmp_path / "copy")
    assert again.config == loaded.config
    assert again.graphdef == loaded.graphdef
    assert state_equal(again.params, loaded.params)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_weights_are_read_exactly(dtype, tmp_path):
    stored = {key: value.astype(dtype) for key, value in weights("grouped").items()}
    loaded = load_model(write_folder(tmp_path, hf_config("grouped"), stored))
    kernel = loaded.params.layers.q.kernel.get_value()
    assert kernel.dtype == np.float32
    theirs = np.stack([stored[f"model.layers.{i}.self_attn.q_proj.weight"].T for i in range(3)])
    assert np.array_equal(np.asarray(kernel).reshape(3, 64, 64), theirs.astype(np.float32))


def test_bfloat16_parameters_round_trip(tmp_path):
    stored = {key: value.astype(ml_dtypes.bfloat16) for key, value in weights("grouped").items()}
    loaded = load_model(write_folder(tmp_path / "a", hf_config("grouped"), stored), dtype="bfloat16")
    hf.save_model(tmp_path / "b", loaded.config, loaded.params, loaded.tokenizer)
    tensors = safetensors.numpy.load_file(tmp_path / "b/model.safetensors")
    assert all(np.array_equal(tensors[k].view(np.uint16), v.view(np.uint16)) for k, v in stored.items())
    assert json.loads((tmp_path / "b/config.json").read_text())["torch_dtype"] == "bfloat16"


def test_weights_in_several_files_round_trip(tmp_path, monkeypatch):
    config, _, params = case("grouped")
    monkeypatch.setattr(hf, "_SHARD_BYTES", 100_000)
    hf.save_model(tmp_path, config, params, tokenizer())
    files = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert state_equal(load_model(tmp_path).params, params)
    (tmp_path / files[1]).unlink()
    with pytest.raises(UserError, match=f"{files[1]} is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_config_carries_both_rope_schemas(name):
    _, theta, scaling, _ = CASES[name]
    config = hf.config_from_dict(hf_config(name), name)
    written = hf.config_to_dict(config)
    assert written["rope_theta"] == theta
    assert written["rope_scaling"] == scaling
    assert written["rope_parameters"] == {"rope_type": "default", **(scaling or {}), "rope_theta": theta}
    old = {key: value for key, value in written.items() if key != "rope_parameters"}
    new = {key: value for key, value in written.items() if key not in ("rope_theta", "rope_scaling")}
    assert hf.config_from_dict(old, "") == hf.config_from_dict(new, "") == config


def test_old_names_in_rope_scaling_are_read():
    old = hf.config_to_dict(case("grouped")[0]) | {"rope_scaling": {"type": "linear", "factor": 2.0}}
    del old["rope_parameters"]
    assert hf.config_from_dict(old, "").rope_scaling == RopeScaling(rope_type="linear", factor=2.0)


@pytest.mark.parametrize("name", ["llama3_near", "tied", "linear"])
def test_transformers_reads_our_config_as_its_own(name, tmp_path):
    import transformers

    config, _, params = case(name)
    hf.save_model(tmp_path, config, params)
    ours = transformers.AutoConfig.from_pretrained(tmp_path)
    theirs = transformers.LlamaConfig(**hf_config(name))
    keys = (
        "rope_parameters",
        "head_dim",
        "num_key_value_heads",
        "tie_word_embeddings",
        "rms_norm_eps",
        "vocab_size",
    )
    for key in keys:
        if hasattr(theirs, key):  # transformers 4 has no rope_parameters
            assert getattr(ours, key) == getattr(theirs, key), key


@pytest.mark.parametrize("name", ["all_biases", "odd_heads"])
def test_transformers_loads_what_we_save(name, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra [parity])")
    import transformers
    from reference.make_llama_logits import reference_model

    config, _, params = case(name)
    hf.save_model(tmp_path, config, params)
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path).state_dict()
    expected = reference_model(name).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


def test_all_end_tokens_are_gathered(tmp_path):
    folder = write_folder(tmp_path, hf_config("grouped") | {"eos_token_id": [5, 2]}, weights("grouped"))
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 2]}')
    loaded = load_model(folder)
    assert loaded.tokenizer.eos_ids == (2, 7, 5)  # the tokenizer's own first
    assert loaded.config.eos_token_ids == (2, 7, 5)


def _without(config: dict, key: str) -> dict:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c | {"model_type": "qwen2", "architectures": ["Qwen2VLModel"]}, "Qwen2VLModel"),
        (
            lambda c: c | {"architectures": ["LlamaForSequenceClassification"]},
            "LlamaForSequenceClassification",
        ),
        (lambda c: c | {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (lambda c: c | {"rope_parameters": {"rope_type": "su", "factor": 2.0}}, "rope type 'su'"),
        (lambda c: c | {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "lacks low_freq_factor"),
        (lambda c: _without(c, "hidden_size"), "hidden_size"),
        (lambda c: c | {"intermediate_size": 100}, "gate_proj.weight has shape"),
        (lambda c: c | {"num_hidden_layers": 4}, "lack the tensor model.layers.3"),
        (lambda c: c | {"attention_bias": True}, "lack the tensor model.layers.0.self_attn.*bias"),
    ],
)
def test_a_config_that_does_not_fit_is_named(change, said, tmp_path):
    folder = write_folder(tmp_path / "model", change(hf_config("grouped")), weights("grouped"))
    with pytest.raises(UserError, match=said) as error:
        load_model(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_are_not_models(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(UserError, match="not valid JSON"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(hf_config("grouped")))
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_unusable_tokenizers(tmp_path):
    folder = write_folder(tmp_path / "none", hf_config("grouped"), weights("grouped"), tokenizer=False)
    with pytest.raises(UserError, match="no tokenizer"):
        load_model(folder)
    byte_tokenizer().save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(_without(settings, "eos_token")))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="no EOS token"):
        load_model(folder)
    small = hf_config("grouped") | {"vocab_size": 50}
    tensors = {k: v[:50] if v.shape[0] == 97 else v for k, v in weights("grouped").items()}
    with pytest.raises(UserError, match="90 tokens and the model only 50"):
        load_model(write_folder(tmp_path / "small", small, tensors))


def test_parameters_are_float32_on_one_device_by_default(tmp_path):
    loaded = load_model(write_folder(tmp_path, hf_config("grouped"), weights("grouped")))
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}
    assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(loaded.params))
