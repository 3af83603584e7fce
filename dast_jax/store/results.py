"""What a run writes as JSON, as types; `evaluation_results` and `comparison_results` have the other files.

docs/schemas.md is generated from them (`python -m dast_jax.store.schema_docs`): the text below a field says
what it holds. A class with a field `schema` is a whole file, and its default is the file's version: change it
when a field is added, renamed or removed, or means something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dast_jax.metrics.flops import Flops
from dast_jax.metrics.speed import Speed
from dast_jax.metrics.stats import PairedDifference
from dast_jax.records import Json
from dast_jax.store.analysis_results import Contamination, Marginal, ProbeResult, RoundAnalysis
from dast_jax.store.evaluation_results import EvalEntry, VerdictCounts

__all__ = [
    "BaseResult",
    "BuildResult",
    "DataFacts",
    "EvaluationResult",
    "EvaluationSource",
    "LevelShares",
    "Manifest",
    "PreferenceResult",
    "RoundFlops",
    "RoundResult",
    "RoundSeconds",
    "RunFacts",
    "RunSession",
    "SampledResult",
    "SamplingResult",
    "StageRecord",
    "Status",
    "Summary",
    "Total",
    "TrainedResult",
    "TrainingResult",
    "TrainingSource",
    "Work",
]

Status = Literal["running", "finished"]


# --- one stage of a round -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SamplingResult(VerdictCounts):
    """The responses sampled in a round; the four verdicts sum to `trials`."""

    trials: int
    """responses sampled"""
    truncated: int
    """how many of them, with any verdict, reached the limit of new tokens"""
    tokens: int
    """tokens sampled"""
    mean_length_by_level: dict[str, float | None]
    """level → mean tokens, null for a level without trials; empty for methods without levels"""
    mean_entropy: float | None = None
    """mean over the responses of their mean token entropy, in nats; null without responses"""
    notes: dict[str, int]
    """counts worth a warning, by name: `shortened_prompts` (prompts that lost exemplars to fit), a
    method's own"""
    speed: Speed | None = None
    """how fast they were sampled"""


@dataclass(frozen=True, kw_only=True)
class PreferenceResult:
    """Means over the training steps on pairs."""

    reward_margin: float
    """reward of the chosen response minus that of the rejected one"""
    reward_accuracy: float
    """share of pairs whose chosen response has the higher reward"""
    chosen_logprob: float
    """log-probability of the chosen response"""
    rejected_logprob: float
    """log-probability of the rejected response"""
    kl: float
    """estimated divergence from the reference policy"""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a round trained on, and the outcome; on pairs, `preference` is set and examples are pairs."""

    examples: int = 0
    """examples (pairs) trained on"""
    reference_examples: int = 0
    """how many of them are reference solutions (pairs that prefer one)"""
    skipped: int = 0
    """examples longer than a row"""
    unseen: int = 0
    """examples that no step used, because `training.max_steps` ended the first epoch"""
    rows: int = 0
    """packed rows"""
    steps: int = 0
    """optimizer steps"""
    planned_steps: int = 0
    """those of all epochs: more than `steps` where `training.max_steps` ended the training"""
    tokens: int = 0
    """input tokens over all steps"""
    padded_tokens: int = 0
    """the same with padding"""
    response_tokens: int = 0
    """how many of `tokens` have weight"""
    final_loss: float | None = None
    """loss of the last step, per response token (per pair); null where there was no step"""
    mean_loss: float | None = None
    """mean over the steps"""
    accuracy: float | None = None
    """share of response tokens (of chosen ones) predicted correctly under teacher forcing"""
    seconds: float = 0.0
    """time in the training steps"""
    preference: PreferenceResult | None = None
    """of training on pairs; null on examples"""
    speed: Speed | None = None
    """how fast the training steps were; null where there was none"""


@dataclass(frozen=True, kw_only=True)
class LevelShares:
    """Shares of the levels in the training data."""

    before: dict[str, float]
    """level → share of the training queries"""
    after: dict[str, float]
    """level → share of the examples trained on"""


@dataclass(frozen=True, kw_only=True)
class SampledResult:
    """The stage `sample`."""

    sampling: SamplingResult
    """what was sampled"""
    flops: Flops
    """its cost"""


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """The stage `build`."""

    level_shares: LevelShares | None
    """null for methods without levels"""
    shortfall: dict[str, int]
    """level → examples or pairs short of the quotas"""
    method: dict[str, Json]
    """what the method reports of the round"""
    analysis: RoundAnalysis
    """what the round did for the queries"""


@dataclass(frozen=True, kw_only=True)
class TrainedResult:
    """The stage `train`."""

    training: TrainingResult
    """what was trained on"""
    flops: Flops
    """its cost"""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The stage `evaluate`, of M_0 or of a round."""

    evaluation: dict[str, EvalEntry]
    """set → evaluation; empty where the round is not evaluated"""
    paired: dict[str, PairedDifference]
    """set → accuracy of this round minus M_0's; empty for M_0"""
    length_ratio: float | None
    """as in the summary"""
    probe: ProbeResult | None = None
    """as in the summary"""
    flops: Flops
    """its cost"""


