"""A plan in the terminal."""

from __future__ import annotations

from dast_jax.reporting.terminal import make_console, make_table, plain, print_tables
from dast_jax.store.plan_results import Plan, StagePlan

__all__ = ["print_plan"]


def print_plan(plan: Plan) -> None:
    """Print memory, work and time of each stage, the assumptions, and whether the run fits."""
    console = make_console()
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items() if size > 1) or "one device"
    console.print(plain(f"{plan.model}, {plan.parameters / 1e9:.2f} B parameters, on {plan.target}: {mesh}"))
    memory = make_table(
        f"Memory of one device, GB{_limit(plan)}",
        "stage", "weights", "optimizer", "cache", "held", "activations", "peak", "by",
    )  # fmt: skip
    work = make_table(
        "One call on one device",
        "stage", "TFLOP", "useful", "memory GB", "links GB", "ms", "calls a round",
    )  # fmt: skip
    for s in plan.stages:
        m = s.memory
        values = (m.weights, m.optimizer, m.cache, m.held, m.activations, m.total)
        memory.add_row(s.name, *(_gb(v) for v in values), s.source)
        work.add_row(s.name, *_work(s), f"{s.calls:,.0f}")
    print_tables([memory, work], console)
    for s in plan.stages:
        console.print(plain(f"{s.name}: {s.what}" + "".join(f"; {note}" for note in s.notes)))
    for name in plan.replicated:
        console.print(plain(f"whole on every device: {name}"))
    console.print()
    if plan.round_seconds is not None and plan.run_seconds is not None:
        console.print(
            f"a round {plan.round_seconds / 60:,.1f} min, the run {plan.run_seconds / 3600:,.2f} h, "
            f"{plan.chip_hours:,.1f} chip hours, if"
        )
    for text in plan.assumptions:
        console.print(plain(f"- {text}"))
    console.print(plain(plan.message), style="bold" if plan.fits else "bold red")


def _limit(plan: Plan) -> str:
    return "" if plan.memory_limit is None else f" (of {plan.memory_limit / 1e9:.1f})"


def _work(s: StagePlan) -> tuple[str, ...]:
    c = s.cost
    return (
        f"{c.flops / 1e12:,.2f}",
        "–" if c.useful_share is None else f"{100 * c.useful_share:.0f} %",
        _gb(c.memory_bytes),
        _gb(c.interconnect_bytes),
        "–" if c.seconds is None else f"{1000 * c.seconds:,.1f}",
    )


def _gb(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e9:,.2f}"
