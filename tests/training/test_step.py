"""The optimizer step: packing, micro-batches, normalization, masking, guards, the schedule."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_training as tiny
from flax import nnx

from dast_jax.data.packing import pack
from dast_jax.errors import UserError
from dast_jax.training.optimizer import learning_rate, make_optimizer
from dast_jax.training.options import TrainingOptions
from dast_jax.training.step import init_optimizer, loss_and_grads, make_train_step, put_batch
from dast_jax.training.trainer import train

gradients = jax.jit(loss_and_grads, static_argnums=(0, 3))


def stacked(examples, length=32):
    rows = pack(examples, length)
    return {k: np.stack([rows[i][k] for i in range(len(rows))]) for k in rows[0]}


def micro(batch, count):
    return {k: v.reshape(count, -1, v.shape[-1]) for k, v in batch.items()}


def test_packed_equals_unpacked():
    graphdef, params = tiny.model()
    examples = tiny.examples(10)
    packed = stacked(examples)
    alone = {
        k: np.concatenate([stacked([e])[k] for e in examples])
        for k in ("tokens", "segment_ids", "positions", "targets", "weights")
    }
    assert len(packed["tokens"]) < len(alone["tokens"]) == 10
    sums, grads = gradients(graphdef, params, micro(packed, 1), 8)
    expected, expected_grads = gradients(graphdef, params, micro(alone, 1), 8)
    assert sums.tokens == expected.tokens == sum(len(e.response) for e in examples)
    np.testing.assert_allclose(sums.nll, expected.nll, rtol=1e-5)
    assert tiny.close(grads, expected_grads)


def test_segments_do_not_see_each_other():
    graphdef, params = tiny.model()
    model = nnx.merge(graphdef, params)
    batch = jax.tree.map(jnp.asarray, stacked(tiny.examples(3), 64))
    assert len(batch["tokens"]) == 1
    hidden = model(batch["tokens"], batch["positions"], batch["segment_ids"])
    changed = jnp.where(batch["segment_ids"] == 1, (batch["tokens"] + 1) % 32, batch["tokens"])
    after = model(changed, batch["positions"], batch["segment_ids"])
    others = batch["segment_ids"] > 1
    np.testing.assert_array_equal(np.asarray(hidden)[others], np.asarray(after)[others])
    assert (np.asarray(hidden) != np.asarray(after)).any()


def test_micro_batches_equal_the_whole_batch_though_their_token_counts_differ():
    graphdef, params = tiny.model()
    batch = stacked(tiny.examples(24))
    batch = {k: v[:8] for k, v in batch.items()}
    batch["weights"][:2] = 0  # the first of four micro-batches has no response token at all
    counts = [w.sum() for w in np.split(batch["weights"], 4)]
    assert len(set(counts)) == 4
    whole, whole_grads = gradients(graphdef, params, micro(batch, 1), 8)
    split, split_grads = gradients(graphdef, params, micro(batch, 4), 8)
    assert split.tokens == whole.tokens == sum(counts)
    assert split.correct == whole.correct
    np.testing.assert_allclose(split.nll, whole.nll, rtol=1e-5)
    assert tiny.close(split_grads, whole_grads)
    # The trap: averaging each micro-batch's mean gives something else.
    parts = [gradients(graphdef, params, micro({k: v[i : i + 2] for k, v in batch.items()}, 1), 8)[1]
             for i in range(0, 8, 2)]  # fmt: skip
    assert not tiny.close(jax.tree.map(lambda *g: sum(g) / 4, *parts), whole_grads, rtol=1e-2)


def test_prompt_tokens_have_exactly_no_weight():
    graphdef, params = tiny.model()
    batch = stacked(tiny.examples(8))
    other = {**batch, "targets": np.where(batch["weights"] == 0, 31 - batch["targets"], batch["targets"])}
    assert (other["targets"] != batch["targets"]).sum() > 20
    sums, grads = gradients(graphdef, params, micro(batch, 1), 8)
    again, grads_again = gradients(graphdef, params, micro(other, 1), 8)
    assert tiny.same_bits((sums, grads), (again, grads_again))


def one_step(options, batch, rate=0.1, params=None):
    graphdef, initial = tiny.model()
    params = jax.tree.map(jnp.copy, initial if params is None else params)
    opt_state = init_optimizer(options, params)
    return make_train_step(graphdef, options)(params, opt_state, put_batch(batch, options), np.float32(rate))


def test_the_step_is_clipped_adamw_without_decay_of_norms():
    options = tiny.OPTIONS
    batch = stacked(tiny.examples(12))
    graphdef, params = tiny.model()
    new, opt_state, metrics = one_step(options, batch)
    sums, grads = gradients(graphdef, params, micro(batch, 1), 8)
    norm = math.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    assert norm > options.clip_norm
    assert float(metrics.grad_norm) == pytest.approx(norm, rel=1e-5)
    assert float(metrics.loss) == pytest.approx(float(sums.nll / sums.tokens), rel=1e-6)
    assert float(metrics.accuracy) == pytest.approx(float(sums.correct / sums.tokens), rel=1e-6)
    before, after = dict(nnx.to_flat_state(params)), dict(nnx.to_flat_state(new))
    for path, leaf in nnx.to_flat_state(grads):
        p, g = before[path].get_value(), leaf.get_value() * (options.clip_norm / norm)
        decay = 0.0 if "scale" in path else options.weight_decay
        # Adam's first step: both bias corrections cancel, and the direction is g / (|g| + eps).
        want = p - 0.1 * (g / (jnp.abs(g) + options.eps) + decay * p)
        np.testing.assert_allclose(after[path].get_value(), want, atol=2e-5, err_msg=str(path))
    assert int(optax.tree_utils.tree_get(opt_state, "count")) == 1


def test_a_step_that_is_not_finite_changes_nothing():
    batch = stacked(tiny.examples(8))
    _, params = tiny.model()
    spoilt = jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(jnp.nan) if p.shape == (16,) else p, params)
    new, opt_state, metrics = one_step(tiny.OPTIONS, batch, params=spoilt)
    assert not metrics.finite
    assert not math.isfinite(metrics.loss)
    assert tiny.same_bits(new, spoilt)
    assert tiny.same_bits(opt_state, init_optimizer(tiny.OPTIONS, params))


def test_a_batch_without_response_tokens_has_loss_zero():
    batch = stacked(tiny.examples(8))
    batch["weights"] = np.zeros_like(batch["weights"])
    new, _, metrics = one_step(tiny.OPTIONS, batch)
    assert metrics.finite
    assert metrics.loss == metrics.tokens == metrics.grad_norm == 0
    decayed = jax.tree.map(
        lambda p: p * (1 - 0.1 * tiny.OPTIONS.weight_decay), tiny.model()[1]["layers"]["q"]
    )
    assert tiny.close(new["layers"]["q"], decayed, rtol=1e-6)


def test_rows_that_do_not_divide_are_refused():
    batch = stacked(tiny.examples(24))
    batch = {k: v[:6] for k, v in batch.items()}
    with pytest.raises(UserError, match=r"training\.micro_batch_size=4 does not divide .*=6"):
        put_batch(batch, dataclasses.replace(tiny.OPTIONS, micro_batch_size=4))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0.05), (20, 0.05), (100, 0.3), (7, 0.0), (10, 1.0)])
def test_the_schedule_follows_its_closed_form(schedule, total, warmup):
    options = TrainingOptions(learning_rate=3e-4, schedule=schedule, warmup_fraction=warmup)
    rates = [learning_rate(options, step, total) for step in range(total)]
    rising = -(-round(warmup * total * 1000) // 1000)
    for step, rate in enumerate(rates):
        if step < rising:
            factor = (step + 1) / (rising + 1)
        else:
            u = (step - rising) / (total - rising)
            factor = {"constant": 1.0, "linear": 1 - u, "cosine": math.cos(math.pi * u / 2) ** 2}[schedule]
        assert rate == pytest.approx(3e-4 * factor, abs=3e-4 * 1e-6)  # computed in float32
    assert all(0 < rate <= 3e-4 * (1 + 1e-6) for rate in rates)
    assert sorted(rates[:rising]) == rates[:rising]


def test_only_matrices_are_decayed():
    _, params = tiny.model()
    zeros = jax.tree.map(jnp.zeros_like, params)
    optimizer = make_optimizer(dataclasses.replace(tiny.OPTIONS, weight_decay=0.5))
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    for path, leaf in nnx.to_flat_state(updates):
        assert bool(jnp.any(leaf.get_value() != 0)) == ("scale" not in path), path


# --- other optimizers ------------------------------------------------------------------------------------


def _updates(**changes):
    """Return path → (parameter, clipped gradient, update) of an optimizer's first step, as NumPy arrays."""
    graphdef, params = tiny.model()
    options = dataclasses.replace(tiny.OPTIONS, weight_decay=0.0, clip_norm=0.0, **changes)
    _, grads = gradients(graphdef, params, micro(stacked(tiny.examples(12)), 1), 8)
    optimizer = make_optimizer(options)
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    trees = [dict(nnx.to_flat_state(tree)) for tree in (params, grads, updates)]
    return {path: tuple(np.asarray(t[path].get_value()) for t in trees) for path in trees[0]}


