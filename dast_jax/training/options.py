"""Options of the training stage. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.models.options import LoraOptions
from dast_jax.options import opt

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a round's examples or preference pairs become the next policy.

    The defaults of `learning_rate`, `epochs`, `batch_size`, `schedule`, `warmup_fraction`,
    `weight_decay`, `clip_norm` and `sequence_length` are the SFT settings of the DAST authors'
    repository, except that `batch_size` counts packed rows where theirs counts examples. That of
    `preference_learning_rate` is TRL's for DPO; a method that makes pairs has rounds of both kinds.
    """

    start: str = opt(
        "method",
        help="where each round's training starts: the last policy (continue), the base model (restart), or "
        "method, the method's own choice: star, rft, rest_em, vrt and the darts restart, the others continue",
        choices=("method", "continue", "restart"),
    )
    lora: LoraOptions = opt(LoraOptions, help="adapters that are trained in place of the weights")
    learning_rate: float = opt(
        2e-5,
        help="peak learning rate of rounds that train on examples; adapters usually want ten times as much",
        min=0.0,
    )
    preference_learning_rate: float = opt(
        1e-6,
        help="peak learning rate of rounds that train on pairs; without adapters, preference losses tolerate "
        "at most a tenth of learning_rate",
        min=0.0,
    )
    epochs: int = opt(1, help="passes over the round's training set", min=1)
    max_steps: int = opt(
        0,
        help="most optimizer steps of a round's training, whatever its epochs would take; the learning "
        "rate's schedule spans the steps that are made; 0 sets no limit",
        min=0,
    )
    batch_size: int = opt(32, help="packed rows per optimizer step", min=1)
    micro_batch_size: int = opt(
        0,
        help="packed rows per forward and backward pass; must divide batch_size; 0 takes all of them",
        min=0,
    )
    sequence_length: int = opt(
        512,
        help="tokens per packed row; longer examples are skipped and counted, never truncated; "
        "where a prompt with both its responses needs more, rows of preference pairs are twice as long, "
        "and half as many per step",
        min=2,
    )
    schedule: str = opt(
        "cosine",
        help="shape of the learning-rate schedule after warm-up",
        choices=("cosine", "linear", "constant"),
    )
    warmup_fraction: float = opt(
        0.05, help="share of the steps in which the learning rate rises to its peak", min=0.0, max=1.0
    )
    optimizer: str = opt(
        "adamw",
        help="adamw; adafactor, whose second moment takes a row and a column per matrix, without a first; or "
        "muon for the layers' matrices, with Adam for the rest (updates of AdamW's size)",
        choices=("adamw", "adafactor", "muon"),
    )
    moment_dtype: str = opt(
        "float32",
        help="precision of the first moment (adamw, muon); the second moment and the weights being trained "
        "are always float32",
        choices=("float32", "bfloat16"),
    )
    weight_decay: float = opt(0.01, help="decoupled weight decay; norms and biases have none", min=0.0)
    clip_norm: float = opt(0.3, help="largest global gradient norm; 0 turns clipping off", min=0.0)
    b1: float = opt(0.9, help="decay of Adam's first moment", min=0.0, max=1.0)
    b2: float = opt(0.999, help="decay of Adam's second moment", min=0.0, max=1.0)
    eps: float = opt(1e-8, help="Adam's epsilon", min=0.0)
    preference_loss: str = opt(
        "method",
        help="loss of preference pairs: DPO's sigmoid, ipo, rpo (sigmoid with the chosen response's "
        "likelihood), simpo (no reference policy), or method, the method's own choice",
        choices=("method", "sigmoid", "ipo", "rpo", "simpo"),
    )
    beta: float = opt(
        0.1,
        help="scale of a pair's reward: the strength of the tie to the reference policy; "
        "simpo, which has none, is usually run at 2 or more",
        min=0.0,
    )
    reference: str = opt(
        "round_start",
        help="the frozen reference policy of preference losses: that which the round's training starts from "
        "(round_start), or M_0 (base)",
        choices=("round_start", "base"),
    )
    label_smoothing: float = opt(
        0.0,
        help="share of pairs assumed to be reversed; for sigmoid and rpo",
        min=0.0,
        max=0.5,
    )
    rpo_alpha: float = opt(
        1.0, help="weight, in rpo, of the chosen response's negative log-likelihood per token", min=0.0
    )
    simpo_gamma: float = opt(
        0.5, help="margin, in simpo, by which the chosen reward should exceed the rejected one", min=0.0
    )
    head_chunk: int = opt(
        128,
        help="positions per row whose logits exist at one time; the peak is rows x head_chunk x vocabulary",
        min=1,
    )
    checkpoint_seconds: float = opt(
        300.0,
        help="seconds between checkpoints inside a stage; 0 saves after every step",
        changes_result=False,
        min=0.0,
    )

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError("beta must be more than 0: at 0 no preference changes the policy")
        if self.optimizer == "adafactor" and self.moment_dtype != "float32":
            raise ValueError("moment_dtype does not apply to optimizer=adafactor, which has no first moment")
        if self.optimizer == "muon" and self.lora.rank:
            raise ValueError("optimizer=muon is for whole matrices; with lora.rank use adamw or adafactor")
        if self.reference == "base" and self.preference_loss == "simpo":
            raise ValueError("reference=base does not apply to preference_loss=simpo, which has no reference")
        if self.label_smoothing and self.preference_loss in ("ipo", "simpo"):
            raise ValueError(
                f"label_smoothing={self.label_smoothing} does not apply to "
                f"preference_loss={self.preference_loss}: leave it at 0, or use sigmoid or rpo"
            )
