"""`summary.json`: a run's machine-readable result, assembled from the results of its stages."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterable

from dast_jax.errors import UserError
from dast_jax.metrics.flops import Flops
from dast_jax.store import durable
from dast_jax.store.results import (
    BaseResult,
    BuildResult,
    EvaluationResult,
    RoundFlops,
    RoundResult,
    RoundSeconds,
    SampledResult,
    Status,
    Summary,
    Total,
    TrainedResult,
    Work,
)
from dast_jax.store.run_store import RunStore

__all__ = ["read_summary", "write_summary"]

log = logging.getLogger(__name__)

_PATH = "summary.json"


def read_summary(store: RunStore) -> Summary:
    """Return the summary of a finished run; where the file is damaged or out of date, write it again."""
    try:
        summary = store.read_result(Summary, _PATH)
        if summary.status == "finished":
            return summary
    except UserError as error:
        log.warning("%s: written again, from manifest.json", error)
        durable.set_aside(store.path / _PATH)
    return write_summary(store, status="finished")


def write_summary(store: RunStore, *, status: Status) -> Summary:
    """Assemble the summary from the finished stages, write it atomically, and return it."""
    config, facts = store.config, store.facts
    assert facts is not None, "the run's facts come before its stages"
    base, rounds = _base(store), _rounds(store)
    summary = Summary(
        status=status,
        name=store.path.name,
        method=config["method"],
        seed=config["run"]["seed"],
        model=config["model"]["path"],
        parameters=facts.parameters,
        mesh=facts.mesh,
        data=facts.data,
        versions=store.versions,
        device=facts.device,
        base=base,
        rounds=rounds,
        total=_total(store, base, rounds),
        warnings=_warnings(store),
    )
    store.write_result(_PATH, summary)
    return summary


def _base(store: RunStore) -> BaseResult | None:
    found = store.result("base/evaluate", EvaluationResult)
    if found is None:
        return None
    return BaseResult(
        evaluation=found.evaluation,
        length_ratio=found.length_ratio,
        seconds=store.stages["base/evaluate"].seconds,
        flops=found.flops,
    )


def _rounds(store: RunStore) -> tuple[RoundResult, ...]:
    """Return the rounds whose responses are sampled."""
    rounds: list[RoundResult] = []
    work = Work()
    for number in range(store.config["run"]["rounds"] + 1):
        sampled = store.result(f"{number:02d}/sample", SampledResult)
        if sampled is None:
            break
        trained = store.result(f"{number:02d}/train", TrainedResult)
        work = Work(
            sampled_tokens=work.sampled_tokens + sampled.sampling.tokens,
            trained_tokens=work.trained_tokens + (trained.training.tokens if trained else 0),
            flops=work.flops + sampled.flops + (trained.flops if trained else Flops()),
        )
        rounds.append(_round(store, number, sampled, trained, work))
    return tuple(rounds)


def _round(
    store: RunStore, number: int, sampled: SampledResult, trained: TrainedResult | None, work: Work
) -> RoundResult:
    built = store.result(f"{number:02d}/build", BuildResult)
    evaluated = store.result(f"{number:02d}/evaluate", EvaluationResult)
    return RoundResult(
        round=number,
        evaluation=evaluated.evaluation if evaluated else {},
        paired=evaluated.paired if evaluated else {},
        sampling=sampled.sampling,
        training=trained.training if trained else None,
        level_shares=built.level_shares if built else None,
        shortfall=built.shortfall if built else {},
        method=built.method if built else {},
        length_ratio=evaluated.length_ratio if evaluated else None,
        seconds=RoundSeconds(**{name: _seconds(store, number, name) for name in _STAGES}),
        flops=RoundFlops(
            sample=sampled.flops,
            train=trained.flops if trained else None,
            evaluate=evaluated.flops if evaluated else None,
        ),
        cumulative=work,
    )


_STAGES = ("sample", "build", "train", "evaluate")


def _seconds(store: RunStore, round: int, stage: str) -> float | None:
    record = store.stages.get(f"{round:02d}/{stage}")
    return None if record is None else record.seconds


def _total(store: RunStore, base: BaseResult | None, rounds: Iterable[RoundResult]) -> Total:
    spent = [base.flops] if base else []
    for entry in rounds:
        stages = (entry.flops.sample, entry.flops.train, entry.flops.evaluate)
        spent += [flops for flops in stages if flops is not None]
    return Total(
        seconds=sum(record.seconds for record in store.stages.values()),
        flops=sum(spent, Flops()),
        peak_memory_gib=_peak_memory_gib(),
    )


def _peak_memory_gib() -> float:
    """Return the peak resident memory of this process, in GiB (ru_maxrss is in KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _warnings(store: RunStore) -> tuple[str, ...]:
    """Return the run's warnings so far, each once: `log.txt` has them, over all of its interruptions."""
    path = store.path / "log.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    found = [line.partition(" WARNING ")[2] for line in lines if " WARNING " in line]
    return tuple(dict.fromkeys(found))
