"""What distinguishes the families: defaults, rope kinds, tensors, greedy tokens, export, refusals."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from model_cases import case, forward, our_logits, write_folder
from reference.llama_cases import (
    CASES,
    GREEDY,
    GREEDY_PROMPTS,
    GREEDY_TOKENS,
    hf_config,
    inputs,
    weights,
)

from dast_jax.errors import UserError
from dast_jax.models.checks import check_length
from dast_jax.models.families import FAMILIES
from dast_jax.models.hf import config_from_dict, config_to_dict, save_model
from dast_jax.models.load import load_description, load_model
from dast_jax.models.options import MeshOptions
from dast_jax.models.rope import attention_factor, rope_frequencies
from dast_jax.models.sharding import make_mesh, shard_params
from dast_jax.records import StageKey
from dast_jax.sampling.engine import Engine
from dast_jax.sampling.options import SamplingOptions
from dast_jax.sampling.scheduler import StaticRequests, sample

REFERENCE = Path(__file__).parents[1] / "reference" / "llama_logits.npz"
NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
BY_FAMILY = {hf_config(name)["model_type"]: name for name in CASES}
"""The last case of each family."""


class NoText:
    """A tokenizer without an end, for responses of a fixed length."""

    eos_ids = ()

    def decode(self, ids, skip_special=True):
        return ""


@pytest.mark.parametrize("name", GREEDY)
def test_the_sampler_draws_transformers_greedy_tokens(name):
    _, graphdef, params = case(name)
    options = SamplingOptions(
        temperature=0, slots=4, prompt_buckets=(16,), max_new_tokens=GREEDY_TOKENS, prefill_batch=4
    )
    engine = Engine(graphdef, params, tokenizer=NoText(), options=options)
    source = StaticRequests(GREEDY_PROMPTS, trials=1)
    sample(engine, source, key=StageKey(seed=0, round=0))
    with np.load(REFERENCE) as reference:
        expected = reference[f"{name}/greedy"]
    assert [list(r.tokens) for (r,) in source.rollouts] == expected.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_is_what_transformers_takes(family):
    import transformers

    if FAMILIES[family].architecture not in dir(transformers):
        pytest.skip(f"this version of transformers has no {family}")
    sizes = dict(zip(NEEDED, (64, 256, 32, 8, 32), strict=True))
    ours = config_from_dict({"model_type": family, **sizes}, "config.json")
    theirs = transformers.AutoConfig.for_model(family, **sizes)
    written = config_to_dict(ours)
    # Llama's ids are those of one tokenizer, which `load` takes from the tokenizer that is there
    left = {"bos_token_id", "eos_token_id", "dtype", "torch_dtype", "architectures", "max_window_layers"}
    for key, value in theirs.to_dict().items():
        if key in written and key not in left:
            assert written[key] == value, key
    assert written["rope_theta"] == theirs.to_dict()["rope_parameters"]["rope_theta"]


@pytest.mark.parametrize("name", ["theta_5e5", "linear", "dynamic", "yarn", "qwen2_tied_yarn", "llama3_far"])
def test_rope_frequencies_are_those_of_transformers(name):
    pytest.importorskip("torch", reason="torch is not installed (extra [parity]); logits are tested")
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    given = hf_config(name) | {"model_type": "llama"}
    theirs = LlamaRotaryEmbedding(transformers.AutoConfig.for_model(**given))
    config = config_from_dict(hf_config(name), name)
    np.testing.assert_allclose(rope_frequencies(config), theirs.inv_freq.numpy(), rtol=2e-7)
    assert attention_factor(config.rope_scaling) == pytest.approx(theirs.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("old", [True, False])
def test_yarn_as_models_write_it(old):
    """Qwen2.5's documentation has the first three keys; DeepSeek-V2's models the two coefficients."""
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = hf_config("qwen2") | ({"rope_parameters": None, "rope_scaling": rope} if old else {})
    config |= {} if old else {"rope_parameters": {**rope, "rope_type": "yarn", "rope_theta": 1e6}}
    scaling = config_from_dict(config, "").rope_scaling
    assert (scaling.factor, scaling.original_max_position_embeddings) == (4.0, 32768)
    assert attention_factor(scaling) == pytest.approx(1 + 0.1 * np.log(4))
    both = {"rope_parameters": {**rope, "mscale": 0.707, "mscale_all_dim": 1.0}}
    scaling = config_from_dict(config | both, "").rope_scaling
    assert attention_factor(scaling) == pytest.approx((1 + 0.0707 * np.log(4)) / (1 + 0.1 * np.log(4)))


def test_dynamic_scaling_is_refused_beyond_the_original_length():
    config, _, _ = case("dynamic")
    check_length(config, 2048, "training.sequence_length")
    with pytest.raises(UserError, match=r"training\.sequence_length: 2049 .* 2048 positions.*dynamic"):
        check_length(config, 2049, "training.sequence_length")
    check_length(case("linear")[0], 10**6, "training.sequence_length")


@pytest.mark.parametrize("name", BY_FAMILY.values())
def test_transformers_loads_an_export_as_the_same_architecture(name, tmp_path):
    config, _, params = case(name)
    save_model(tmp_path, config, params)
    again = config_from_dict(config_to_dict(config), "")
    assert again == config
    torch = pytest.importorskip("torch", reason="torch is not installed (extra [parity])")
    import transformers
    from reference.make_llama_logits import reference_model

    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert [type(loaded).__name__] == hf_config(name)["architectures"]
    expected = reference_model(name).state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())
    tokens, positions = (torch.from_numpy(x).long() for x in inputs(name))
    with torch.no_grad():
        logits = loaded(tokens, position_ids=positions).logits.numpy()
    assert np.abs(logits - our_logits(name)).max() <= 1e-4 * logits.std()


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_the_parameters_of_a_family_are_split_over_a_mesh(name):
    _, graphdef, params = case(name)
    mesh = make_mesh(MeshOptions(fsdp=2, tensor=2))
    sharded = shard_params(params, mesh)
    if name == "qwen2":  # half of the heads on each; a norm of heads is whole
        assert sharded.layers.q.bias.get_value().addressable_shards[0].data.shape == (3, 2, 16)
        assert sharded.layers.k.bias.get_value().addressable_shards[0].data.shape == (3, 1, 16)
    else:
        assert sharded.layers.q_norm.scale.get_value().addressable_shards[0].data.shape == (3, 32)
    with jax.set_mesh(mesh):
        logits = forward(graphdef, sharded, *(np.tile(x, (2, 1)) for x in inputs(name)))
    np.testing.assert_allclose(logits, np.tile(our_logits(name), (2, 1, 1)), atol=2e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]},
            r"Gemma3ForCausalLM \(model_type 'gemma3_text'\), which is not supported; choose another "
            r"model\.path \(supported are LlamaForCausalLM \(.*\); MistralForCausalLM .*; "
            r"Qwen2ForCausalLM .*; Qwen3ForCausalLM .*; SmolLM3ForCausalLM",
        ),
        ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification"),
        ({"architectures": ["LlamaForCausalLM"]}, "this is LlamaForCausalLM"),
        ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}, "1 of 3 layers have"),
        (
            {"rope_parameters": {"rope_type": "longrope", "factor": 2.0}},
            r"rope type 'longrope' is not .*yarn",
        ),
        ({"rope_parameters": {"rope_type": "yarn"}}, "the yarn rope scaling lacks factor"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "the dynamic rope scaling lacks factor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": -1.0}}, "must be positive"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "differ from layer to layer"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ],
)
def test_what_is_not_supported_is_named(change, said, tmp_path):
    folder = write_folder(tmp_path / "model", hf_config("qwen2") | change, weights("qwen2"))
    with pytest.raises(UserError, match=said) as error:
        load_description(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_layers_without_rotation_are_named_by_list_or_interval():
    by_list = hf_config("smollm3")
    assert config_from_dict(by_list, "").no_rope_layers == (1, 3)
    by_interval = by_list | {"no_rope_layers": None, "no_rope_layer_interval": 2, "num_hidden_layers": 5}
    assert config_from_dict(by_interval, "").no_rope_layers == (1, 3)
    with pytest.raises(UserError, match="no_rope_layers has 4 entries for 5 layers"):
        config_from_dict(by_list | {"num_hidden_layers": 5}, "config.json")


def test_a_bias_that_the_family_has_not_is_refused(tmp_path):
    tensors = weights("qwen2") | {"model.layers.0.self_attn.o_proj.bias": np.ones(64, np.float32)}
    with pytest.raises(UserError, match="no use for 1 of the stored tensors"):
        load_model(write_folder(tmp_path, hf_config("qwen2"), tensors))