# --- a run --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainingSource:
    """The training queries."""

    source: str
    """`data.train`"""
    queries: int
    """how many"""
    skipped: tuple[str, ...]
    """ids of queries whose prompt is too long"""
    digest: str
    """SHA-256 of the queries as they were read; a run that is resumed must find the same"""


@dataclass(frozen=True, kw_only=True)
class EvaluationSource(TrainingSource):
    """The questions of an evaluation set."""

    contaminated: int
    """questions that appear in the training data too"""
    contamination: Contamination
    """these, and those of which n-grams appear there"""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Where a run's queries come from."""

    train: TrainingSource
    """the training queries"""
    evaluation: dict[str, EvaluationSource]
    """set → its questions"""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run before its first stage."""

    parameters: int
    """weights of the model, embeddings included"""
    model_digest: str
    """SHA-256 of the files that the base model is read from"""
    model_revision: str | None = None
    """commit of a model that comes from the hub; null for a local one"""
    trained_parameters: int | None = None
    """weights that training changes: with `training.lora` those of the adapters; null in older runs"""
    device: str
    """`"1 x cpu (2 CPU cores)"`: count, platform, kind"""
    mesh: dict[str, int]
    """axis (`data`, `fsdp`, `tensor`) → size, in training"""
    sampling_mesh: dict[str, int] | None = None
    """the same in sampling; null in older runs"""
    data: DataFacts
    """where the queries come from"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The cost of self-training from round 0 to this one, without evaluations."""

    sampled_tokens: float = 0
    """tokens sampled"""
    trained_tokens: float = 0
    """tokens trained on"""
    flops: Flops = Flops()  # noqa: RUF009 (frozen)
    """of sampling and training"""


@dataclass(frozen=True, kw_only=True)
class RoundSeconds:
    """Seconds of a round's stages; null for a stage that is not done."""

    sample: float | None
    """sampling and verification"""
    build: float | None
    """building the training set"""
    train: float | None
    """training"""
    evaluate: float | None
    """evaluation"""


@dataclass(frozen=True, kw_only=True)
class RoundFlops:
    """FLOPs of a round's stages; null for a stage that is not done.

    Responses replayed after an interruption, or copied from another run of a study, count as if they had
    been sampled here.
    """

    sample: Flops | None
    """sampling"""
    train: Flops | None
    """training"""
    evaluate: Flops | None
    """evaluation"""


