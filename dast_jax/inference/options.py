"""Options of the commands that only use a model: `sample`, `evaluate`, `agreement`. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.config import EvaluationOptions
from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.estimators.estimate import DEFAULT_SHARES, ESTIMATORS
from dast_jax.estimators.levels import DEFAULT_CUTS
from dast_jax.estimators.options import JudgeOptions
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.sampling.options import SamplingOptions
from dast_jax.verifiers.families import check_config_task
from dast_jax.verifiers.options import VerifierOptions

__all__ = ["AgreementOptions", "EvaluateOptions", "SampleOptions"]


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How responses to prompts are sampled; `sampling.trials` is their number for each prompt."""

    model: ModelOptions
    mesh: MeshOptions = opt(MeshOptions)
    sampling: SamplingOptions = opt(SamplingOptions)
    seed: int = opt(0, "seed of the sampling noise", min=0)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How a model is evaluated on the data set `data.train`."""

    model: ModelOptions
    data: DataOptions
    mesh: MeshOptions = opt(MeshOptions)
    prompts: PromptOptions = opt(PromptOptions)
    sampling: SamplingOptions = opt(SamplingOptions)
    evaluation: EvaluationOptions = opt(EvaluationOptions)
    verifier: VerifierOptions = opt(VerifierOptions)
    seed: int = opt(0, "seed of the sampling noise", min=0)

    def __post_init__(self) -> None:
        check_config_task(self.data.task, self.verifier.functions)


@dataclass(frozen=True, kw_only=True)
class AgreementOptions:
    """Which difficulty estimators are compared, on the data set `data.train` and for which model."""

    model: ModelOptions
    data: DataOptions
    mesh: MeshOptions = opt(MeshOptions)
    prompts: PromptOptions = opt(PromptOptions)
    sampling: SamplingOptions = opt(SamplingOptions)
    verifier: VerifierOptions = opt(VerifierOptions)
    judge: JudgeOptions = opt(JudgeOptions)
    estimators: tuple[str, ...] = opt(
        (),
        "which to compare; empty takes all that the data and judge.endpoint allow",
        choices=ESTIMATORS,
    )
    trials: int = opt(16, "K, the trials of each query", min=2)
    exemplars: int = opt(
        4,
        "random reference solutions of other queries shown before each; 0, or none in the data: zero-shot",
        min=0,
    )
    easy_cut: float = opt(DEFAULT_CUTS.easy, "sampled: easy from this pass rate up", min=0, max=1)
    hard_cut: float = opt(DEFAULT_CUTS.hard, "sampled: hard below this pass rate", min=0, max=1)
    level_shares: tuple[float, ...] = opt(
        (),
        "shares of easy, middle, hard and unsolved that the estimators which only rank give; empty takes "
        f"those of sampled, else {list(DEFAULT_SHARES)}",
        min=0,
        max=1,
    )
    seed: int = opt(0, "seed of the sampling noise and of the exemplars", min=0)

    def __post_init__(self) -> None:
        check_config_task(self.data.task, self.verifier.functions)
        if not 0 < self.hard_cut < self.easy_cut <= 1:
            raise ValueError(
                f"need 0 < hard_cut < easy_cut <= 1, got {self.hard_cut:g} and {self.easy_cut:g}"
            )
        if self.level_shares and (len(self.level_shares) != 4 or abs(sum(self.level_shares) - 1) > 1e-6):
            raise ValueError(f"level_shares: need four that sum to 1, got {list(self.level_shares)}")
        if self.estimators and len(set(self.estimators)) < 2:
            raise ValueError("estimators: name at least two to compare")
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature: greedy trials are all the same; raise it")
