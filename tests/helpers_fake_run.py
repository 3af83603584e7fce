"""A run directory that looks like a real one, made from a seed without any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dast_jax.estimators.reliability import Reliability
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops
from dast_jax.metrics.speed import Speed
from dast_jax.records import LEVELS, FinishReason, Rollout, Verdict, VerdictKind
from dast_jax.store.analysis_results import (
    Contamination,
    LevelAccuracy,
    LevelProgress,
    Marginal,
    OriginCount,
    ProbeEntry,
    ProbeResult,
    RoundAnalysis,
    StepCounts,
)
from dast_jax.store.evaluation_results import EvalFile, SampleRow, SetEvaluation, VerdictCounts
from dast_jax.store.response_log import ResponseLog
from dast_jax.store.results import (
    BaseResult,
    DataFacts,
    EvaluationSource,
    LevelShares,
    Manifest,
    RoundFlops,
    RoundResult,
    RoundSeconds,
    RunSession,
    SamplingResult,
    Summary,
    Total,
    TrainingResult,
    TrainingSource,
    Work,
)
from dast_jax.store.typed_json import write_result

SETS: dict[str, dict[str, Any]] = {
    "in_domain": {"n": 500, "levels": ["1", "2", "3", "4", "5"], "base": [0.83, 0.52, 0.34, 0.26, 0.2]},
    "out_of_domain": {"n": 500, "levels": ["6", "7", "8"], "base": [0.17, 0.12, 0.08]},
}
KINDS = [kind.value for kind in VerdictKind]


def make_run(
    path: Path,
    *,
    name: str = "quickstart",
    seed: int = 0,
    rounds: int = 3,
    gain: float = 0.05,
    finished: bool = True,
    hostile: str | None = None,
    method: str = "dast",
) -> Path:
    """Write a run of rounds 0 … `rounds` − 1 into `path`; every round adds about `gain` to the accuracies.

    `hostile` is put into every text that a model or a person could have written.
    """
    rng = np.random.default_rng(seed)
    evil = hostile or ""
    path.mkdir(parents=True, exist_ok=True)
    versions = {"dast_jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8"}
    session = RunSession(started="2026-01-01T00:00:00Z", versions=versions)
    write_result(
        path / "manifest.json",
        Manifest(created=session.started, config="", sessions=(session,), facts=None, stages=()),
    )
    (path / "config.yaml").write_text(
        f"run:\n  dir: runs/quickstart\n  seed: {seed}\n  rounds: {rounds - 1}\nmethod:\n  name: {method}\n"
        "  base_quota: 2\n"
        f"sampling:\n  trials: 8  # {evil}\ntraining:\n  learning_rate: 0.0003\n  epochs: 2\n",
        encoding="utf-8",
        errors="replace",
    )
    skill = {n: rng.random(s["n"]) for n, s in SETS.items()}
    base_eval = _evaluation(path, "base", skill, 0.0, rng, evil)
    entries: list[RoundResult] = []
    metrics: list[dict[str, Any]] = []
    work = Work()
    evaluation_flops = Flops(useful=9e10, padded=1.5e11)
    mix = np.array([0.364, 0.383, 0.165, 0.088])
    after = np.array([[0.364, 0.383, 0.165, 0.088], [0.257, 0.27, 0.349, 0.124], [0.25, 0.268, 0.35, 0.132]])
    for r in range(rounds):
        done = finished or r < rounds - 1
        sampling = _sampling(path / "rounds" / f"{r:02d}", r, rng, evil)
        steps = 60 + 40 * bool(r)
        losses = (
            0.35 + 0.9 * np.exp(-np.arange(steps) / 14) * (0.4 if r else 1.0) + rng.normal(0, 0.02, steps)
        )
        metrics += [
            {
                "time": 1.0,
                "stage": "train",
                "round": r,
                "step": s + 1,
                "loss": float(v),
                "learning_rate": 3e-4,
            }
            for s, v in enumerate(losses)
        ]
        training = TrainingResult(
            examples=256 if r == 0 else 812 + 31 * r,
            reference_examples=256,
            tokens=91_000 if r == 0 else 241_000 + 900 * r,
            response_tokens=40_000 if r == 0 else 101_000,
            steps=steps,
            final_loss=float(losses[-1]),
            speed=Speed(tokens_per_second=5400.0, padding=0.08, host_wait=0.02, mfu=0.31),
        )
        spent = (
            Flops(useful=1.1e11, padded=1.6e11),
            Flops(useful=5e11 * (r + 1), padded=5.6e11 * (r + 1)),
        )
        work = Work(
            sampled_tokens=work.sampled_tokens + sampling.tokens,
            trained_tokens=work.trained_tokens + training.tokens,
            flops=work.flops + spent[0] + spent[1],
        )
        evaluation = _evaluation(path, f"{r:02d}", skill, gain * (r + 0.6), rng, evil) if done else {}
        entries.append(
            RoundResult(
                round=r,
                evaluation={n: e.entry for n, e in evaluation.items()},
                paired={
                    n: stats.paired_difference(list(e.correct), list(base_eval[n].correct))
                    for n, e in evaluation.items()
                },
                sampling=sampling,
                training=training,
                level_shares=LevelShares(
                    before=dict(zip(LEVELS, mix.tolist(), strict=True)),
                    after=dict(zip(LEVELS, after[min(r, 2)].tolist(), strict=True)),
                ),
                shortfall={"easy": 0, "middle": 0, "hard": 7 * r, "unsolved": 12 * bool(r)},
                method={},
                length_ratio=1.62 - 0.08 * r if done else None,
                analysis=_analysis(r),
                probe=_probe(r) if done else None,
                marginal=_marginal(r) if done else None,
                seconds=RoundSeconds(
                    sample=31.5 + 4 * r,
                    build=0.2,
                    train=14.0 if r == 0 else 37.0,
                    evaluate=21.0 if done else None,
                ),
                flops=RoundFlops(
                    sample=spent[0], train=spent[1], evaluate=evaluation_flops if done else None
                ),
                cumulative=work,
            )
        )
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    summary = Summary(
        status="finished" if finished else "running",
        name=name + evil,
        method={"name": method, "base_quota": 2},
        seed=seed,
        model="dast_jax/assets/tiny" + evil,
        parameters=1_050_240,
        versions=versions,
        device="1 x cpu",
        mesh={"data": 1, "fsdp": 1, "tensor": 1},
        data=DataFacts(
            train=TrainingSource(source="train.jsonl", queries=256, skipped=(), digest="d"),
            evaluation={
                n: EvaluationSource(
                    source=f"{n}.jsonl",
                    queries=s["n"],
                    skipped=(),
                    digest="d",
                    contaminated=1,
                    contamination=Contamination(
                        exact=(f"{n}-0{evil}",),
                        ngrams={f"{n}-0{evil}": 1.0, f"{n}-9": 0.625},
                        mean_share=0.021,
                        short=7,
                    ),
                )
                for n, s in SETS.items()
            },
        ),
        base=BaseResult(
            evaluation={n: e.entry for n, e in base_eval.items()},
            length_ratio=1.71,
            probe=_probe(-1),
            seconds=20.4,
            flops=evaluation_flops,
        ),
        rounds=tuple(entries),
        total=Total(seconds=262.0, flops=Flops(useful=3e12, padded=4e12), peak_memory_gib=2.1),
        warnings=(f"2 training queries are longer than 300 tokens and were skipped: t17, t203{evil}",),
    )
    write_result(path / "summary.json", summary)
    return path


def _evaluation(
    path: Path, directory: str, skill: dict[str, np.ndarray], gain: float, rng: np.random.Generator, evil: str
) -> dict[str, SetEvaluation]:
    sets: dict[str, SetEvaluation] = {}
    samples: list[SampleRow] = []
    for name, spec in SETS.items():
        n = spec["n"]
        level = np.arange(n) % len(spec["levels"])
        chance = np.array(spec["base"])[level] + gain * (0.6 + 0.2 * level)
        # A question's outcome is mostly its own, with some luck of the round: pairs go together.
        correct = np.where(rng.random(n) < 0.75, skill[name], rng.random(n)) < chance
        labels = [spec["levels"][i] + evil for i in level]
        wrong = n - int(correct.sum())
        overall = stats.accuracy_entry(correct)
        sets[name] = SetEvaluation(
            accuracy=overall.accuracy,
            interval=overall.interval,
            n=overall.n,
            by_level={
                label: LevelAccuracy(**vars(entry), mean_length=30.0 + i)
                for i, (label, entry) in enumerate(stats.by_level(correct, 1, labels).items())
            },
            verdicts=VerdictCounts(
                correct=n - wrong,
                incorrect=wrong - int(wrong * 0.12) - 1,
                no_answer=int(wrong * 0.12),
                timed_out=1,
            ),
            truncated=9,
            mean_length=44.2,
            trials=1,
            pass_at={},
            majority_at={},
            correct=tuple(correct.astype(int).tolist()),
            ids=tuple(f"{name}-{i}{evil}" for i in range(n)),
        )
        for i in range(3 * len(spec["levels"])):
            samples.append(_sample(name, i, labels[i], bool(correct[i]), evil))
    out = path / "rounds" / directory
    out.mkdir(parents=True, exist_ok=True)
    write_result(out / "eval.json", EvalFile(sets=sets, samples=tuple(samples), length_ratio=1.6))
    return sets


def _analysis(r: int) -> RoundAnalysis:
    """Numbers that follow from the round alone."""
    counts = {"easy": 93, "middle": 98, "hard": 42, "unsolved": 23}
    moved = {
        "easy": {"easy": 80 + r, "middle": 9, "hard": 1, "unsolved": 0, "unknown": 3 - r},
        "middle": {"easy": 30, "middle": 40, "hard": 8, "unsolved": 2, "unknown": 18},
        "hard": {"easy": 5, "middle": 15, "hard": 12, "unsolved": 4, "unknown": 6},
        "unsolved": {"easy": 0, "middle": 3, "hard": 5, "unsolved": 11, "unknown": 4},
    }
    origin = [OriginCount(part="example", policy=None, prompt="reference", rows=256)]
    if r:
        origin += [
            OriginCount(part="example", policy="M_0", prompt="few_shot", rows=310),
            OriginCount(part="example", policy=f"M_{r}", prompt="matched", rows=246 + 31 * r),
        ]
    return RoundAnalysis(
        levels_from="method",
        progress={
            name: LevelProgress(
                queries=n,
                sampled=n,
                solved=n - 14 + 3 * r if name == "unsolved" else n,
                newly_solved=3 if name == "unsolved" else 0,
                covered=n // 2 if r else 0,
                covered_so_far=n // 2 + r if r else 0,
                rows=n * (1 + r),
            )
            for name, n in counts.items()
        },
        by_label={},
        newly_solved_hard=3 if r else 0,
        transitions=moved if r else {},
        reliability=None
        if r
        else Reliability(
            queries=256, trials=4, same_level=0.71, kappa=0.53, correlation=0.8, reliability=0.889
        ),
        origin=tuple(origin),
        frequency={"0": 0, "1": 256 if not r else 11, "2": 0 if not r else 245},
        steps={"easy": StepCounts(correct=700, checked=690, false_positives=12, unreadable=3)},
    )


def _probe(r: int) -> ProbeResult:
    def entry(accuracy: float, length: float) -> ProbeEntry:
        pass_at = {
            str(k): stats.Score(accuracy=1 - (1 - accuracy) ** k, interval=(0.1, 0.99)) for k in (1, 2, 4, 8)
        }
        return ProbeEntry(
            accuracy=accuracy,
            interval=(accuracy - 0.1, accuracy + 0.1),
            n=32,
            mean_length=length,
            pass_at=pass_at,
            mean_entropy=0.4 - 0.05 * r,
            distinct_correct=2.5 + 0.1 * r,
        )

    return ProbeResult(
        trials=8,
        zero_shot=entry(0.3 + 0.1 * (r + 1), 21.0),
        few_shot=entry(0.45 + 0.02 * (r + 1), 23.0),
        transitions={} if r < 0 else _analysis(r + 1).transitions,
        solved=None if r < 0 else 3,
        lost=None if r < 0 else 1,
    )


def _marginal(r: int) -> Marginal:
    return Marginal(
        flops=Flops(useful=5e11, padded=6e11),
        per_point={"in_domain": 1.25e11, "out_of_domain": None},
        newly_solved=3,
        per_newly_solved=5e11 / 3,
    )


def _sample(name: str, i: int, level: str, correct: bool, evil: str) -> SampleRow:
    a, b, c = 7 + i, 12 + i, 3 + i % 4
    right = (a + b) * c - 5
    said = right if correct else right - 10
    return SampleRow(
        set=name,
        id=f"{name}-{i}{evil}",
        level=level,
        question=f"(({a}+{b})*{c}-5)=?{evil}",
        reference=str(right),
        text=f"{a}+{b}={a + b}. {a + b}*{c}={(a + b) * c}. {(a + b) * c}-5={said}.\n#### {said}{evil}",
        verdict="correct" if correct else "incorrect",
        extracted=f"{said}{evil}",
        tokens=40 + i,
        truncated=i % 3 == 1,
        runaway=i % 3 == 2,
    )


def _sampling(path: Path, round_: int, rng: np.random.Generator, evil: str) -> SamplingResult:
    """Writes the round's responses and levels; returns the summary's sampling entry."""
    n = 256
    level = rng.choice(4, n, p=[0.364, 0.383, 0.165, 0.088])
    trials = np.array([4, 5, 11, 12])[level] if round_ else np.full(n, 8)
    query = np.repeat(np.arange(n), trials)
    chance = np.array([0.88, 0.5, 0.15, 0.01])[level][query] + 0.04 * round_
    correct = rng.random(len(query)) < chance
    wrong_kind = np.where(rng.random(len(query)) < 0.1, 2, 1)
    verdict = np.where(correct, 0, wrong_kind)
    length = (30 + 9 * level[query] + rng.integers(-4, 5, len(query))).astype(np.int32)
    with ResponseLog(path / "responses", round_, flush_responses=len(query) // 2) as log:
        for i, q in enumerate(query):
            rollout = Rollout(
                query=int(q),
                trial=i,
                kind=0,
                text=f"…{evil}",
                tokens=(1,) * int(length[i]),
                logprob=-1.0,
                entropy=0.5,
                finish_reason=FinishReason.EOS,
            )
            log.append(rollout, Verdict(VerdictKind(KINDS[verdict[i]]), evil))
    per_query = np.bincount(query, minlength=n)
    pq.write_table(
        pa.table(
            {
                "query": np.arange(n, dtype=np.int32),
                "id": [f"t{i}" for i in range(n)],
                "level": [LEVELS[i] for i in level],
                "trials": per_query,
                "correct": np.bincount(query, correct, n).astype(np.int32),
            }
        ),
        path / "difficulty.parquet",
    )
    counts = np.bincount(verdict, minlength=4)
    return SamplingResult(
        trials=len(query),
        **{kind: int(c) for kind, c in zip(KINDS, counts, strict=True)},
        truncated=14,
        tokens=int(length.sum()),
        mean_length_by_level={name: float(length[level[query] == i].mean()) for i, name in enumerate(LEVELS)},
        mean_entropy=0.5,
        notes={},
        speed=Speed(
            tokens_per_second=1234.0,
            padding=0.25,
            idle_slots=0.4,
            host_wait=0.03,
            mfu=0.05,
            bandwidth_share=0.44,
        ),
    )
