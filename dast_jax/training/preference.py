"""Train a policy on pairs of responses of which one is preferred."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from dast_jax.data.pair_packing import PackedPairs, pack_pairs, row_length
from dast_jax.errors import UserError
from dast_jax.models.llama import Graph, Llama, Params
from dast_jax.records import PreferencePair
from dast_jax.training.checkpoint import TrainCheckpoints
from dast_jax.training.head import Unembedding
from dast_jax.training.losses import token_logprobs
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference_losses import (
    PairLogprobs,
    PairMetrics,
    ipo_loss,
    pair_metrics,
    rpo_loss,
    sigmoid_loss,
    simpo_loss,
)
from dast_jax.training.score import Scores, response_sums, score_pairs
from dast_jax.training.stage import OnStep, TrainResult, TrainStats, common_stats, train_rows

__all__ = [
    "PreferenceMetrics",
    "PreferenceObjective",
    "PreferenceStats",
    "PreferenceSums",
    "needs_reference",
    "preference_objective",
    "reference_logprobs",
    "train_preferences",
]


class PreferenceSums(NamedTuple):
    """Sums over a batch, float32 scalars: they add up over micro-batches.

    loss: the pairs' losses; pairs: the number of pairs; of_pairs: sums of the pairs' metrics; tokens:
    response tokens of both responses; chosen_tokens: of the chosen ones; correct: chosen tokens predicted
    correctly.
    """

    loss: Float[Array, ""]
    pairs: Float[Array, ""]
    of_pairs: PairMetrics
    tokens: Float[Array, ""]
    chosen_tokens: Float[Array, ""]
    correct: Float[Array, ""]


class PreferenceMetrics(NamedTuple):
    """Metrics of one optimizer step, scalars: means over its pairs, except where stated otherwise.

    loss; reward_margin, reward_accuracy, chosen_logprob, rejected_logprob, kl: see
    `preference_losses.PairMetrics`; accuracy: share of the chosen responses' tokens predicted correctly;
    pairs, tokens: the number of pairs, and of response tokens in both their responses; grad_norm, finite:
    as in `step.StepMetrics`.
    """

    loss: Float[Array, ""]
    reward_margin: Float[Array, ""]
    reward_accuracy: Float[Array, ""]
    chosen_logprob: Float[Array, ""]
    rejected_logprob: Float[Array, ""]
    kl: Float[Array, ""]
    accuracy: Float[Array, ""]
    pairs: Float[Array, ""]
    tokens: Float[Array, ""]
    grad_norm: Float[Array, ""]
    finite: Bool[Array, ""]


@dataclass(frozen=True, kw_only=True)
class PreferenceStats(TrainStats):
    """Statistics of a preference stage: `examples` and `skipped` are pairs, `final_loss` is per pair.

    The rest are means over the steps of the `PreferenceMetrics` of the same names.
    """

    reward_margin: float
    reward_accuracy: float
    chosen_logprob: float
    rejected_logprob: float
    kl: float


@dataclass(frozen=True, kw_only=True)
class PreferenceObjective:
    """The mean loss of the step's pairs; the fields are the options of the same names."""

    head_chunk: int
    preference_loss: str
    beta: float
    label_smoothing: float = 0.0
    rpo_alpha: float = 0.0
    simpo_gamma: float = 0.0

    def loss(
        self, model: Llama, micro: Mapping[str, Array], unembed: Unembedding
    ) -> tuple[Float[Array, ""], PreferenceSums]:
        """Return the summed losses of the pairs; `micro` holds rows of `pair_packing.PackedPairs`."""
        weights, segments = micro["weights"].astype(jnp.float32), micro["segment_ids"]
        hidden = model(micro["tokens"], micro["positions"], segments, micro["parents"])
        scores = token_logprobs(hidden, unembed, micro["targets"], self.head_chunk, weights)
        present = micro["pairs"]
        logprobs = response_sums(weights * scores.logprob, segments, present.shape[1])
        lengths = response_sums(weights, segments, present.shape[1])
        safe = jnp.maximum(lengths, 1.0)  # where there is no pair, everything but its length is 0
        pairs = PairLogprobs(
            chosen=logprobs[..., 0],
            rejected=logprobs[..., 1],
            reference_chosen=micro["reference"][..., 0],
            reference_rejected=micro["reference"][..., 1],
            chosen_length=safe[..., 0],
            rejected_length=safe[..., 1],
        )
        loss = jnp.sum(present * self.pair_loss(pairs))
        of_pairs = pair_metrics(pairs, loss=self.preference_loss, beta=self.beta)
        chosen_weights = weights * (segments % 3 == 2)
        sums = PreferenceSums(
            loss=loss,
            pairs=jnp.sum(present),
            of_pairs=jax.tree.map(lambda x: jnp.sum(present * x), of_pairs),
            tokens=jnp.sum(weights),
            chosen_tokens=jnp.sum(chosen_weights),
            correct=jnp.sum(chosen_weights * scores.top),
        )
        return loss, jax.lax.stop_gradient(sums)

    def pair_loss(self, pairs: PairLogprobs) -> Float[Array, "*pairs"]:
        """Return each pair's loss."""
        match self.preference_loss:
            case "sigmoid":
                return sigmoid_loss(pairs, beta=self.beta, label_smoothing=self.label_smoothing)
            case "ipo":
                return ipo_loss(pairs, beta=self.beta)
            case "rpo":
                return rpo_loss(
                    pairs, beta=self.beta, alpha=self.rpo_alpha, label_smoothing=self.label_smoothing
                )
            case "simpo":
                return simpo_loss(pairs, beta=self.beta, gamma=self.simpo_gamma)
        raise ValueError(f"no preference loss {self.preference_loss!r}: the caller must choose one")

    def count(self, sums: PreferenceSums) -> Float[Array, ""]:
        """Return the number of pairs."""
        return jnp.maximum(sums.pairs, 1.0)

    def metrics(
        self, sums: PreferenceSums, *, grad_norm: Float[Array, ""], finite: Bool[Array, ""]
    ) -> PreferenceMetrics:
        """Return the means over the pairs."""
        pairs = self.count(sums)
        means = jax.tree.map(lambda x: x / pairs, sums.of_pairs)
        return PreferenceMetrics(
            loss=sums.loss / pairs,
            reward_margin=means.margin,
            reward_accuracy=means.accuracy,
            chosen_logprob=means.chosen_logprob,
            rejected_logprob=means.rejected_logprob,
            kl=means.kl,
            accuracy=sums.correct / jnp.maximum(sums.chosen_tokens, 1.0),
            pairs=sums.pairs,
            tokens=sums.tokens,
            grad_norm=grad_norm,
            finite=finite,
        )


