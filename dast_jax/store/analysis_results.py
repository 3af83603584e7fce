"""What a run's numbers about queries, training rows and probes are, as types; `results` puts them together.

As there, the text below a field is its line in docs/schemas.md. docs/numbers.md explains each number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dast_jax.estimators.reliability import Reliability
from dast_jax.metrics.flops import Flops
from dast_jax.metrics.stats import Accuracy, Score

__all__ = [
    "Contamination",
    "LevelAccuracy",
    "LevelProgress",
    "LevelSource",
    "Marginal",
    "OriginCount",
    "ProbeCounts",
    "ProbeEntry",
    "ProbeResult",
    "RoundAnalysis",
    "StepCounts",
]

LevelSource = Literal["method", "trials", "none"]


@dataclass(frozen=True, kw_only=True)
class LevelAccuracy(Accuracy):
    """The accuracy on the questions of a level, or on those of a probe."""

    mean_length: float
    """tokens of a response, the EOS included"""


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """Questions of an evaluation set that appear in the training questions, whole or in part."""

    exact: tuple[str, ...]
    """ids of the questions that are a training question, up to case and white space"""
    ngrams: dict[str, float]
    """id → share of the question's 8-grams that training questions have, from 0.5 up"""
    mean_share: float | None
    """mean of that share over the set's questions; null where none is long enough"""
    short: int
    """questions of fewer than 8 words, of which n-grams say nothing"""


@dataclass(frozen=True, kw_only=True)
class LevelProgress:
    """How far sampling and training reach the queries of a level. Hinted responses do not count as solved."""

    queries: int
    """queries of the level"""
    sampled: int
    """those with a response in this round"""
    solved: int
    """those with a correct response in any round so far"""
    newly_solved: int
    """those whose first correct response is of this round"""
    covered: int
    """those with a response of the model in what this round trains on"""
    covered_so_far: int
    """those with one in what any round so far trained on"""
    rows: int
    """rows (pairs) of the level that this round trains on, reference solutions included"""


@dataclass(frozen=True, kw_only=True)
class OriginCount:
    """How many texts that a round trains on have one origin."""

    part: Literal["example", "chosen", "rejected"]
    """the text of an example, or of one side of a pair"""
    policy: str | None
    """`M_t` that sampled it, in round t; null for a reference solution, or where the method does not say"""
    prompt: str | None
    """`reference`, `zero_shot`, `few_shot`, `matched`, `rationalized`, `fixed`; null where the method does
    not say"""
    rows: int
    """how many"""


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """Steps of a round's correct responses, where they can be checked exactly (`verifiers.steps`)."""

    correct: int
    """correct responses to queries whose steps can be checked"""
    checked: int
    """those that show steps, all of them readable"""
    false_positives: int
    """those of the checked with a wrong step"""
    unreadable: int
    """those with a step that could not be read; they are not checked"""
    refused: int = 0
    """responses besides these that have the right answer, and are incorrect for a wrong or unreadable step
    (`verifier.steps=refuse`)"""


@dataclass(frozen=True, kw_only=True)
class RoundAnalysis:
    """What a round did for the queries, by their first known level."""

    levels_from: LevelSource
    """`method`: its own estimate; `trials`: the first trials of each query, as soon as there are enough for
    all four levels, whichever policies sampled them; `none`: no query has enough"""
    progress: dict[str, LevelProgress]
    """level → reach; `unknown` for queries without a level; only levels that occur"""
    by_label: dict[str, LevelProgress]
    """the same by the data's own labels; empty without any, or with more than 12"""
    newly_solved_hard: int
    """queries that were hard or unsolved by a level known before this round, and whose first correct response
    is of this round"""
    transitions: dict[str, dict[str, int]]
    """first level → level under this round's policy M_t → queries, by the round's own trials without hints;
    `unknown` where there are too few; empty in the round of the first levels, and where no level is known"""
    reliability: Reliability | None
    """of the levels estimated in this round from trials; null where none were, or from one trial a query"""
    origin: tuple[OriginCount, ...]
    """where the texts that this round trains on come from"""
    frequency: dict[str, int]
    """rows of a query that the rounds so far trained on (`0`, `1`, `2`, `3-4`, `5-8`, …) → queries"""
    steps: dict[str, StepCounts]
    """level → steps of its correct responses; empty where no query's steps can be checked, and with
    `verifier.steps=ignore`"""


@dataclass(frozen=True, kw_only=True)
class ProbeEntry(LevelAccuracy):
    """Trials of the probed queries with one kind of prompt."""

    pass_at: dict[str, Score]
    """`"k"` → pass@k, the mean of the unbiased estimator"""
    mean_entropy: float | None
    """mean token entropy of a response, in nats; null where the sampler gives none"""
    distinct_correct: float
    """mean number of different correct responses to a query, of `trials`"""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The same training queries under every policy, zero-shot and few-shot (`evaluation.probe`)."""

    trials: int
    """trials of each query, with either prompt"""
    zero_shot: ProbeEntry
    """without exemplars"""
    few_shot: ProbeEntry | None
    """behind one fixed set of reference solutions; null where there are too few"""
    transitions: dict[str, dict[str, int]]
    """level under M_0 → level under this policy → probed queries, by the few-shot trials (zero-shot ones
    where there are none); empty for M_0, and for fewer trials than four levels need"""
    solved: int | None
    """probed queries that M_0 never solved and this policy does, by the same trials; null for M_0"""
    lost: int | None
    """those that M_0 solved and this policy never does"""


@dataclass(frozen=True, kw_only=True)
class ProbeCounts:
    """Correct trials of each probed query."""

    ids: tuple[str, ...]
    """ids of the queries"""
    trials: int
    """trials of each"""
    zero_shot: tuple[int, ...]
    """correct ones, zero-shot"""
    few_shot: tuple[int, ...]
    """correct ones, few-shot; empty without"""


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """What the work since the last evaluated policy has bought."""

    flops: Flops
    """of sampling and training since then"""
    per_point: dict[str, float | None]
    """set → useful FLOPs per point of accuracy gained since then; null without a gain"""
    newly_solved: int
    """hard and unsolved queries solved for the first time since then (`newly_solved_hard` of the rounds)"""
    per_newly_solved: float | None
    """useful FLOPs per such query; null without one"""
