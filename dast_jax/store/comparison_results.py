"""What the compare and agreement commands write as JSON, as types (`results` has those of one run)."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.estimators.agreement import LevelDiversity, PairAgreement
from dast_jax.metrics.stats import Interval, PairedDifference
from dast_jax.records import Json
from dast_jax.store.results import LevelShares, RoundFlops, Status, Work

__all__ = [
    "Agreement",
    "ComparedEntry",
    "ComparedRound",
    "Comparison",
    "Diversity",
    "EstimatorResult",
    "Gate",
    "Gates",
    "MatchedDifference",
    "MissingRun",
    "Reached",
    "SeedAccuracy",
    "SeedDifference",
    "SetAccuracy",
    "Target",
]

# --- a study ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SeedAccuracy:
    """An accuracy over the seeds of a study."""

    accuracy: float | None
    """mean of `by_seed`; null without a run"""
    interval: Interval | None
    """Student's t 95 % over seeds; null for one seed"""
    interval_questions: Interval | None
    """percentile bootstrap over questions of the mean over seeds; by level: of a
    single seed only (Wilson's)"""
    by_seed: tuple[float, ...]
    """accuracy of each seed's run"""
    n: int
    """questions"""
    mean_length: float | None
    """tokens of a response, the EOS included; mean over seeds; null without a run"""


@dataclass(frozen=True, kw_only=True)
class SetAccuracy(SeedAccuracy):
    """A SeedAccuracy, and the same by level."""

    by_level: dict[str, SeedAccuracy]
    """level → accuracy"""


@dataclass(frozen=True, kw_only=True)
class ComparedRound:
    """A round of an entry: means over its seeds."""

    round: int
    """0, 1, …"""
    evaluation: dict[str, SetAccuracy]
    """set → accuracy"""
    level_shares: LevelShares | None
    """as in the summary"""
    flops: RoundFlops
    """as in the summary"""
    cumulative: Work
    """as in the summary"""

    def accuracy(self, name: str) -> float | None:
        """Return the mean accuracy on set `name`, or None where it was not evaluated."""
        return self.evaluation[name].accuracy if name in self.evaluation else None


@dataclass(frozen=True, kw_only=True)
class ComparedEntry:
    """The results of one label's runs."""

    method: dict[str, Json]
    """`name` and every option of the method"""
    seeds: tuple[int, ...]
    """the seeds whose runs have finished"""
    rounds: tuple[ComparedRound, ...]
    """rounds that were evaluated for every seed"""
    seconds: float
    """mean time of a run"""

    @property
    def last(self) -> ComparedRound | None:
        """The last evaluated round."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The best round of any baseline on a set."""

    baseline: str
    """its label"""
    round: int
    """its round"""
    accuracy: float
    """mean over seeds"""


@dataclass(frozen=True, kw_only=True)
class Reached(Work):
    """The Work up to the first round whose mean accuracy is at least the target's."""

    round: int
    """that round"""


@dataclass(frozen=True, kw_only=True)
class SeedDifference(PairedDifference):
    """Label minus baseline with the same seeds, paired by question.

    Per question the mean over seeds is taken, then the mean over questions; `interval` is the percentile
    bootstrap over seeds and questions.
    """

    interval_questions: Interval
    """percentile bootstrap over questions alone"""
    by_seed: tuple[float, ...]
    """difference of each seed"""
    n: int
    """questions"""


@dataclass(frozen=True, kw_only=True)
class MatchedDifference(SeedDifference):
    """A SeedDifference at matched training tokens.

    Per seed the budget is the total of the one that trained on fewer tokens, and for each the round is taken
    whose cumulative trained tokens are nearest to it; absent where even those differ by more than 1.5 times.
    """

    rounds: tuple[tuple[int, int], ...]
    """per seed the label's round and the baseline's"""
    trained_tokens: tuple[float, float]
    """mean over seeds of both"""


