"""The plain records that flow between the packages. No jax here, and no behavior beyond small views.

Data goes one way: queries → requests → rollouts → verdicts → responses → training examples.
Anything that exists once per query or per trial of a large pool lives in columns (numpy arrays);
the one-object-per-item records are views at the edges.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = [
    "LEVELS",
    "Exemplar",
    "FinishReason",
    "Json",
    "Origin",
    "Pool",
    "PreferencePair",
    "PreferenceSet",
    "PromptKind",
    "Query",
    "Requests",
    "Responses",
    "Rollout",
    "SFTExample",
    "SamplingStats",
    "StageKey",
    "Tally",
    "TrainingSet",
    "Verdict",
    "VerdictKind",
]

if TYPE_CHECKING:
    Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
else:  # a recursive type is for the type checker only
    Json = Any
"""A value that JSON has."""

LEVELS = ("easy", "middle", "hard", "unsolved")
"""Difficulty levels, by index 0..3, easiest first (arXiv 2503.09029)."""


class VerdictKind(enum.StrEnum):
    """The four verdicts; they are never merged."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    TIMED_OUT = "timed_out"


class FinishReason(enum.StrEnum):
    """Why a response ended: the EOS token, a stop string, or the limit of new tokens."""

    EOS = "eos"
    STOP = "stop"
    LENGTH = "length"


class PromptKind(enum.IntEnum):
    """How the policy is prompted with a query.

    Exemplars are drawn per query and block of trials, at random (few-shot) or by level and length (matched),
    or are the same for all queries (fixed); a rationalized prompt shows fixed ones, and the reference
    answer as a hint.
    """

    ZERO_SHOT = 0
    FEW_SHOT = 1
    MATCHED = 2
    RATIONALIZED = 3
    FIXED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A problem with a checkable answer.

    `answer` is the bare reference answer ("18"), `solution` the reference solution that ends in it
    (None where the data has none), `level` the data set's own difficulty label, `task` how answers are
    checked (`verifiers.families`), `tags` the data's own subjects or types of the problem, `source` says
    where the row came from, for messages ("train.jsonl row 3").
    """

    id: str
    question: str
    answer: str
    solution: str | None = None
    level: str | None = None
    task: str = "math"
    source: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A solved problem shown in a few-shot prompt."""

    question: str
    response: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verifier's result for one prediction, the answer that it extracted, and the reason."""

    kind: VerdictKind
    extracted: str | None = None
    reason: str = ""

    @property
    def correct(self) -> bool:
        return self.kind is VerdictKind.CORRECT