def preference_objective(options: TrainingOptions) -> PreferenceObjective:
    """Return the objective of `options`, with what its loss does not use left at 0 (a program's cache key).

    Raises `ValueError` while `preference_loss` is "method": the caller must replace it by the method's.
    """
    loss = options.preference_loss
    if loss == "method":
        raise ValueError("preference_loss is 'method': replace it by the method's own before training")
    return PreferenceObjective(
        head_chunk=options.head_chunk,
        preference_loss=loss,
        beta=options.beta,
        label_smoothing=options.label_smoothing if loss in ("sigmoid", "rpo") else 0.0,
        rpo_alpha=options.rpo_alpha if loss == "rpo" else 0.0,
        simpo_gamma=options.simpo_gamma if loss == "simpo" else 0.0,
    )


def needs_reference(options: TrainingOptions) -> bool:
    """Return whether the loss of `options` uses the reference policy's log-probabilities."""
    return options.preference_loss != "simpo"


def reference_logprobs(
    graphdef: Graph,
    params: Params,
    pairs: Sequence[PreferencePair],
    *,
    options: TrainingOptions,
    pad_id: int,
    mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, "n 2"], Scores]:
    """Return the log-probabilities (nats) of `pairs` under `params`, the reference: chosen and rejected.

    NaN for a pair with a text that is longer than a row, which is skipped in training. A prompt is computed
    once for both its responses, and counts once: one forward pass over the rows of training. Also
    returns the scores of the 2n responses, for their token counts.
    """
    options, rows = _pack(pairs, np.zeros((len(pairs), 2), np.float32), options, pad_id=pad_id, mesh=mesh)
    scores = score_pairs(graphdef, params, rows, options=options, mesh=mesh)
    return scores.logprob.reshape(len(pairs), 2), scores


