"""The preference losses by their closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_preference

from dast_jax.errors import UserError
from dast_jax.options import build
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import preference_objective
from dast_jax.training.preference_losses import (
    PairLogprobs,
    ipo_loss,
    pair_metrics,
    rpo_loss,
    sigmoid_loss,
    simpo_loss,
)

# r(y_w) = 2, r(y_l) = -1, Δ = 3; per token: 0.5 and -0.5; mean log-probabilities -2 and -3.5.
PAIR = PairLogprobs(*(jnp.float32(x) for x in (-8.0, -7.0, -10.0, -6.0, 4.0, 2.0)))


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_sigmoid_is_a_bernoulli_likelihood():
    assert float(sigmoid_loss(PAIR, beta=0.5)) == pytest.approx(-math.log(sigma(1.5)), rel=1e-6)
    smoothed = -0.8 * math.log(sigma(1.5)) - 0.2 * math.log(sigma(-1.5))
    assert float(sigmoid_loss(PAIR, beta=0.5, label_smoothing=0.2)) == pytest.approx(smoothed, rel=1e-6)


def at(delta):
    """A pair with this Δ."""
    return PAIR._replace(chosen=PAIR.chosen + (delta - 3.0))


def test_label_smoothing_puts_the_minimum_where_the_odds_are():
    """With a share ε of reversed labels the loss is least at σ(βΔ) = 1 − ε, where it is their entropy."""
    epsilon, beta = 0.1, 0.5
    best = math.log((1 - epsilon) / epsilon) / beta
    loss = lambda delta: sigmoid_loss(at(delta), beta=beta, label_smoothing=epsilon)  # noqa: E731
    assert float(jax.grad(loss)(best)) == pytest.approx(0.0, abs=1e-6)
    entropy = -epsilon * math.log(epsilon) - (1 - epsilon) * math.log(1 - epsilon)
    assert float(loss(best)) == pytest.approx(entropy, rel=1e-5)
    # It is symmetric at one half, whichever response is called chosen.
    half = sigmoid_loss(at(2.0), beta=beta, label_smoothing=0.5)
    assert float(half) == pytest.approx(float(sigmoid_loss(at(-2.0), beta=beta, label_smoothing=0.5)))


def test_sigmoid_gradient_is_the_papers():
    """∂L/∂Δ = −β·σ(−βΔ) (arXiv 2305.18290, section 4), and it is finite however far off."""
    slope = jax.grad(lambda delta: sigmoid_loss(at(delta), beta=0.5))
    for delta in (-4.0, 0.0, 3.0):
        assert float(slope(delta)) == pytest.approx(-0.5 * sigma(-0.5 * delta), rel=1e-5)
    assert float(slope(-1e6)) == pytest.approx(-0.5)
    assert float(sigmoid_loss(at(-1e6), beta=0.5)) == pytest.approx(5e5)
    assert float(slope(1e6)) == 0


def test_ipo_rpo_simpo():
    assert float(ipo_loss(PAIR, beta=0.25)) == pytest.approx((1.0 - 2.0) ** 2)
    assert float(ipo_loss(PAIR, beta=0.5)) == pytest.approx(0.0)  # Δ̄ is where it should be
    assert float(rpo_loss(PAIR, beta=0.5, alpha=0.3)) == pytest.approx(-math.log(sigma(1.5)) + 0.3 * 2.0)
    plain = float(sigmoid_loss(PAIR, beta=0.5, label_smoothing=0.1))
    assert float(rpo_loss(PAIR, beta=0.5, alpha=0.0, label_smoothing=0.1)) == pytest.approx(plain)
    assert float(simpo_loss(PAIR, beta=2.0, gamma=0.5)) == pytest.approx(-math.log(sigma(2.0 * 1.5 - 0.5)))
    other = PAIR._replace(reference_chosen=jnp.float32(9.0), reference_rejected=jnp.float32(9.0))
    assert simpo_loss(other, beta=2.0, gamma=0.5) == simpo_loss(PAIR, beta=2.0, gamma=0.5)


@pytest.mark.parametrize(("loss", "margin"), [("sigmoid", 3.0), ("rpo", 3.0), ("ipo", 1.0), ("simpo", 1.5)])
def test_metrics(loss, margin):
    metrics = pair_metrics(PAIR, loss=loss, beta=0.5)
    assert float(metrics.margin) == pytest.approx(0.5 * margin)
    assert float(metrics.accuracy) == 1.0
    assert (float(metrics.chosen_logprob), float(metrics.rejected_logprob)) == (-8.0, -7.0)
    assert float(metrics.kl) == pytest.approx(0.0 if loss == "simpo" else -0.5)
    swapped = PairLogprobs(*(PAIR[i] for i in (1, 0, 3, 2, 5, 4)))
    assert float(pair_metrics(swapped, loss=loss, beta=0.5).margin) == pytest.approx(-0.5 * margin)
    assert float(pair_metrics(swapped, loss=loss, beta=0.5).accuracy) == 0.0


def test_kl_is_estimated_from_samples_of_the_reference():
    """Over all responses of a reference distribution, weighted by it, it is KL(π_ref ‖ π)."""
    reference, policy = np.array([0.7, 0.3]), np.array([0.4, 0.6])
    random = np.random.RandomState(0).choice(2, (200_000, 2), p=reference)
    ones = np.ones(len(random))
    pairs = PairLogprobs(
        *(jnp.asarray(np.log(p)[random[:, i]]) for p in (policy, reference) for i in (0, 1)), ones, ones
    )
    estimate = float(pair_metrics(pairs, loss="sigmoid", beta=0.1).kl.mean())
    assert estimate == pytest.approx(float((reference * np.log(reference / policy)).sum()), abs=5e-3)


@pytest.mark.parametrize("case", list(torch_preference.CASES))
def test_each_loss_of_many_pairs_equals_stored_torch(case):
    stored = np.load(torch_preference.REFERENCE)
    lengths = np.array([[len(c), len(r)] for _, c, r in torch_preference.pairs()], np.float32)
    columns = [stored["policy"], stored["reference"], lengths]
    pairs = PairLogprobs(*(jnp.asarray(x[:, i]) for x in columns for i in (0, 1)))
    objective = preference_objective(TrainingOptions(**torch_preference.CASES[case]))
    np.testing.assert_allclose(objective.pair_loss(pairs), stored[f"{case}/losses"], rtol=2e-5)


def test_options_that_do_not_go_together_are_refused():
    for loss in ("ipo", "simpo"):
        with pytest.raises(UserError, match=rf"training: label_smoothing=0.1 .* preference_loss={loss}"):
            build(TrainingOptions, {"preference_loss": loss, "label_smoothing": 0.1}, where="training")
    with pytest.raises(UserError, match="training: beta must be more than 0"):
        build(TrainingOptions, {"beta": 0}, where="training")
    with pytest.raises(UserError, match="label_smoothing"):
        build(TrainingOptions, {"label_smoothing": 0.6}, where="training")
    with pytest.raises(UserError, match=r"training\.preference_loss.*sigmoid"):
        build(TrainingOptions, {"preference_loss": "hinge"}, where="training")
    with pytest.raises(UserError, match=r"training: reference=base .* preference_loss=simpo"):
        build(TrainingOptions, {"preference_loss": "simpo", "reference": "base"}, where="training")
    build(TrainingOptions, {"preference_loss": "rpo", "label_smoothing": 0.1}, where="training")


def test_the_methods_own_loss_must_be_resolved_first():
    with pytest.raises(ValueError, match="replace it"):
        preference_objective(TrainingOptions())
