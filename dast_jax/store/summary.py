"""`summary.json`: a run's machine-readable result, assembled from the results of its stages."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dast_jax.errors import UserError
from dast_jax.metrics.flops import Flops
from dast_jax.runtime.limits import peak_memory
from dast_jax.store import durable
from dast_jax.store.analysis_results import Marginal
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
        probe=found.probe,
        seconds=store.stages["base/evaluate"].seconds,
        flops=found.flops,
    )


def _rounds(store: RunStore) -> tuple[RoundResult, ...]:
    """Return the rounds whose responses are sampled."""
    rounds: list[RoundResult] = []
    work = Work()
    last = _Evaluated.of_base(store)
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
        entry = _round(store, number, sampled, trained, work)
        marginal, last = _marginal(entry, last)
        rounds.append(dataclasses.replace(entry, marginal=marginal))
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
        analysis=built.analysis if built else None,
        probe=evaluated.probe if evaluated else None,
        marginal=None,
        seconds=RoundSeconds(**{name: _seconds(store, number, name) for name in _STAGES}),
        flops=RoundFlops(
            sample=sampled.flops,
            train=trained.flops if trained else None,
            evaluate=evaluated.flops if evaluated else None,
        ),
        cumulative=work,
    )


@dataclass(frozen=True)
class _Evaluated:
    """An evaluated policy: accuracy by set, the work until then, and what was newly solved since then."""

    accuracy: Mapping[str, float]
    flops: Flops
    newly_solved: int = 0

    @classmethod
    def of_base(cls, store: RunStore) -> _Evaluated:
        """Return M_0, for which no work was done."""
        found = store.result("base/evaluate", EvaluationResult)
        return cls({name: e.accuracy for name, e in found.evaluation.items()} if found else {}, Flops())


def _marginal(entry: RoundResult, last: _Evaluated) -> tuple[Marginal | None, _Evaluated]:
    """Return what the work since the `last` evaluated policy has bought, and the last one from here on."""
    solved = last.newly_solved + (entry.analysis.newly_solved_hard if entry.analysis else 0)
    if not entry.evaluation:
        return None, dataclasses.replace(last, newly_solved=solved)
    flops, before = entry.cumulative.flops, last.flops
    spent = Flops(useful=flops.useful - before.useful, padded=flops.padded - before.padded)
    accuracy = {name: found.accuracy for name, found in entry.evaluation.items()}
    points = {name: 100 * (a - last.accuracy[name]) for name, a in accuracy.items() if name in last.accuracy}
    return Marginal(
        flops=spent,
        per_point={name: spent.useful / gain if gain > 0 else None for name, gain in points.items()},
        newly_solved=solved,
        per_newly_solved=spent.useful / solved if solved else None,
    ), _Evaluated(accuracy, flops)


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
        peak_memory_gib=peak_memory() / 2**30,
    )


def _warnings(store: RunStore) -> tuple[str, ...]:
    """Return the run's warnings so far, each once: `log.txt` has them, over all of its interruptions."""
    path = store.path / "log.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    found = [line.partition(" WARNING ")[2] for line in lines if " WARNING " in line]
    return tuple(dict.fromkeys(found))
