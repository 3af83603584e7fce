"""Options of the training stage. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

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
        help="Where each round's training starts: the last policy (continue), the base model (restart), or "
        "method, the method's own way: star, rft, rest_em, vrt and the darts restart, the others continue.",
        choices=("method", "continue", "restart"),
    )
    learning_rate: float = opt(2e-5, help="Peak learning rate of rounds that train on examples.", min=0.0)
    preference_learning_rate: float = opt(
        1e-6,
        help="Peak learning rate of rounds that train on pairs. Without adapters, preference losses tolerate "
        "at most a tenth of learning_rate.",
        min=0.0,
    )
    epochs: int = opt(1, help="Passes over the round's training set.", min=1)
    batch_size: int = opt(32, help="Packed rows per optimizer step.", min=1)
    micro_batch_size: int = opt(
        0,
        help="Packed rows per forward and backward pass; must divide batch_size. 0 means all of them.",
        min=0,
    )
    sequence_length: int = opt(
        512,
        help="Tokens per packed row. Longer examples are skipped and counted, never cut. "
        "Both texts of a preference pair must fit into one row.",
        min=2,
    )
    schedule: str = opt(
        "cosine",
        help="Shape of the learning rate after warm-up.",
        choices=("cosine", "linear", "constant"),
    )
    warmup_fraction: float = opt(
        0.05, help="Share of the steps in which the learning rate rises to its peak.", min=0.0, max=1.0
    )
    weight_decay: float = opt(0.01, help="AdamW's decoupled decay; norms and biases have none.", min=0.0)
    clip_norm: float = opt(0.3, help="Largest global gradient norm. 0 means no clipping.", min=0.0)
    b1: float = opt(0.9, help="Decay of Adam's first moment.", min=0.0, max=1.0)
    b2: float = opt(0.999, help="Decay of Adam's second moment.", min=0.0, max=1.0)
    eps: float = opt(1e-8, help="Adam's epsilon.", min=0.0)
    preference_loss: str = opt(
        "method",
        help="Loss of preference pairs: DPO's sigmoid, ipo, rpo (sigmoid with the chosen response's "
        "likelihood), simpo (no reference policy), or method, the method's own.",
        choices=("method", "sigmoid", "ipo", "rpo", "simpo"),
    )
    beta: float = opt(
        0.1,
        help="Scale of a pair's reward: the strength of the tie to the reference policy. "
        "simpo, which has none, is usually run at 2 or more.",
        min=0.0,
    )
    label_smoothing: float = opt(
        0.0,
        help="Share of pairs assumed to be reversed; for sigmoid and rpo.",
        min=0.0,
        max=0.5,
    )
    rpo_alpha: float = opt(
        1.0, help="Weight, in rpo, of the chosen response's negative log-likelihood per token.", min=0.0
    )
    simpo_gamma: float = opt(
        0.5, help="Margin, in simpo, by which the chosen reward should exceed the rejected one.", min=0.0
    )
    head_chunk: int = opt(
        128,
        help="Positions per row whose logits exist at one time; the peak is rows x head_chunk x vocabulary.",
        min=1,
    )
    checkpoint_seconds: float = opt(
        300.0,
        help="Seconds between checkpoints inside a stage. 0 means after every step.",
        changes_result=False,
        min=0.0,
    )

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError("beta must be more than 0: at 0 no preference changes the policy")
        if self.label_smoothing and self.preference_loss in ("ipo", "simpo"):
            raise ValueError(
                f"label_smoothing={self.label_smoothing} has no meaning for "
                f"preference_loss={self.preference_loss}: leave it at 0, or use sigmoid or rpo"
            )
