"""Options of the commands that only use a model: `sample`, `evaluate`, `agreement`. No jax here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.estimators.estimate import DEFAULT_SHARES, ESTIMATORS
from dast_jax.estimators.levels import DEFAULT_CUTS
from dast_jax.llm.judge import JudgeOptions
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.sampling.options import DecodingOptions, SamplingOptions
from dast_jax.verifiers.families import check_config_task
from dast_jax.verifiers.options import VerifierOptions

__all__ = ["AgreementOptions", "EvaluateOptions", "EvaluationOptions", "SampleOptions", "TrialOptions"]


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """How many queries of a set are evaluated, by how many trials, and how these are sampled."""

    limit: int = opt(0, "only the first n queries of each set; 0 takes all", min=0)
    trials: int = opt(
        1,
        "responses per query; above 1, accuracy is the mean share of correct ones (avg@k), and pass@k and "
        "majority@k are reported too",
        min=1,
    )
    exemplars: int = opt(
        0,
        "solved problems shown before every question, the first of prompts.exemplars, in a run without that "
        "the first of data.train; 0 is zero-shot",
        min=0,
    )
    temperature: float = opt(0.0, "softmax temperature; 0 takes the most probable token", min=0)
    top_k: int = opt(0, "keep only the k most probable tokens; 0 keeps all", min=0)
    top_p: float = opt(1.0, "keep the most probable tokens that together have this probability", min=0, max=1)
    max_new_tokens: int = opt(
        0, "a response ends after this many tokens; 0 takes sampling.max_new_tokens", min=0
    )

    def __post_init__(self) -> None:
        if self.trials > 1 and self.temperature == 0:
            raise ValueError(
                f"trials: {self.trials} greedy trials are all the same; raise temperature, or set trials to 1"
            )

    def sampling(self, base: DecodingOptions) -> SamplingOptions:
        """Return `base` (shapes, stop strings) with the choices made here."""
        new_tokens = self.max_new_tokens or base.max_new_tokens
        values = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
        return SamplingOptions(
            **values
            | {
                "temperature": self.temperature,
                "top_k": self.top_k,
                "top_p": self.top_p,
                "trials": self.trials,
                "max_new_tokens": new_tokens,
                "min_new_tokens": min(base.min_new_tokens, new_tokens),
            }
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(TrialOptions):
    """The evaluation of a run's policies: its sets, when, and what is measured besides."""

    sets: dict[str, str] = opt({}, "test sets: a name of your choice for each data source")
    every_round: bool = opt(True, "evaluate after every round, not only after the last")
    level_trials: int = opt(
        0,
        "label sets without levels by this number of trials of the base model; 0 leaves them unlabeled",
        min=0,
    )
    probe: int = opt(
        32,
        "training queries sampled zero-shot and few-shot under every evaluated policy, for pass rates, "
        "pass@k, levels and entropy that compare across rounds; 0 turns it off",
        min=0,
    )
    probe_trials: int = opt(
        4, "trials of each probed query, with either prompt; levels need 5 at least", min=1
    )
    length_probe: int = opt(
        32,
        "training queries sampled twice, after long and after short exemplars, to check whether responses "
        "still follow their length; 0 turns it off",
        min=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.sets:
            if not name or "/" in name or "\\" in name:
                raise ValueError(f"sets: {name!r} is part of file names; use a name without / and \\")


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
    sampling: DecodingOptions = opt(DecodingOptions)
    evaluation: TrialOptions = opt(TrialOptions)
    verifier: VerifierOptions = opt(VerifierOptions)
    seed: int = opt(0, "seed of the sampling noise", min=0)
    round: int | str = opt(
        "last",
        "with --run, the round whose policy is evaluated: its number, the last one trained, the best by the "
        "mean accuracy over the run's evaluation sets, or base for the base model",
    )

    def __post_init__(self) -> None:
        check_config_task(self.data.task, self.verifier.functions)
        if self.round not in ("last", "best", "base") if isinstance(self.round, str) else self.round < 0:
            raise ValueError(f"round: expected a number from 0, or last, best, base; got {self.round}")


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
        "estimators to compare; empty takes all that the data and judge.endpoint allow",
        choices=ESTIMATORS,
    )
    trials: int = opt(16, "K, the trials of each query", min=2)
    exemplars: int = opt(
        4,
        "reference solutions shown before each query, the same for all; 0, or none in the data: zero-shot",
        min=0,
    )
    easy_cut: float = opt(DEFAULT_CUTS.easy, "sampled: easy from this pass rate up", min=0, max=1)
    hard_cut: float = opt(DEFAULT_CUTS.hard, "sampled: hard below this pass rate", min=0, max=1)
    level_shares: tuple[float, ...] = opt(
        (),
        "shares of easy, middle, hard and unsolved for the estimators that only rank; empty takes "
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
