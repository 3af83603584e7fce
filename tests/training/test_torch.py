"""SFT loss and gradients against torch: packed and masked here, one example at a time there."""

import jax
import numpy as np
import pytest
import torch_sft
from flax import nnx

from dast_jax.data.packing import pack
from dast_jax.models.hf import build_params, config_from_dict
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.records import SFTExample
from dast_jax.training.step import loss_and_grads


def ours_from_theirs(theirs, graph_params):
    """Our parameter tree from weights by Hugging Face name (written apart from `models/hf.py`)."""
    layers = torch_sft.CONFIG["num_hidden_layers"]
    names = {
        "attention_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        **{n: f"self_attn.{n}_proj" for n in "qkvo"},
        **{n: f"mlp.{n}_proj" for n in ("gate", "up", "down")},
    }
    top = {"embedding": "model.embed_tokens", "lm_head": "lm_head", "norm": "model.norm"}
    flat = []
    for path, leaf in nnx.to_flat_state(graph_params):
        if path[0] == "layers":
            arrays = [theirs[f"model.layers.{i}.{names[path[1]]}.weight"] for i in range(layers)]
            value = np.stack([a.T for a in arrays])
        else:
            value = theirs[f"{top[path[0]]}.weight"]
            value = value.T if path[0] == "lm_head" else value
        flat.append((path, leaf.replace(jax.numpy.asarray(value.reshape(leaf.get_value().shape)))))
    return nnx.from_flat_state(flat)


@pytest.fixture(scope="module")
def ours():
    c = torch_sft.CONFIG
    config = LlamaConfig(
        vocab_size=c["vocab_size"],
        hidden_size=c["hidden_size"],
        intermediate_size=c["intermediate_size"],
        num_layers=c["num_hidden_layers"],
        num_heads=c["num_attention_heads"],
        num_kv_heads=c["num_key_value_heads"],
        head_dim=c["head_dim"],
    )
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    return loss_and_gradients(graphdef, ours_from_theirs(torch_sft.weights(), params))


def loss_and_gradients(graphdef, params):
    examples = [
        SFTExample(query=i, prompt=tuple(p), response=tuple(r))
        for i, (p, r) in enumerate(torch_sft.examples())
    ]
    rows = pack(examples, 40)
    assert 2 <= len(rows) < len(examples)  # really packed
    batch = {k: np.stack([rows[i][k] for i in range(len(rows))])[None] for k in rows[0]}
    sums, grads = jax.jit(loss_and_grads, static_argnums=(0, 3))(graphdef, params, batch, 16)
    return float(sums.nll / sums.tokens), grads


def check(ours, reference):
    loss, grads = ours
    assert loss == pytest.approx(float(reference["loss"]), rel=1e-4)
    expected = dict(nnx.to_flat_state(ours_from_theirs(reference, grads)))
    for path, leaf in nnx.to_flat_state(grads):
        got, want = np.asarray(leaf.get_value()), np.asarray(expected[path].get_value())
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), path
        assert np.linalg.norm(got - want) <= 1e-4 * np.linalg.norm(want), path


def test_loss_and_gradients_equal_stored_torch(ours):
    check(ours, np.load(torch_sft.REFERENCE))


def test_loss_and_gradients_equal_live_torch(ours):
    pytest.importorskip("torch", reason="torch is not installed: install the [parity] extra")
    check(ours, torch_sft.compute())


# --- Qwen2: biases on q, k and v, and one matrix for embeddings and head ------------------------------


@pytest.fixture(scope="module")
def qwen2():
    config = config_from_dict(torch_sft.QWEN2, "qwen2")
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    return loss_and_gradients(graphdef, by_name(torch_sft.qwen2_weights(), params, config))


def by_name(theirs, params, config):
    return build_params(params, config, theirs.__getitem__)


def check_qwen2(ours, reference):
    loss, grads = ours
    assert loss == pytest.approx(float(reference["loss"]), rel=1e-4)
    config = config_from_dict(torch_sft.QWEN2, "qwen2")
    expected = dict(nnx.to_flat_state(by_name(reference, grads, config)))
    for path, leaf in nnx.to_flat_state(grads):
        got, want = np.asarray(leaf.get_value()), np.asarray(expected[path].get_value())
        assert np.abs(want).max() > 0, path
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), path


def test_qwen2_gradients_equal_stored_torch(qwen2):
    check_qwen2(qwen2, np.load(torch_sft.QWEN2_REFERENCE))


def test_qwen2_gradients_equal_live_torch(qwen2):
    pytest.importorskip("torch", reason="torch is not installed: install the [parity] extra")
    check_qwen2(qwen2, torch_sft.compute_qwen2())
