"""What an evaluation writes as JSON, as types; `results` has those of a run.

As there, the text below a field is its line in docs/schemas.md, and the default of `schema` is the version of
a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.metrics.stats import Accuracy, Score
from dast_jax.store.analysis_results import LevelAccuracy, ProbeCounts

__all__ = [
    "EvalEntry",
    "EvalFile",
    "Metrics",
    "SampleRow",
    "SetEvaluation",
    "SetLevels",
    "VerdictCounts",
]


@dataclass(frozen=True, kw_only=True)
class VerdictCounts:
    """Responses by verdict."""

    correct: int
    """the correct answer"""
    incorrect: int
    """another answer"""
    no_answer: int
    """no answer was found"""
    timed_out: int
    """the comparison was cut off"""


@dataclass(frozen=True, kw_only=True)
class EvalEntry(Accuracy):
    """The evaluation of a policy on a set of questions."""

    by_level: dict[str, LevelAccuracy]
    """level → accuracy; easiest first; only questions with a level"""
    verdicts: VerdictCounts
    """all responses (n × trials) by verdict"""
    truncated: int
    """responses that reached the limit of new tokens"""
    runaway: int = 0
    """responses that continue with another problem, or to the limit with the same piece of text"""
    mean_length: float
    """tokens, the EOS included"""
    trials: int
    """responses to each question"""
    pass_at: dict[str, Score]
    """`"k"` → pass@k, the mean of the unbiased estimator 1 − C(n−c, k)/C(n, k); empty for one trial"""
    majority_at: dict[str, Score]
    """`"k"` → accuracy of the most frequent answer among the first k trials (no answer does not
    vote, ties go to the answer seen first); empty for one trial"""


@dataclass(frozen=True, kw_only=True)
class SetEvaluation(EvalEntry):
    """An EvalEntry with what paired comparisons of rounds and runs are made from."""

    ids: tuple[str, ...]
    """ids of the questions"""
    correct: tuple[int, ...]
    """correct trials of each question, in the same order"""

    @property
    def entry(self) -> EvalEntry:
        """The evaluation without its questions."""
        return EvalEntry(**{name: getattr(self, name) for name in EvalEntry.__dataclass_fields__})

    @property
    def scores(self) -> dict[str, float]:
        """Question id → accuracy."""
        return {i: c / self.trials for i, c in zip(self.ids, self.correct, strict=True)}


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """One response of an evaluation, for the report."""

    set: str
    """evaluation set"""
    id: str
    """id of the question"""
    level: str | None
    """level of the question"""
    question: str
    """the question"""
    reference: str
    """the reference answer"""
    text: str
    """the response"""
    verdict: str
    """the verifier's verdict"""
    extracted: str | None
    """the answer found in the response"""
    tokens: int
    """of the response, the EOS included"""
    truncated: bool
    """whether it reached the limit of new tokens"""
    runaway: bool
    """whether it continues with another problem, or to the limit with the same piece of text"""


@dataclass(frozen=True, kw_only=True)
class EvalFile:
    """One evaluated policy with its questions."""

    schema: str = "dast_jax.eval/4"
    """version of this file"""
    sets: dict[str, SetEvaluation]
    """set → evaluation"""
    samples: tuple[SampleRow, ...]
    """the first responses of each level"""
    length_ratio: float | None
    """as in the summary"""
    probe: ProbeCounts | None = None
    """of `evaluation.probe`; null without"""


@dataclass(frozen=True, kw_only=True)
class SetLevels:
    """Levels of a test set's questions from M_0's trials."""

    schema: str = "dast_jax.levels/2"
    """version of this file"""
    trials: int
    """trials of each question"""
    levels: tuple[str, ...]
    """level of each question, in order"""


@dataclass(frozen=True, kw_only=True)
class Metrics(SetEvaluation):
    """What the `evaluate` command writes: a SetEvaluation, and its model and data."""

    schema: str = "dast_jax.metrics/4"
    """version of this file"""
    model: str
    """`model.path`; with `--run`, the run's folder and the round"""
    data: str
    """`data.train`"""
    skipped: tuple[str, ...]
    """ids of queries whose prompt is too long"""
