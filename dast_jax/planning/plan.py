"""Put a plan together: compile or estimate each program, time it, and say whether the run fits."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from dast_jax.config import RunConfig
from dast_jax.errors import UserError
from dast_jax.metrics.devices import Peak
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.planning.advice import changed, fitting
from dast_jax.planning.hlo import Executed, executed
from dast_jax.planning.programs import Program, Shapes, cached_model, programs, run_shapes
from dast_jax.planning.targets import Target
from dast_jax.planning.workload import calls, workload
from dast_jax.store.plan_results import Change, Plan, StageCost, StageMemory, StagePlan

__all__ = ["PlanOptions", "compile_program", "make_plan"]

_PRODUCTS, _MEMORY, _INTERCONNECT = 0.6, 0.8, 0.8
"""The shares of the published peaks that are reached."""

_ROOM = 0.9
"""A formula's total must be within this share of the memory; a compiled one, within all of it."""

_CHANGES = 4


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What is asked besides the config: the number of queries, response tokens, and a compiled search."""

    queries: int | None = None
    response_tokens: int | None = None
    search: bool = False


def make_plan(
    config: RunConfig,
    model: tuple[LlamaConfig, str],
    target: Target,
    options: PlanOptions,
    *,
    on_stage: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Return the plan of a run of `config` with the `model` (shapes, and where they are from) on `target`.

    `on_stage` is told what is compiled next. Raises `UserError` where config and target do not go together.
    """
    shapes = run_shapes(config, model[0], target)
    work = workload(shapes, options.queries, options.response_tokens)
    often = calls(shapes, work)
    stages = []
    for program in programs(shapes):
        on_stage(f"{program.name}: {program.what}")
        stages.append(_stage(program, target, often[program.name]))
    fits = _all(stage.fits for stage in stages)
    changes = _changes(config, model[0], target, shapes, stages, options, on_stage) if fits is False else ()
    seconds = _times(stages)
    rounds = config.run.rounds + 1
    parameters = sum(leaf.size for leaf in jax.tree.leaves(cached_model(model[0])[1]))
    return Plan(
        model=model[1],
        parameters=parameters,
        target=target.name,
        device=target.kind,
        devices=shapes.mesh.size,
        mesh=shapes.sizes,
        memory_limit=target.memory,
        fits=fits,
        stages=tuple(stages),
        replicated=shapes.replicated,
        round_seconds=seconds,
        run_seconds=None if seconds is None else rounds * seconds,
        chip_hours=None if seconds is None else rounds * seconds * shapes.mesh.size / 3600,
        assumptions=(*work.assumptions, *_assumptions(target, rounds)),
        message=_message(stages, changes, target, fits),
        changes=changes,
    )


def _all(fits: Any) -> bool | None:
    known = list(fits)
    return False if False in known else None if None in known else True


def _assumptions(target: Target, rounds: int) -> tuple[str, ...]:
    if target.peak is None:
        return (f"no published peaks are known of {target.kind}, so that no times are estimated",)
    return (
        f"matrix products at {_PRODUCTS:.0%} of {target.peak.flops / 1e12:,.0f} TFLOP/s, memory at "
        f"{_MEMORY:.0%} of {target.peak.bandwidth / 1e9:,.0f} GB/s, whichever takes longer; then links at "
        f"{_INTERCONNECT:.0%} of {target.peak.interconnect / 1e9:,.0f} GB/s, overlapped with nothing",
        f"{rounds} rounds alike, without compilation, checkpoints, verification and level estimates",
    )


# --- one stage ----------------------------------------------------------------------------------------


def _stage(program: Program, target: Target, count: float) -> StagePlan:
    if not target.compiled:
        return _estimated(program, target, count)
    return compile_program(program, target, count)


def _estimated(program: Program, target: Target, count: float) -> StagePlan:
    """Return what the formulas say."""
    known = program.weights + program.optimizer + program.cache + program.held
    cost = Executed(flops=program.flops_estimate, memory=program.traffic_estimate)
    return StagePlan(
        name=program.name,
        what=program.what,
        source="formula",
        fits=None if target.memory is None else program.estimate <= target.memory,
        memory=_memory(program, program.estimate - known, program.estimate),
        cost=_cost(program, cost, target.peak),
        calls=count,
        compile_seconds=0.0,
        notes=("an estimate, until such a device has run it; what goes over the interconnect is not in it",),
    )