@dataclass(frozen=True, kw_only=True)
class MissingRun:
    """A run without a result."""

    label: str
    """its entry"""
    seed: int
    """its seed"""
    why: str
    """`not finished`, or why its training stopped"""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the `compare` command writes after every run of a study.

    Means are over the seeds whose runs have finished.
    """

    schema: str = "dast_jax.comparison/5"
    """version of this file"""
    status: Status
    """`running` while runs are still to come"""
    name: str
    """name of the study"""
    seeds: tuple[int, ...]
    """the study's seeds"""
    sets: tuple[str, ...]
    """evaluation sets"""
    baselines: tuple[str, ...]
    """labels of the baselines that have a finished run"""
    model: str
    """`model.path` of the first run; empty before any has finished"""
    parameters: int
    """as in the summary"""
    device: str
    """as in the summary"""
    versions: dict[str, str]
    """as in the summary"""
    base: dict[str, SetAccuracy]
    """set → accuracy of M_0"""
    entries: dict[str, ComparedEntry]
    """label → its runs"""
    targets: dict[str, Target]
    """set → the best round of any baseline"""
    to_target: dict[str, dict[str, Reached | None]]
    """set → label → work up to the target; null where it is not reached"""
    differences: dict[str, dict[str, dict[str, SeedDifference]]]
    """baseline → label → set → difference after the last round of each"""
    matched: dict[str, dict[str, dict[str, MatchedDifference]]]
    """the same at matched training tokens"""
    over_base: dict[str, dict[str, SeedDifference]]
    """label → set → difference between the last round and M_0 of the same seeds"""
    best: dict[str, tuple[str, ...]]
    """set → the label with the highest accuracy after the last round, and after it those tied with it: their
    difference to it has an interval that includes zero, or cannot be paired"""
    identical: tuple[tuple[str, ...], ...]
    """labels whose runs have identical results: with every seed the same trained tokens, and the same score
    on every question; their settings probably do not differ"""
    missing: tuple[MissingRun, ...]
    """runs without a result"""


# --- gates of a study ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition for a study to tell methods apart, and its number."""

    name: str
    """what is measured"""
    value: float | None
    """the number; null where it cannot be measured"""
    limit: float
    """the most or the least that passes"""
    at_least: bool
    """whether `limit` is the least"""
    passed: bool | None
    """null where it cannot be measured"""
    note: str
    """what the number is made of, or why there is none"""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What the `compare` command writes with `--gates`, and before a study with `gates: true`."""

    schema: str = "dast_jax.gates/1"
    """version of this file"""
    name: str
    """name of the study"""
    gates: tuple[Gate, ...]
    """in the order of docs/comparison.md"""


# --- agreement of estimators --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EstimatorResult:
    """The levels that one difficulty estimator gives the queries."""

    levels: dict[str, int]
    """level → queries"""
    notes: dict[str, int]
    """counts worth a warning (`unknown`, `unrated`, requests that failed)"""


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How diverse the responses to one query are, by level."""

    levels_by: str
    """the estimator whose levels these are"""
    by_level: dict[str, LevelDiversity]
    """level → diversity"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the `agreement` command writes."""

    schema: str = "dast_jax.agreement/2"
    """version of this file"""
    model: str
    """`model.path`"""
    data: str
    """`data.train`"""
    skipped: tuple[str, ...]
    """ids of queries whose prompt is too long"""
    queries: int
    """how many"""
    trials: int
    """responses to each query"""
    correct: float
    """share of the responses that are correct"""
    estimators: dict[str, EstimatorResult]
    """name → its result"""
    pairs: tuple[PairAgreement, ...]
    """for every pair of estimators"""
    diversity: Diversity
    """of the responses to one query"""
    ids: tuple[str, ...]
    """of the queries"""
    scores: dict[str, tuple[float, ...]]
    """name → score of each query in that order, larger is harder, null where there is none"""
