"""`python -m dast_jax.agreement --model … --data … [--out agreement.json]`: do difficulty estimators agree?

Samples trials of every query, lets each estimator say how hard it is, and compares any two: rank
correlations and which levels they give; and how diverse the responses are, by level.
docs/schemas.md has the fields of the JSON.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dast_jax.cli import Flag, command, output_path, parse_arguments
from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.errors import UserError
from dast_jax.estimators.difficulty import DEFAULT_CUTS, Cuts, level_counts
from dast_jax.estimators.estimate import DEFAULT_SHARES, ESTIMATORS, NEEDS_TRIALS, Estimate, estimate
from dast_jax.estimators.options import JudgeOptions
from dast_jax.models.options import MeshOptions, ModelOptions
from dast_jax.options import opt
from dast_jax.records import LEVELS, FinishReason, Pool, Query, Responses, VerdictKind
from dast_jax.sampling.options import SamplingOptions
from dast_jax.verifiers.options import VerifierOptions

if TYPE_CHECKING:
    from dast_jax.inference.evaluation import Outcome
    from dast_jax.store.comparison_results import Agreement

__all__ = ["AgreementOptions", "compare_estimators", "main", "sample_trials", "to_responses"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AgreementOptions:
    """Keys of the face; `--model` sets model.path and `--data` data.train."""

    model: ModelOptions
    data: DataOptions
    mesh: MeshOptions
    prompts: PromptOptions
    sampling: SamplingOptions
    verifier: VerifierOptions
    judge: JudgeOptions
    estimators: tuple[str, ...] = opt(
        (), "which to compare; empty takes all that the data and judge.endpoint allow", choices=ESTIMATORS
    )
    trials: int = opt(16, "K, the trials of each query", min=2)
    exemplars: int = opt(
        4, "random reference solutions of other queries shown before each; 0, or none there: zero-shot", min=0
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


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse, sample, compare, print and write. Returns the exit code."""
    args, options = parse_arguments(
        "agreement",
        "Compare difficulty estimators on a data set, for a model.",
        AgreementOptions,
        argv,
        Flag("--model", key="model.path", help="Hugging Face folder or .gguf file"),
        Flag("--data", key="data.train", help="queries: file, asset:NAME or hub id"),
        Flag("--out", help="write the result to this JSON file"),
    )
    from dast_jax.reporting.agreement_tables import print_agreement
    from dast_jax.store.typed_json import write_result

    out = output_path(args.out) if args.out else None
    _judge(options)  # what is wrong with it is said before anything is sampled
    queries, skipped, responses = sample_trials(options)
    result = compare_estimators(queries, skipped, responses, options)
    if out:
        write_result(out, result)
    print_agreement(result)


# --- trials -------------------------------------------------------------------------------------------


def sample_trials(options: AgreementOptions) -> tuple[tuple[Query, ...], tuple[str, ...], Responses]:
    """The queries whose prompt fits, the ids of the others, and the verified trials of the former."""
    from dast_jax.assets import resolve_path
    from dast_jax.data.prompts import PromptBuilder
    from dast_jax.data.sources import load_queries
    from dast_jax.inference.evaluation import evaluate
    from dast_jax.loop.problems import fitting_queries
    from dast_jax.methods.exemplars import ExemplarBank
    from dast_jax.models.load import load_model
    from dast_jax.models.sharding import make_mesh
    from dast_jax.records import StageKey
    from dast_jax.runtime.progress import stage
    from dast_jax.sampling.engine import Engine
    from dast_jax.verifiers import Verifier

    queries = load_queries(options.data.train, options=options.data)
    mesh = make_mesh(options.mesh)
    model = options.model
    loaded = load_model(
        resolve_path(model.path), dtype=model.dtype, compute_dtype=model.compute_dtype, mesh=mesh
    )
    engine = Engine(
        loaded.graphdef, loaded.params, tokenizer=loaded.tokenizer, options=options.sampling, mesh=mesh
    )
    prompts = PromptBuilder(loaded.tokenizer, options.prompts, engine.max_prompt_length)
    queries, skipped = fitting_queries(queries, prompts.fits, options.data.train)
    bank = ExemplarBank.of_references(Pool(queries), seed=options.seed, round=0)
    total = len(queries) * options.trials
    with Verifier(options.verifier) as verifier, stage("sampling", total=total) as bar:
        outcome = evaluate(
            engine,
            queries,
            [prompts.build(q.question, bank.draw(i, options.exemplars)) for i, q in enumerate(queries)],
            verifier=verifier,
            key=StageKey(options.seed, 0),
            trials=options.trials,
            on_progress=lambda done, total: bar.update(done, total=total),
        )
    return queries, skipped, to_responses(outcome)


