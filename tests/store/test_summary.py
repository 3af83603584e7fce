"""Marginal cost in the summary, on made-up stages."""

from __future__ import annotations

from pathlib import Path

from dast_jax.config import load_config, run_settings
from dast_jax.metrics.flops import Flops
from dast_jax.store.analysis_results import Contamination, Marginal, RoundAnalysis
from dast_jax.store.evaluation_results import EvalEntry, VerdictCounts
from dast_jax.store.results import (
    BuildResult,
    DataFacts,
    EvaluationResult,
    EvaluationSource,
    RunFacts,
    SampledResult,
    SamplingResult,
    TrainedResult,
    TrainingResult,
    TrainingSource,
)
from dast_jax.store.run_store import RunStore
from dast_jax.store.summary import write_summary

COUNTS = {"correct": 1, "incorrect": 0, "no_answer": 0, "timed_out": 0}


def evaluated(**accuracy: float) -> EvaluationResult:
    entries = {
        name: EvalEntry(
            accuracy=value,
            interval=(0.0, 1.0),
            n=100,
            by_level={},
            verdicts=VerdictCounts(**COUNTS),
            truncated=0,
            mean_length=9.0,
            trials=1,
            pass_at={},
            majority_at={},
        )
        for name, value in accuracy.items()
    }
    return EvaluationResult(evaluation=entries, paired={}, length_ratio=None, flops=Flops(useful=1e6))


def analysis(newly_solved: int) -> RoundAnalysis:
    return RoundAnalysis(
        levels_from="method",
        progress={},
        by_label={},
        newly_solved_hard=newly_solved,
        transitions={},
        reliability=None,
        origin=(),
        frequency={},
        steps={},
    )


def test_marginal_flops_since_the_last_evaluated_policy(tmp_path: Path) -> None:
    """Sampling costs 10 and training 30 useful FLOPs a round; round 1 is not evaluated."""
    needed = [f"run.dir={tmp_path / 'r'}", "model.path=m", "data.train=t", "logging.tensorboard=false"]
    sampled = SampledResult(
        sampling=SamplingResult(**COUNTS, trials=1, truncated=0, tokens=1, mean_length_by_level={}, notes={}),
        flops=Flops(useful=10, padded=20),
    )
    trained = TrainedResult(training=TrainingResult(tokens=1), flops=Flops(useful=30, padded=50))
    source = TrainingSource(source="t", queries=1, skipped=(), digest="d")
    data = DataFacts(train=source, evaluation={})
    evaluations = [evaluated(a=0.52, b=0.25), evaluated(), evaluated(a=0.56, b=0.25)]
    with RunStore.open(run_settings(load_config(None, [*needed, "run.rounds=2"]))) as store:
        store.annotate(RunFacts(parameters=7, model_digest="m", mesh={}, data=data, device="cpu"))
        store.mark_done("base/evaluate", evaluated(a=0.5, b=0.25))
        for number, newly_solved in enumerate((0, 3, 5)):
            built = BuildResult(level_shares=None, shortfall={}, method={}, analysis=analysis(newly_solved))
            for name, result in {"sample": sampled, "build": built, "train": trained}.items():
                store.mark_done(f"{number:02d}/{name}", result)
            store.mark_done(f"{number:02d}/evaluate", evaluations[number])
        zero, one, two = (entry.marginal for entry in write_summary(store, status="finished").rounds)
    # Round 0: 40 FLOPs, 2 points on a, none on b, nothing newly solved.
    assert zero is not None
    assert zero.flops == Flops(useful=40, padded=70)
    assert {name: round(v, 6) if v else v for name, v in zero.per_point.items()} == {"a": 20.0, "b": None}
    assert (zero.newly_solved, zero.per_newly_solved) == (0, None)
    assert one is None
    # Rounds 1 and 2 together: 80 FLOPs, 4 points, 3 + 5 queries.
    assert isinstance(two, Marginal)
    assert two.flops == Flops(useful=80, padded=140)
    assert round(two.per_point["a"] or 0, 6) == 20.0
    assert (two.newly_solved, two.per_newly_solved) == (8, 10.0)


def test_contamination_is_part_of_the_facts(tmp_path: Path) -> None:
    found = Contamination(exact=("e1",), ngrams={"e1": 1.0, "e2": 0.5}, mean_share=0.25, short=2)
    source = EvaluationSource(
        source="t", queries=4, skipped=(), digest="d", contaminated=1, contamination=found
    )
    train = TrainingSource(source="t", queries=1, skipped=(), digest="d")
    needed = [f"run.dir={tmp_path / 'r'}", "model.path=m", "data.train=t", "logging.tensorboard=false"]
    with RunStore.open(run_settings(load_config(None, needed))) as store:
        store.annotate(
            RunFacts(
                parameters=7,
                model_digest="m",
                mesh={},
                data=DataFacts(train=train, evaluation={"s": source}),
                device="cpu",
            )
        )
        summary = write_summary(store, status="running")
    assert summary.data.evaluation["s"].contamination == found