@dataclass(frozen=True, slots=True)
class StageKey:
    """Names one sampling stage; with query, trial and position it determines every token's noise."""

    seed: int
    round: int
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Requests:
    """Trials to sample, in columns of equal length n: int32 query index, int32 trial, int8 prompt kind.

    `temperature` float32 [n], or None for the configured one.
    """

    query: np.ndarray
    trial: np.ndarray
    kind: np.ndarray
    temperature: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def none(cls) -> Requests:
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int8))

    def take(self, index: np.ndarray) -> Requests:
        """Return the requests at `index`, in its order."""
        temperature = None if self.temperature is None else self.temperature[index]
        return Requests(self.query[index], self.trial[index], self.kind[index], temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sampled response, as the sampler returns it.

    `tokens` are the ids of the new tokens, the final EOS included when it was sampled; `text` is
    decoded without it and cut at the stop string. `logprob` is the sum over `tokens` of the
    untempered policy's log-probabilities (nats); `entropy` their mean token entropy (nats).
    """

    query: int
    trial: int
    kind: int
    text: str
    tokens: tuple[int, ...]
    logprob: float
    entropy: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingStats:
    """What sampling cost: counts that add up over ticks, processes and stages.

    `trials` and `generated_tokens` count finished responses and their tokens; `prompts` and `prompt_tokens`
    what was prefilled, in `prefill_calls` calls, and `padded_prompt_tokens` the positions computed for it;
    `slot_steps` the decode steps × slots computed, of which `used_slot_steps` produced a token that was kept.
    `replayed` responses came from storage and cost nothing here. `seconds` is wall time, `device_seconds` the
    part of it in the engine's compiled steps.
    """

    trials: int = 0
    replayed: int = 0
    prompts: int = 0
    prompt_tokens: int = 0
    padded_prompt_tokens: int = 0
    prefill_calls: int = 0
    generated_tokens: int = 0
    ticks: int = 0
    slot_steps: int = 0
    used_slot_steps: int = 0
    decode_steps: int = 0
    seconds: float = 0.0
    device_seconds: float = 0.0

    def __add__(self, other: SamplingStats) -> SamplingStats:
        return SamplingStats(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, other: SamplingStats) -> SamplingStats:
        return SamplingStats(**{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)})


@dataclass(slots=True)
class Tally:
    """Counts per query for the stage under way, int32 [n_queries] each.

    `requested` and `finished` count trials; `correct` the correct ones among the finished; `usable`
    the correct ones that were not cut off; `distinct` the usable ones that differ from those seen before for
    that query, as `Method.distinct` says.
    """

    requested: np.ndarray
    finished: np.ndarray
    correct: np.ndarray
    usable: np.ndarray
    distinct: np.ndarray

    @classmethod
    def zeros(cls, n: int) -> Tally:
        return cls(*(np.zeros(n, np.int32) for _ in fields(cls)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Verified responses in columns of equal length n.

    query, round, trial int32; kind int8; verdict int8 (index into `tuple(VerdictKind)`);
    length int32 (new tokens); finish int8 (index into `tuple(FinishReason)`); text and
    extracted object arrays of str (extracted may hold None); logprob, entropy float32.
    """

    query: np.ndarray
    round: np.ndarray
    trial: np.ndarray
    kind: np.ndarray
    verdict: np.ndarray
    length: np.ndarray
    finish: np.ndarray
    text: np.ndarray
    extracted: np.ndarray
    logprob: np.ndarray
    entropy: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def none(cls) -> Responses:
        """No rows."""
        columns: dict[str, type] = dict.fromkeys(("query", "round", "trial", "length"), np.int32)
        columns |= dict.fromkeys(("kind", "verdict", "finish"), np.int8)
        columns |= dict.fromkeys(("text", "extracted"), object) | dict.fromkeys(
            ("logprob", "entropy"), np.float32
        )
        return cls(**{name: np.zeros(0, dtype) for name, dtype in columns.items()})

    @classmethod
    def of(cls, round: int, rollouts: Sequence[Rollout], verdicts: Sequence[Verdict]) -> Responses:
        """Return the rollouts of a round with their verdicts, in their order."""
        kinds, reasons = tuple(VerdictKind), tuple(FinishReason)
        n = len(rollouts)
        text, extracted = np.empty(n, object), np.empty(n, object)
        text[:] = [r.text for r in rollouts]
        extracted[:] = [v.extracted for v in verdicts]
        return cls(
            query=np.array([r.query for r in rollouts], np.int32),
            round=np.full(n, round, np.int32),
            trial=np.array([r.trial for r in rollouts], np.int32),
            kind=np.array([r.kind for r in rollouts], np.int8),
            verdict=np.array([kinds.index(v.kind) for v in verdicts], np.int8),
            length=np.array([len(r.tokens) for r in rollouts], np.int32),
            finish=np.array([reasons.index(r.finish_reason) for r in rollouts], np.int8),
            text=text,
            extracted=extracted,
            logprob=np.array([r.logprob for r in rollouts], np.float32),
            entropy=np.array([r.entropy for r in rollouts], np.float32),
        )

    @property
    def correct(self) -> np.ndarray:
        """Which rows are correct, bool [n]."""
        correct: np.ndarray = self.verdict == tuple(VerdictKind).index(VerdictKind.CORRECT)
        return correct

    def take(self, index: np.ndarray) -> Responses:
        """Return the rows at `index` (positions or a boolean mask)."""
        return Responses(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Responses]) -> Responses:
        """All rows of `parts`, in order; at least one part is needed."""
        return Responses(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Responses)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTExample:
    """A zero-shot training text: prompt tokens carry no weight, response tokens (EOS included) do."""

    query: int
    prompt: tuple[int, ...]
    response: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two zero-shot responses to one prompt, of which `chosen` is preferred; EOS included in both."""

    query: int
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where training texts come from, in columns of equal length n: round and trial int32, kind int8.

    A response sampled in round t is one of M_t. All three are −1 for a reference solution.
    """

    round: np.ndarray
    trial: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.round)

    @classmethod
    def of(cls, responses: Responses, rows: np.ndarray) -> Origin:
        """Return the origin of the responses in `rows` (positions or a boolean mask)."""
        return cls(
            round=responses.round[rows].astype(np.int32),
            trial=responses.trial[rows].astype(np.int32),
            kind=responses.kind[rows].astype(np.int8),
        )

    @classmethod
    def references(cls, n: int) -> Origin:
        """Return the origin of `n` reference solutions."""
        return cls(
            round=np.full(n, -1, np.int32), trial=np.full(n, -1, np.int32), kind=np.full(n, -1, np.int8)
        )

    def take(self, index: np.ndarray) -> Origin:
        """Return the rows at `index` (positions or a boolean mask)."""
        return Origin(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @staticmethod
    def concatenate(parts: Sequence[Origin]) -> Origin:
        """Return all rows of `parts`, in order; at least one part is needed."""
        return Origin(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Origin)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """What to train on, as a method chose it: texts by query, before tokenization.

    `query` int32 [n]; `text` object [n], the response to train on; `is_reference` bool [n] marks
    reference solutions. `shortfall` says, per level name, how many examples the quotas lacked. `origin` says
    where each text comes from; None where the method does not say.
    """

    query: np.ndarray
    text: np.ndarray
    is_reference: np.ndarray
    shortfall: dict[str, int] = field(default_factory=dict)
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceSet:
    """Pairs to train on, as a method chose them: texts by query, before tokenization.

    `query` int32 [n]; `chosen` and `rejected` object [n], the preferred response and the other one;
    `chosen_is_reference` bool [n] marks pairs that prefer a reference solution. `shortfall` says, per
    level name, how many pairs the quotas lacked. `chosen_origin` and `rejected_origin` say where the texts
    come from; None where the method does not say.
    """

    query: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    chosen_is_reference: np.ndarray
    shortfall: dict[str, int] = field(default_factory=dict)
    chosen_origin: Origin | None = None
    rejected_origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True, slots=True)
class Pool:
    """The training queries a method works on; index i is query i everywhere.

    `columns` are annotations of the queries by name, [n] each: results of a judge, a tagger or an encoder.
    """

    queries: tuple[Query, ...]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.queries)
