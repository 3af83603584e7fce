"""The chunked head against the plain formula, and its memory use."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training as tiny
from flax import nnx

from dast_jax.models.llama import Llama
from dast_jax.models.options import MeshOptions
from dast_jax.models.sharding import make_mesh, shard_params
from dast_jax.training import head
from dast_jax.training.losses import sft_loss, token_logprobs
from dast_jax.training.preference import preference_objective
from dast_jax.training.step import SFTObjective, objective_grads

B, T, D, V = 3, 21, 8, 53


@pytest.fixture
def data():
    random = np.random.RandomState(0)
    hidden, unembed = random.standard_normal((B, T, D)), random.standard_normal((D, V))
    top = np.argmax(hidden @ unembed, -1)
    return (
        jnp.asarray(hidden, jnp.float32),
        jnp.asarray(unembed, jnp.float32),
        jnp.asarray(np.where(random.rand(B, T) < 0.3, top, random.randint(0, V, (B, T))), jnp.int32),
        jnp.asarray(random.rand(B, T) < 0.6, jnp.float32),
    )


def plain(hidden, unembed, targets, weights):
    """The same sum with all logits at once."""
    logprobs = jax.nn.log_softmax(hidden @ unembed)
    return -jnp.sum(weights * jnp.take_along_axis(logprobs, targets[..., None], -1)[..., 0])


@pytest.mark.parametrize("chunk", [1, 4, 7, 21, 64])
def test_loss_and_gradients_equal_the_formula(data, chunk):
    (loss, metrics), grads = jax.value_and_grad(sft_loss, argnums=(0, 1), has_aux=True)(*data, chunk)
    expected, expected_grads = jax.value_and_grad(plain, argnums=(0, 1))(*data)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for got, want in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    hidden, unembed, targets, weights = data
    correct = (np.argmax(hidden @ unembed, -1) == targets) * weights
    assert float(metrics.nll) == float(loss)
    assert float(metrics.tokens) == weights.sum()
    assert float(metrics.correct) == correct.sum() > 0


def test_token_scores(data):
    hidden, unembed, targets, _ = data
    scores = token_logprobs(hidden, unembed, targets, 4)
    logprobs = jax.nn.log_softmax(hidden @ unembed)
    expected = np.take_along_axis(np.asarray(logprobs), np.asarray(targets)[..., None], -1)[..., 0]
    np.testing.assert_allclose(scores.logprob, expected, rtol=1e-5)
    np.testing.assert_array_equal(scores.top, np.argmax(logprobs, -1) == targets)


def test_tokens_without_weight_contribute_exactly_nothing(data):
    hidden, unembed, targets, weights = data
    grad = jax.grad(sft_loss, argnums=(0, 1), has_aux=True)
    (at_hidden, at_unembed), metrics = grad(hidden, unembed, targets, weights, 4)
    assert not np.asarray(at_hidden)[np.asarray(weights) == 0].any()
    assert np.asarray(at_hidden)[np.asarray(weights) == 1].any(-1).all()
    other = jnp.where(weights == 0, (targets + 1) % V, targets)
    (_, again), metrics_again = grad(hidden, unembed, other, weights, 4)
    np.testing.assert_array_equal(at_unembed, again)
    assert metrics == metrics_again


def test_positions_without_weight_are_not_scored_and_get_no_gradient(data):
    """Not even where the last chunk reaches them, and what is made of their score has a gradient."""
    hidden, unembed, targets, weights = data
    scored = lambda h, w: token_logprobs(h, w, targets, 4, weights)  # noqa: E731
    scores = scored(hidden, unembed)
    assert not np.asarray(scores.logprob)[np.asarray(weights) == 0].any()
    made = lambda h, w: jnp.sum(jnp.sin(scored(h, w).logprob))  # noqa: E731
    plainly = lambda h, w: jnp.sum(weights * jnp.sin(token_logprobs(h, w, targets, 21).logprob))  # noqa: E731
    grads = jax.grad(made, argnums=(0, 1))(hidden, unembed)
    for got, want in zip(grads, jax.grad(plainly, argnums=(0, 1))(hidden, unembed), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_large_vocabulary_is_added_to_in_parts(data, monkeypatch):
    hidden, unembed, targets, weights = data
    wide = jnp.concatenate([unembed, unembed[:, :11]], axis=1)  # 64 tokens: a power of two divides them
    grad = jax.grad(lambda h, w: sft_loss(h, w, targets, weights, 4)[0], argnums=(0, 1))
    whole = grad(hidden, wide)
    monkeypatch.setattr(head, "_PRODUCT", 100)
    for got, want in zip(grad(hidden, wide), whole, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def biggest_vocabulary_array(function, *args):
    """The number of elements of the largest array with a vocabulary axis anywhere in the program."""
    sizes = [0]

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            for variable in (*equation.invars, *equation.outvars):
                shape = getattr(variable.aval, "shape", ())
                if V in shape:
                    sizes.append(int(np.prod(shape)))
            for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    walk(inner)

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    return max(sizes)


def test_the_logits_of_a_batch_never_exist(data):
    def gradient(chunk):
        return lambda *a: jax.grad(sft_loss, argnums=(0, 1), has_aux=True)(*a, chunk)

    assert biggest_vocabulary_array(gradient(7), *data) == max(B * 7 * V, D * V)
    assert biggest_vocabulary_array(gradient(T), *data) == B * T * V  # the walk would see them


def test_the_memory_of_the_compiled_loss_does_not_hold_them(data):
    hidden, unembed, targets, weights = (jnp.tile(x, (1, 40) + (1,) * (x.ndim - 2)) for x in data)
    unembed = jnp.tile(data[1], (1, 40))

    def temporary(chunk):
        loss = jax.jit(lambda *a: jax.grad(sft_loss, argnums=(0, 1), has_aux=True)(*a, chunk))
        return loss.lower(hidden, unembed, targets, weights).compile().memory_analysis().temp_size_in_bytes

    whole = 4 * hidden.shape[0] * hidden.shape[1] * unembed.shape[1]
    assert temporary(8) < whole / 10
    assert temporary(hidden.shape[1]) >= whole


def test_bfloat16_accumulates_in_float32(data):
    hidden, unembed, targets, weights = data
    loss, _ = sft_loss(hidden.astype(jnp.bfloat16), unembed, targets, weights, 4)
    assert loss.dtype == jnp.float32
    grad = jax.grad(sft_loss, argnums=1, has_aux=True)(
        hidden.astype(jnp.bfloat16), unembed, targets, weights, 4
    )[0]
    assert grad.dtype == jnp.float32
    np.testing.assert_allclose(loss, plain(*data), rtol=2e-2)


def collectives(text, size):
    """Per computation of a compiled program: its collectives of at least `size` elements, by name."""
    found, name = {}, ""
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            name = line.split()[0]
        operation = re.search(r"= .*?\[([\d,]*)\].*? (all-gather|all-reduce|reduce-scatter)(-start)?\(", line)
        if operation and np.prod([int(n) for n in operation[1].split(",") if n]) >= size:
            found.setdefault(name, []).append(operation[2])
    return found


@pytest.mark.parametrize(("options", "split"), [({"fsdp": 4}, (4, 1)), ({"fsdp": 2, "tensor": 2}, (2, 2))])
def test_a_mesh_gathers_the_unembedding_once_and_reduces_its_gradient_once(options, split):
    """Outside of the loop over chunks, which the compiler alone would not do; and the result is the same."""
    random = np.random.RandomState(1)
    width, vocabulary = 64, 512
    hidden = jnp.asarray(random.standard_normal((4, 32, width)), jnp.float32)
    unembed = jnp.asarray(random.standard_normal((width, vocabulary)), jnp.float32)
    targets = jnp.asarray(random.randint(0, vocabulary, (4, 32)))
    weights = jnp.asarray(random.rand(4, 32) < 0.6, jnp.float32)
    mesh = make_mesh(MeshOptions(**options))
    places = jax.P("fsdp"), jax.P("fsdp", "tensor")
    arguments = [
        jax.device_put(x, jax.NamedSharding(mesh, p)) for x, p in zip((hidden, unembed), places, strict=True)
    ]
    nll = lambda h, w: sft_loss(h, w, targets, weights, 4)[0]  # noqa: E731
    scores = lambda h, w: jnp.sum(jnp.sin(token_logprobs(h, w, targets, 4, weights).logprob))  # noqa: E731
    for loss, passes in ((nll, 1), (scores, 2)):
        step = jax.value_and_grad(loss, argnums=(0, 1))
        expected = jax.jit(step)(hidden, unembed)
        with jax.set_mesh(mesh):
            compiled = jax.jit(step).lower(*arguments).compile()
            got = compiled(*arguments)
        large = collectives(compiled.as_text(), width * vocabulary // (split[0] * split[1]))
        assert list(large) == ["ENTRY"], large
        assert large["ENTRY"].count("all-gather") <= passes
        assert len(large["ENTRY"]) <= passes + 1 + split[1]  # and, where split, the sum over its parts
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def of_shape(text, shape):
    """Per computation of a compiled program: its collectives whose results hold an array of this shape."""
    found, name = {}, ""
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            name = line.split()[0]
        operation = re.search(r"= (.*?) (all-gather|all-reduce|reduce-scatter)(-start)?\(", line)
        results = re.findall(r"\[([\d,]*)\]", operation[1]) if operation else []
        if shape in [tuple(int(n) for n in r.split(",") if n not in ("", "1")) for r in results]:
            found.setdefault(name, []).append(operation[2])
    return found


def preference():
    options = dataclasses.replace(tiny.OPTIONS, head_chunk=4, preference_loss="sigmoid")
    return preference_objective(options)


def micro_batches(objective):
    """Two micro-batches of four rows with two segments, or a pair, in each."""
    random = np.random.RandomState(2)
    segments = np.tile(np.repeat([1, 2, 3, 0], 4), (2, 4, 1)).astype(np.int32)
    batch = {
        "tokens": random.randint(0, 1024, (2, 4, 16)),
        "targets": random.randint(0, 1024, (2, 4, 16)),
        "positions": np.tile(np.arange(16), (2, 4, 1)),
        "segment_ids": segments,
        "weights": ((segments > 1) & (random.rand(2, 4, 16) < 0.7)).astype(np.float32),
    }
    if not isinstance(objective, SFTObjective):
        batch["parents"] = np.where(segments > 1, 1, 0).astype(np.int32)
        batch["reference"] = random.randn(2, 4, 8, 2).astype(np.float32)
        batch["pairs"] = np.eye(8, dtype=np.float32)[np.zeros((2, 4), int)]
    return batch


@pytest.mark.parametrize("make", [lambda: SFTObjective(head_chunk=4), preference], ids=["sft", "dpo"])
def test_a_step_of_micro_batches_gathers_and_reduces_the_unembedding_once(make):
    """Outside of the loop over micro-batches too, and with the gradients of one device."""
    objective = make()
    config = dataclasses.replace(tiny.CONFIG, vocab_size=1024, num_layers=1)
    graphdef, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    batch = micro_batches(objective)
    grads = jax.jit(objective_grads, static_argnums=(0, 3))
    expected = grads(graphdef, params, batch, objective)
    mesh = make_mesh(MeshOptions(fsdp=4))
    with jax.set_mesh(mesh):
        placed = (
            shard_params(params, mesh),
            jax.device_put(batch, jax.NamedSharding(mesh, jax.P(None, "fsdp"))),
        )
        compiled = grads.lower(graphdef, *placed, objective).compile()
        found = compiled(*placed)
    # The embedding's gradient, [1024, 16], is summed with those of the layers, in the loop.
    assert of_shape(compiled.as_text(), (16, 1024)) == {"ENTRY": ["all-gather", "all-reduce"]}
    assert tiny.close(found, expected)