@dataclass(frozen=True, kw_only=True)
class BaseResult:
    """M_0, the model before training."""

    evaluation: dict[str, EvalEntry]
    """set → evaluation"""
    length_ratio: float | None
    """as in a round"""
    probe: ProbeResult | None = None
    """as in a round"""
    seconds: float
    """of its evaluation"""
    flops: Flops
    """of its evaluation"""


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One round; the results of stages that are not done are null or empty."""

    round: int
    """0, 1, …"""
    evaluation: dict[str, EvalEntry]
    """set → evaluation of the policy after the round; empty where it was not evaluated"""
    paired: dict[str, PairedDifference]
    """set → accuracy of this round minus M_0's"""
    sampling: SamplingResult
    """the responses"""
    training: TrainingResult | None
    """the training"""
    level_shares: LevelShares | None
    """null for methods without levels"""
    shortfall: dict[str, int]
    """level → examples or pairs short of the quotas"""
    method: dict[str, Json]
    """what the method reports of the round, see [below](#what-methods-report)"""
    length_ratio: float | None
    """mean length of responses after exemplars of the hard levels over that after short ones"""
    analysis: RoundAnalysis | None = None
    """what the round did for the queries; null until its training set is built"""
    probe: ProbeResult | None = None
    """training queries under the policy after the round; null where `evaluation.probe` is 0"""
    marginal: Marginal | None = None
    """what the work since the last evaluated policy has bought; null where the round is not evaluated"""
    seconds: RoundSeconds
    """by stage"""
    flops: RoundFlops
    """by stage"""
    cumulative: Work
    """from round 0 to this one"""


@dataclass(frozen=True, kw_only=True)
class Total:
    """The cost of the whole run, evaluations included."""

    seconds: float
    """of all stages"""
    flops: Flops
    """of all stages"""
    peak_memory_gib: float
    """peak memory of the host process"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a run, rewritten after every stage."""

    schema: str = "dast_jax.summary/3"
    """version of this file"""
    status: Status
    """whether all rounds are done"""
    name: str
    """name of the run directory"""
    method: dict[str, Json]
    """`name` and every option of the method"""
    seed: int
    """`run.seed`"""
    model: str
    """`model.path`"""
    parameters: int
    """weights of the model, embeddings included"""
    mesh: dict[str, int]
    """axis (`data`, `fsdp`, `tensor`) → size"""
    data: DataFacts
    """where the queries come from"""
    versions: dict[str, str]
    """package → version, `python` included"""
    device: str
    """`"1 x cpu (2 CPU cores)"`: count, platform, kind"""
    base: BaseResult | None
    """M_0; null until it is evaluated"""
    rounds: tuple[RoundResult, ...]
    """the rounds whose responses are sampled"""
    total: Total
    """the cost of the whole run"""
    warnings: tuple[str, ...]
    """each warning of the run, once"""


@dataclass(frozen=True, kw_only=True)
class RunSession:
    """A process that worked on a run."""

    started: str
    """time (UTC)"""
    versions: dict[str, str]
    """package → version"""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage that is done."""

    name: str
    """`base/evaluate`, `00/sample`, `00/build`, `00/train`, `00/evaluate`, `01/sample`, …"""
    finished: str
    """time (UTC)"""
    seconds: float
    """time of the stage"""
    shared_from: str | None
    """the run of a study that it was copied from"""
    result: dict[str, Json]
    """`SampledResult`, `BuildResult`, TrainedResult or EvaluationResult, by the name"""
    files: dict[str, str]
    """path in the run's folder → SHA-256 of every file that the stage has left; of files that only grow,
    SHA-256:BYTES of what they held"""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The finished stages of a run: the file that resuming relies on."""

    schema: str = "dast_jax.run/4"
    """version of the run directory's layout"""
    created: str
    """time (UTC)"""
    config: str
    """the config, as in `config.yaml`"""
    sessions: tuple[RunSession, ...]
    """every process that worked on the run"""
    facts: RunFacts | None
    """null until the model and the data are loaded"""
    stages: tuple[StageRecord, ...]
    """in order of completion"""
