"""Preference losses and their gradients against torch: packed here, one response at a time there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_preference
import torch_sft
import trl_preference
from flax import nnx
from test_torch import by_name, ours_from_theirs

from dast_jax.data.pair_packing import pack_pairs
from dast_jax.models.hf import config_from_dict
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.records import PreferencePair
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import preference_objective, reference_logprobs
from dast_jax.training.preference_losses import PairLogprobs
from dast_jax.training.step import objective_grads

LENGTH = 64


@pytest.fixture(scope="module")
def graph():
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
    return nnx.split(Llama(config, rngs=nnx.Rngs(0)))


def pairs():
    return [
        PreferencePair(query=i, prompt=tuple(p), chosen=tuple(c), rejected=tuple(r))
        for i, (p, c, r) in enumerate(torch_preference.pairs())
    ]


@pytest.fixture(scope="module")
def scored(graph):
    """Our log-probabilities of the pairs: policy's and reference's, float32 [n, 2]."""
    graphdef, params = graph
    options = TrainingOptions(sequence_length=40, batch_size=3, head_chunk=16)
    result = {}
    for name, weights in (
        ("policy", torch_sft.weights()),
        ("reference", torch_preference.reference_weights()),
    ):
        theirs = ours_from_theirs(weights, params)
        result[name], scores = reference_logprobs(graphdef, theirs, pairs(), options=options, pad_id=0)
        assert scores.length.reshape(-1, 2).tolist() == [[len(p.chosen), len(p.rejected)] for p in pairs()]
    return result


@pytest.fixture(scope="module")
def ours(graph, scored):
    """(case) → loss and gradients."""
    graphdef, params = graph
    params = ours_from_theirs(torch_sft.weights(), params)
    rows = pack_pairs(pairs(), scored["reference"], LENGTH)
    assert 2 <= len(rows) < 6  # really packed
    batch = {k: np.stack([rows[i][k] for i in range(len(rows))])[None] for k in rows[0]}

    @functools.cache
    def compute(case):
        objective = preference_objective(TrainingOptions(head_chunk=16, **torch_preference.CASES[case]))
        loss, sums, grads = jax.jit(objective_grads, static_argnums=(0, 3))(
            graphdef, params, batch, objective
        )
        assert sums.pairs == 6
        return float(loss), grads

    return compute


@pytest.fixture(scope="module")
def stored():
    return np.load(torch_preference.REFERENCE)


@pytest.fixture(scope="module")
def live():
    pytest.importorskip("torch", reason="torch is not installed: install the [parity] extra")
    return torch_preference.compute()


@pytest.fixture(params=["stored", "live"])
def theirs(request):
    return request.getfixturevalue(request.param)


def test_reference_logprobs_equal_unpacked_transformers(scored, theirs):
    for name in ("policy", "reference"):
        np.testing.assert_allclose(scored[name], theirs[name], rtol=1e-5)
    assert np.abs(scored["policy"] - scored["reference"]).min() > 1e-3


@pytest.mark.parametrize("case", list(torch_preference.CASES))
def test_loss_and_gradients_equal_torch(ours, theirs, case):
    loss, grads = ours(case)
    assert loss == pytest.approx(float(theirs[f"{case}/losses"].mean()), rel=1e-4)
    prefix = f"{case}/"
    expected = {k.removeprefix(prefix): theirs[k] for k in theirs if k.startswith(prefix)}
    expected = dict(nnx.to_flat_state(ours_from_theirs(expected, grads)))
    for path, leaf in nnx.to_flat_state(grads):
        got, want = np.asarray(leaf.get_value()), np.asarray(expected[path].get_value())
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), path
        assert np.linalg.norm(got - want) <= 1e-4 * np.linalg.norm(want), path


@pytest.mark.parametrize("case", list(trl_preference.CASES))
def test_each_pairs_loss_equals_trls(scored, case):
    """TRL's trainers on the same policies and pairs; numbers of version 1.16, stored."""
    objective = preference_objective(TrainingOptions(**trl_preference.CASES[case]))
    lengths = np.array([[len(pair.chosen), len(pair.rejected)] for pair in pairs()], np.float32)
    columns = [column for name in ("policy", "reference") for column in scored[name].T]
    losses = objective.pair_loss(PairLogprobs(*map(jnp.asarray, (*columns, *lengths.T))))
    np.testing.assert_allclose(losses, np.load(trl_preference.REFERENCE)[case], rtol=2e-5)


# --- Qwen2: biases on q, k and v, and one matrix for embeddings and head ------------------------------


@pytest.mark.parametrize("live", [False, True], ids=["stored", "live"])
def test_dpo_gradients_of_qwen2_equal_torch(live):
    if live:
        pytest.importorskip("torch", reason="torch is not installed: install the [parity] extra")
    theirs = torch_preference.compute_qwen2() if live else np.load(torch_preference.QWEN2_REFERENCE)
    config = config_from_dict(torch_sft.QWEN2, "qwen2")
    graphdef, template = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    params = by_name(torch_sft.qwen2_weights(), template, config)
    rows = pack_pairs(pairs(), theirs["reference"], LENGTH)
    batch = {k: np.stack([rows[i][k] for i in range(len(rows))])[None] for k in rows[0]}
    objective = preference_objective(TrainingOptions(head_chunk=16, **torch_preference.CASES["sigmoid"]))
    loss, _, grads = jax.jit(objective_grads, static_argnums=(0, 3))(graphdef, params, batch, objective)
    assert float(loss) == pytest.approx(float(theirs["loss"]), rel=1e-4)
    expected = dict(nnx.to_flat_state(by_name(theirs, grads, config)))
    for path, leaf in nnx.to_flat_state(grads):
        got, want = np.asarray(leaf.get_value()), np.asarray(expected[path].get_value())
        assert np.abs(want).max() > 0, path
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), path