def _pack(
    pairs: Sequence[PreferencePair],
    reference: Float[np.ndarray, "n 2"],
    options: TrainingOptions,
    *,
    pad_id: int,
    mesh: Mesh | None,
    seed: int = 0,
) -> tuple[TrainingOptions, PackedPairs]:
    """Return the rows of `pairs`, and `options` with the length and number of these rows."""
    text_length = options.sequence_length
    if row_length(pairs, text_length) > text_length:
        options = _with_double_rows(options, mesh)
    return options, pack_pairs(
        pairs, reference, options.sequence_length, text_length=text_length, pad_id=pad_id, seed=seed
    )


def train_preferences(
    graphdef: Graph,
    params: Params,
    pairs: Sequence[PreferencePair],
    reference: Float[np.ndarray, "n 2"] | None,
    *,
    options: TrainingOptions,
    seed: int,
    pad_id: int,
    mesh: Mesh | None = None,
    checkpoints: TrainCheckpoints | None = None,
    on_step: OnStep | None = None,
    donate: bool = False,
    frozen: Params | None = None,
) -> TrainResult:
    """Train `params` on `pairs` by `options.preference_loss`; its `stats` are a `PreferenceStats`.

    `reference` holds the reference policy's summed log-probabilities of the chosen and the rejected
    responses (`reference_logprobs`); simpo does not use it and takes None. A pair with a text that is longer
    than `options.sequence_length` is skipped and counted; where a prompt with both its responses does not fit
    into one row, rows are twice as long, and half as many per step. The learning rate peaks at
    `options.preference_learning_rate`. Otherwise like `trainer.train`: deterministic, resumable from
    `checkpoints`, adapters beside `frozen` parameters, and it raises the same.
    """
    options = dataclasses.replace(options, learning_rate=options.preference_learning_rate)
    objective = preference_objective(options)
    if not needs_reference(options):
        reference = np.zeros((len(pairs), 2), np.float32)
    elif reference is None:
        raise ValueError(f"preference_loss={options.preference_loss} needs reference log-probabilities")
    text_length = options.sequence_length
    options, rows = _pack(pairs, reference, options, pad_id=pad_id, mesh=mesh, seed=seed)
    if not len(rows):
        raise UserError(
            f"there is nothing to train on: {len(pairs)} preference pairs, {len(rows.skipped)} of them with "
            f"a text of more tokens than training.sequence_length={text_length}; raise it"
        )
    params, progress = train_rows(
        graphdef,
        params,
        rows,
        objective=objective,
        identity=_identity(rows, objective, options, seed),
        options=options,
        seed=seed,
        mesh=mesh,
        checkpoints=checkpoints,
        on_step=on_step,
        donate=donate,
        frozen=frozen,
    )
    stats = PreferenceStats(
        **common_stats(rows, progress, options, seed, len(pairs)),
        reward_margin=progress.mean("reward_margin"),
        reward_accuracy=progress.mean("reward_accuracy"),
        chosen_logprob=progress.mean("chosen_logprob"),
        rejected_logprob=progress.mean("rejected_logprob"),
        kl=progress.mean("kl"),
    )
    return TrainResult(params=params, stats=stats)


def _with_double_rows(options: TrainingOptions, mesh: Mesh | None) -> TrainingOptions:
    """Return `options` with rows twice as long, and half as many: a step has the same tokens and memory.

    Their number stays where half of it does not divide evenly into micro-batches, or over the mesh.
    """
    options = dataclasses.replace(options, sequence_length=2 * options.sequence_length)
    ways = mesh.shape["data"] * mesh.shape["fsdp"] if mesh is not None else 1
    batch, micro = options.batch_size, options.micro_batch_size
    if batch % 2 or micro % 2 or (micro or batch) // 2 % ways:
        return options
    return dataclasses.replace(options, batch_size=batch // 2, micro_batch_size=micro // 2)


def _identity(rows: PackedPairs, objective: PreferenceObjective, options: TrainingOptions, seed: int) -> str:
    """Return a digest of what decides the batches and the loss; another stage's checkpoints do not match."""
    digest = hashlib.sha256()
    length = options.epochs, options.max_steps, options.batch_size, options.sequence_length
    layout = "prompts shared"  # the rows of a checkpoint must be these
    shape = [layout, repr(objective), seed, *length, rows.pad_id]
    digest.update(json.dumps(shape).encode())
    digest.update(rows.reference.tobytes())
    for pair in rows.pairs:
        lengths = len(pair.prompt), len(pair.chosen), len(pair.rejected)
        digest.update(np.array([*lengths, *pair.prompt, *pair.chosen, *pair.rejected], np.int32).tobytes())
    return digest.hexdigest()