def to_responses(outcome: Outcome) -> Responses:
    """The trials of an evaluation in columns, ordered by query and trial; `query` is the index in its set."""
    rows = [
        (query, trial, rollout, verdict)
        for query, (rollouts, verdicts) in enumerate(zip(outcome.rollouts, outcome.verdicts, strict=True))
        for trial, (rollout, verdict) in enumerate(zip(rollouts, verdicts, strict=True))
    ]
    if not rows:
        return Responses.none()
    kinds, reasons = tuple(VerdictKind), tuple(FinishReason)
    text, extracted = np.empty(len(rows), object), np.empty(len(rows), object)
    text[:] = [r.text for _, _, r, _ in rows]
    extracted[:] = [v.extracted for _, _, _, v in rows]
    return Responses(
        query=np.array([query for query, *_ in rows], np.int32),
        round=np.zeros(len(rows), np.int32),
        trial=np.array([trial for _, trial, *_ in rows], np.int32),
        kind=np.array([r.kind for _, _, r, _ in rows], np.int8),
        verdict=np.array([kinds.index(v.kind) for _, _, _, v in rows], np.int8),
        length=np.array([len(r.tokens) for _, _, r, _ in rows], np.int32),
        finish=np.array([reasons.index(r.finish_reason) for _, _, r, _ in rows], np.int8),
        text=text,
        extracted=extracted,
        logprob=np.array([r.logprob for _, _, r, _ in rows], np.float32),
        entropy=np.array([r.entropy for _, _, r, _ in rows], np.float32),
    )


# --- comparison ---------------------------------------------------------------------------------------


def compare_estimators(
    queries: Sequence[Query], skipped: Sequence[str], responses: Responses, options: AgreementOptions
) -> Agreement:
    """Return how the estimators agree, from the trials; `skipped` are ids of queries that have none.

    Raises `UserError` for an estimator that was asked for and lacks what it needs, or where fewer than two
    are available.
    """
    from dast_jax.estimators.agreement import compare_all, diversity_by_level
    from dast_jax.store.comparison_results import Agreement, Diversity, EstimatorResult

    names = options.estimators or _possible(queries, options)
    if len(names) < 2:
        raise UserError(f"estimators: only {', '.join(names)} available; there is nothing to compare")
    cuts = Cuts(options.easy_cut, options.hard_cut)
    sampled = estimate("sampled", queries, responses, cuts=cuts)
    own = tuple((level_counts(sampled.levels) / len(queries)).tolist())
    shares = options.level_shares or (own if "sampled" in names else DEFAULT_SHARES)
    estimates: list[Estimate] = []
    for name in dict.fromkeys(names):
        found = sampled if name == "sampled" else None
        if found is None:
            found = estimate(
                name,
                queries,
                responses,
                cuts=cuts,
                shares=shares,
                judge=_judge(options) if name == "judge" else None,
                fallback=options.judge.fallback,
            )
        for note, count in found.notes.items():
            log.warning("estimator %s: %s: %d", name, note, count)
        estimates.append(found)
    by = estimates[0]
    return Agreement(
        model=options.model.path,
        data=options.data.train,
        skipped=tuple(skipped),
        queries=len(queries),
        trials=options.trials,
        correct=float(responses.correct.mean()),
        estimators={
            e.name: EstimatorResult(
                levels=dict(zip(LEVELS, level_counts(e.levels).tolist(), strict=True)), notes=dict(e.notes)
            )
            for e in estimates
        },
        pairs=compare_all(estimates),
        diversity=Diversity(levels_by=by.name, by_level=diversity_by_level(responses, by.levels)),
        ids=tuple(query.id for query in queries),
        scores={e.name: tuple(e.score.tolist()) for e in estimates},
    )


def _possible(queries: Sequence[Query], options: AgreementOptions) -> tuple[str, ...]:
    """Every estimator that there is all for."""
    labelled = any(query.level is not None for query in queries)
    return tuple(
        name
        for name in ESTIMATORS
        if name in NEEDS_TRIALS
        or (name == "label" and labelled)
        or (name == "judge" and options.judge.endpoint)
    )


def _judge(options: AgreementOptions) -> Any:
    from dast_jax.llm.judge import Judge

    wanted = "judge" in options.estimators or (not options.estimators and options.judge.endpoint)
    return Judge(options.judge) if wanted else None


if __name__ == "__main__":
    sys.exit(main())