def compile_program(program: Program, target: Target, count: float = 1.0) -> StagePlan:
    """Return what the compiler says of a program: its memory, and what it executes.

    Of one with a piece of code for each layer, what it says of fewer layers, and the rest by the difference.
    """
    begun = time.process_time()
    try:
        if program.fewer:
            (few, small), (more, large) = program.fewer
            before, after = (_compiled(p, target) for p in (small, large))
            found = after + (after + before.times(-1)).times((program.layers - more) / (more - few))
            notes = [f"compiled with {few} and {more} of {program.layers} layers, which add the same each"]
        else:
            found, notes = _compiled(program, target), []
    except jax.errors.JaxRuntimeError as error:
        needed = _refused(str(error))
        if needed is None:
            raise
        needed = max(needed + program.held, program.estimate if program.fewer else 0.0)
        return _too_large(program, target, needed, count, time.process_time() - begun)
    notes += [f"the loop {where} is counted once" for where in found.cost.uncounted]
    return StagePlan(
        name=program.name,
        what=program.what,
        source="compiled",
        fits=None if target.memory is None else found.total <= target.memory,
        memory=_memory(program, found.temporaries, found.total),
        cost=_cost(program, found.cost, target.peak),
        calls=count,
        compile_seconds=time.process_time() - begun,
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """What the compiler says of a program: bytes of its temporaries and at its peak, and what it executes."""

    temporaries: float
    total: float
    cost: Executed

    def __add__(self, other: _Compiled) -> _Compiled:
        return _Compiled(
            temporaries=self.temporaries + other.temporaries,
            total=self.total + other.total,
            cost=self.cost + other.cost,
        )

    def times(self, count: float) -> _Compiled:
        """Return `count` times this."""
        return _Compiled(
            temporaries=count * self.temporaries, total=count * self.total, cost=self.cost.times(count)
        )


def _compiled(program: Program, target: Target) -> _Compiled:
    with warnings.catch_warnings():
        # A cached program for devices that are not there cannot be read back; it is compiled again.
        warnings.filterwarnings("ignore", message="Error reading persistent compilation cache")
        compiled = lower(program, target).compile()
    stats = compiled.memory_analysis()
    total = (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
        + stats.generated_code_size_in_bytes
        + program.held
    )
    return _Compiled(
        temporaries=float(stats.temp_size_in_bytes),
        total=float(total),
        cost=executed(compiled.as_text(), lambda where: _trips(where, program)),
    )


def lower(program: Program, target: Target) -> Any:
    """Return the program lowered for the target's devices, which may be absent."""
    platform = target.devices[0].platform
    traced = program.trace()
    return traced.lower(lowering_platforms=("tpu",)) if platform == "tpu" else traced.lower()


def _trips(where: str, program: Program) -> float | None:
    """Return the trips of the loop in whose scope an operation is: the innermost one's."""
    inner = where.rpartition("while/body")[2]
    return next((float(n) for name, n in program.trips.items() if name in inner), None)


def _refused(text: str) -> float | None:
    """Return the bytes that the compiler says a program needs; None where it says something else."""
    found = re.search(r"[Uu]sed ([\d.]+)([KMGT])i?B? of [\d.]+[KMGT]i?B? hbm", text)
    return float(found[1]) * 1024 ** (1 + "KMGT".index(found[2])) if found else None


def _too_large(program: Program, target: Target, needed: float, count: float, seconds: float) -> StagePlan:
    known = program.weights + program.optimizer + program.cache + program.held
    cost = Executed(flops=program.flops_estimate, memory=program.traffic_estimate)
    return StagePlan(
        name=program.name,
        what=program.what,
        source="compiled",
        fits=False,
        memory=_memory(program, max(0.0, needed - known), needed),
        cost=_cost(program, cost, target.peak),
        calls=count,
        compile_seconds=seconds,
        notes=("the compiler refused it; FLOPs and bytes are the formula's",),
    )


def _memory(program: Program, activations: float, total: float) -> StageMemory:
    return StageMemory(
        weights=program.weights,
        optimizer=program.optimizer,
        cache=program.cache,
        held=program.held,
        activations=activations,
        total=total,
    )


def _cost(program: Program, cost: Executed, peak: Peak | None) -> StageCost:
    seconds = None
    if peak is not None:
        compute = max(cost.flops / (_PRODUCTS * peak.flops), cost.memory / (_MEMORY * peak.bandwidth))
        seconds = compute + cost.interconnect / (_INTERCONNECT * peak.interconnect)
    return StageCost(
        flops=cost.flops,
        useful_flops=program.useful_flops,
        useful_share=program.useful_flops / cost.flops if cost.flops else None,
        memory_bytes=cost.memory,
        interconnect_bytes=cost.interconnect,
        seconds=seconds,
    )


def _times(stages: list[StagePlan]) -> float | None:
    """Return the seconds of a round; of SFT and preferences, a round has one, and the longer one counts."""
    found = {s.name: None if s.cost.seconds is None else s.calls * s.cost.seconds for s in stages}
    known = {name: seconds for name, seconds in found.items() if seconds is not None}
    if len(known) < len(found):
        return None
    training = max(known.get("sft", 0.0), known.get("preference", 0.0) + known.get("score", 0.0))
    return known.get("prefill", 0.0) + known.get("decode", 0.0) + training


# --- what does not fit --------------------------------------------------------------------------------


def _message(stages: list[StagePlan], changes: tuple[Change, ...], target: Target, fits: bool | None) -> str:
    largest = max(stages, key=lambda s: s.memory.total or 0.0)
    needs, limit = largest.memory.total or 0.0, target.memory
    if limit is None:
        return f"{largest.name} needs {_gb(needs)} of each device, whose memory is not known"
    if fits:
        estimated = "" if largest.source == "compiled" else ", by estimate"
        return f"fits{estimated}: {largest.name} needs {_gb(needs)} of {_gb(limit)}"
    text = f"does not fit: {largest.name} needs {_gb(needs)} of {_gb(limit)}"
    if not changes:
        return f"{text}; no change of settings should make it fit: take more devices, or a smaller model"
    return f"{text}; these changes should fit: " + "; or ".join(" ".join(c.settings) for c in changes)


def _gb(value: float) -> str:
    return f"{value / 1e9:.1f} GB"


def _changes(
    config: RunConfig,
    model: LlamaConfig,
    target: Target,
    shapes: Shapes,
    stages: list[StagePlan],
    options: PlanOptions,
    on_stage: Callable[[str], None],
) -> tuple[Change, ...]:
    """Return what should make the run fit: by formula, scaled to what was compiled, or compiled too."""
    assert target.memory is not None
    worst = max(stages, key=lambda s: s.memory.total or 0.0)
    before = next(p for p in programs(shapes) if p.name == worst.name)
    scale = max(1.0, (worst.memory.total or 0.0) / before.estimate)

    def estimate(other: RunConfig) -> float | None:
        try:
            found = run_shapes(other, model, target)
        except UserError:
            return None
        return max(p.estimate * (scale if p.name == worst.name else 1.0) for p in programs(found))

    found: list[Change] = []
    for settings, needs in fitting(
        config, shapes.sizes, len(target.devices), worst.name, estimate, _ROOM * target.memory
    ):
        if not options.search or not target.compiled:
            found.append(Change(settings=settings, needs=needs, source="formula"))
        else:
            on_stage("searching: " + " ".join(settings))
            other = run_shapes(changed(config, settings), model, target)
            totals = [compile_program(p, target).memory.total or 0.0 for p in programs(other)]
            if max(totals) > target.memory:
                continue
            return (Change(settings=settings, needs=max(totals), source="compiled"),)
        if len(found) == _CHANGES:
            break
    return tuple(found)
