"""Models that would compute something else than they say: read right, or refused before sampling."""

from __future__ import annotations

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from model_cases import write_folder
from reference.llama_cases import hf_config, weights

from dast_jax.errors import UserError
from dast_jax.models.load import load_description, load_model


def refused(tmp_path, config=None, tensors=None, load=load_model) -> str:
    folder = write_folder(
        tmp_path / "model", hf_config("grouped") | (config or {}), tensors or weights("grouped")
    )
    with pytest.raises(UserError) as error:
        load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta is 0"),
        ({"rope_parameters": {}, "rope_theta": 0}, "rope_theta is 0"),
        ({"rope_parameters": {"rope_theta": float("nan")}}, "rope_theta is nan"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps is -1e-05"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"num_hidden_layers": 10**9}, "the config says 1000000000 layers"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000"),
        ({"num_hidden_layers": 2}, "no use for 9 of the stored tensors"),
        ({"vocab_size": 10**9}, "embed_tokens.weight has shape"),
        ({"hidden_size": -64}, "hidden_size is -64"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"vocab_size": "many"}, "a value is not what the config.json of a LlamaForCausalLM has"),
        (
            {"rope_scaling": "llama3", "rope_parameters": None},
            "a value is not what the config.json of a LlamaForCausalLM has",
        ),
        ({"eos_token_id": 97}, "the EOS id 97 is not one of the model's 97 tokens"),
        ({"eos_token_id": [2, -1]}, "the EOS id -1"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized by gptq"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            r"quantized by bitsandbytes (4 bit)",
        ),
    ],
)
@pytest.mark.parametrize("load", [load_model, load_description])
def test_a_config_that_makes_no_sense_is_refused_without_reading_weights(tmp_path, change, said, load):
    assert said in refused(tmp_path, change, load=load)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value, dtype):
    name = "model.layers.1.mlp.up_proj.weight"
    tensors = {key: array.astype(dtype) for key, array in weights("grouped").items()}
    tensors[name][3, 5] = value
    assert f"tensor {name} has NaN or infinite values" in refused(tmp_path, tensors=tensors)


def test_weights_that_overflow_in_their_precision_are_refused(tmp_path):
    tensors = dict(weights("grouped"))
    tensors["model.norm.weight"] = np.full(64, 3.4e38, np.float32)
    folder = write_folder(tmp_path, hf_config("grouped"), tensors)
    load_model(folder)
    with pytest.raises(UserError, match=r"model.norm.weight .* infinite values in bfloat16"):
        load_model(folder, dtype="bfloat16")


def test_integers_that_nothing_explains_are_refused(tmp_path):
    tensors = dict(weights("grouped"))
    tensors["model.norm.weight"] = np.ones(64, np.int8)
    assert "tensor model.norm.weight holds int8 values" in refused(tmp_path, tensors=tensors)


def test_tensors_that_would_be_left_out_are_refused(tmp_path):
    tensors = weights("grouped") | {"model.layers.0.self_attn.q_norm.weight": np.ones(16, np.float32)}
    assert "no use for 1 of the stored tensors" in refused(tmp_path, tensors=tensors)
    harmless = weights("grouped") | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    load_model(write_folder(tmp_path / "old", hf_config("grouped"), harmless))


def test_a_tied_model_with_another_head_is_refused(tmp_path):
    tied, tensors = hf_config("tied"), dict(weights("tied"))
    assert tied["tie_word_embeddings"]
    embedding = tensors["model.embed_tokens.weight"]
    load_model(write_folder(tmp_path / "same", tied, tensors | {"lm_head.weight": embedding}))
    other = tensors | {"lm_head.weight": embedding + 1}
    with pytest.raises(UserError, match=r"lm_head\.weight differs from the embeddings"):
        load_model(write_folder(tmp_path / "other", tied, other))


# --- quantized weights --------------------------------------------------------------------------------


def linears():
    return [name for name in weights("grouped") if "_proj" in name]


def int8_rows(weight):
    """Quantize as LLM.int8: by the largest value of each row."""
    largest = np.abs(weight).max(axis=1)
    return np.round(weight / largest[:, None] * 127).astype(np.int8), largest.astype(np.float32)


def bitsandbytes():
    tensors = dict(weights("grouped"))
    for name in linears():
        stem = name.removesuffix("weight")
        tensors[name], tensors[stem + "SCB"] = int8_rows(tensors[name])
        tensors[stem + "weight_format"] = np.array(0, np.uint8)
    return {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, tensors, 1 / 254


def compressed(kind, largest):
    tensors = dict(weights("grouped"))
    for name in linears():
        scale = np.abs(tensors[name]).max(axis=1, keepdims=True) / largest
        scaled = tensors[name] / scale
        tensors[name] = (np.round(scaled) if kind is np.int8 else scaled).astype(kind)
        tensors[name + "_scale"] = scale.astype(ml_dtypes.bfloat16)
    form = "int-quantized" if kind is np.int8 else "float-quantized"
    return {"quant_method": "compressed-tensors", "format": form}, tensors


def fp8_blocks():
    tensors = dict(weights("grouped"))
    for name in linears():
        weight = tensors[name]
        rows, columns = (-(-size // 48) for size in weight.shape)  # blocks that do not divide the shape
        scale = np.zeros((rows, columns), np.float32)
        stored = np.zeros(weight.shape, ml_dtypes.float8_e4m3fn)
        for i in range(rows):
            for j in range(columns):
                part = np.s_[48 * i : 48 * i + 48, 48 * j : 48 * j + 48]
                scale[i, j] = np.abs(weight[part]).max() / 448
                stored[part] = (weight[part] / scale[i, j]).astype(ml_dtypes.float8_e4m3fn)
        tensors[name], tensors[name + "_scale_inv"] = stored, scale
    return {"quant_method": "fp8", "weight_block_size": [48, 48]}, tensors


@pytest.mark.parametrize(
    ("quantization", "tensors", "step"),
    [
        bitsandbytes(),
        (*compressed(np.int8, 127), 0.008),
        (*compressed(ml_dtypes.float8_e4m3fn, 448), 0.07),
        (*fp8_blocks(), 0.07),
    ],
    ids=["bitsandbytes int8", "compressed int8", "compressed fp8", "fp8 blocks"],
)
def test_weights_of_8_bits_are_read_with_their_scales(tmp_path, quantization, tensors, step):
    config = hf_config("grouped") | {"quantization_config": quantization}
    read = load_model(write_folder(tmp_path / "quantized", config, tensors)).params
    plain = load_model(write_folder(tmp_path / "plain", hf_config("grouped"), weights("grouped"))).params
    for ours, theirs in zip(jax.tree.leaves(read), jax.tree.leaves(plain), strict=True):
        largest = float(np.abs(theirs).max())
        assert float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()) <= 1.01 * step * largest
    assert not np.array_equal(read.layers.q.kernel.get_value(), plain.layers.q.kernel.get_value())
    del tensors[next(name for name in tensors if name.endswith(("SCB", "_scale", "_scale_inv")))]
    with pytest.raises(UserError, match="lack the tensor"):
        load_model(write_folder(tmp_path / "quantized", config, tensors))
    (tmp_path / "quantized/config.json").write_text(json.dumps(hf_config("grouped")))
    with pytest.raises(UserError, match=r"no use for|holds"):
        load_model(tmp_path / "quantized")