def test_muon_makes_each_layers_matrices_orthogonal_and_leaves_the_rest_to_adam():
    both = _updates(optimizer="muon")
    adam = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8, nesterov=True)
    shapes = {"q": (16, 16), "k": (16, 8), "v": (16, 8), "o": (16, 16), "gate": (16, 32), "down": (32, 16)}
    seen = set()
    for path, (_, gradient, update) in both.items():
        assert (gradient * update).sum() > 0, path  # the step subtracts it
        if "kernel" not in path:
            want, _ = adam.update(gradient, adam.init(gradient))
            np.testing.assert_allclose(update, want, atol=1e-5, err_msg=str(path))
            continue
        name = path[path.index("kernel") - 1]
        for layer in range(2):
            matrix = update[layer].reshape(shapes.get(name, (16, 32)))
            values = np.linalg.svd(matrix, compute_uv=False)
            # Newton-Schulz brings the singular values near 1, and the scale makes the RMS 0.2.
            scale = 0.2 * math.sqrt(max(matrix.shape))
            assert (values[:4] / scale > 0.5).all(), (path, values / scale)
            assert (values / scale < 1.3).all(), (path, values / scale)
        seen.add(name)
    assert seen == {"q", "k", "v", "o", "gate", "up", "down"}


def test_adafactor_is_scaled_by_the_second_moment_and_keeps_no_first():
    updates = _updates(optimizer="adafactor")
    for path, (_, gradient, update) in updates.items():
        # Below 128 columns nothing is factored: the first step is the gradient's sign, of RMS 1.
        used = np.abs(gradient) > 1e-6
        np.testing.assert_allclose(update[used], np.sign(gradient[used]), rtol=1e-3, err_msg=str(path))
    _, params = tiny.model()
    state = make_optimizer(dataclasses.replace(tiny.OPTIONS, optimizer="adafactor")).init(params)
    adam = make_optimizer(tiny.OPTIONS).init(params)
    assert sum(x.size for x in jax.tree.leaves(state)) < 0.6 * sum(x.size for x in jax.tree.leaves(adam))


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_every_optimizer_lowers_the_loss_and_knows_the_moment_dtype(optimizer):
    options = dataclasses.replace(tiny.OPTIONS, optimizer=optimizer)
    if optimizer != "adafactor":
        options = dataclasses.replace(options, moment_dtype="bfloat16")
    batch = stacked(tiny.examples(12))
    graphdef, params = tiny.model()
    params = jax.tree.map(jnp.copy, params)
    state = init_optimizer(options, params)
    dtypes = {str(x.dtype) for x in jax.tree.leaves(state)}
    assert ("bfloat16" in dtypes) == (optimizer != "adafactor")
    step = make_train_step(graphdef, options)
    losses = []
    for _ in range(8):
        params, state, metrics = step(params, state, put_batch(batch, options), np.float32(0.01))
        losses.append(float(metrics.loss))
    assert losses[-1] < losses[0] - 0.2


def test_weights_kept_in_bfloat16_are_trained_in_float32():
    """A learning rate whose steps are all below bfloat16's resolution, and whose sum is above it."""
    graphdef, params = tiny.model()
    small = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    options = dataclasses.replace(
        tiny.OPTIONS, learning_rate=2e-5, schedule="constant", epochs=10, weight_decay=0.0
    )
    rounded = train(graphdef, small, tiny.examples(12), options=options, seed=0, pad_id=0).params
    start = jax.tree.map(lambda x: x.astype(jnp.float32), small)
    exact = train(graphdef, start, tiny.examples(12), options=options, seed=0, pad_id=0).params
    assert {x.dtype for x in jax.tree.leaves(rounded)} == {jnp.dtype(jnp.bfloat16)}
    assert tiny.same_bits(rounded, jax.tree.map(lambda x: x.astype(jnp.bfloat16), exact))
    assert not tiny.same_bits(rounded, small)


def test_a_moment_dtype_without_a_moment_is_refused():
    with pytest.raises(ValueError, match="moment_dtype does not apply to optimizer=adafactor"):
        TrainingOptions(optimizer="adafactor", moment_dtype="bfloat16")
