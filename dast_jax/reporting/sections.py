"""The body of the report below accuracy, one function a section. A section without data comes out empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.metrics.flops import with_cumulative
from dast_jax.metrics.stats import sorted_levels
from dast_jax.records import LEVELS, VerdictKind
from dast_jax.reporting.layout import per_run, position, round_ticks, run_colour, thin
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import card, cards, details, figure, section, table
from dast_jax.reporting.svg import (
    Bars,
    Chart,
    Line,
    Segments,
    grouped_bars,
    line_chart,
    number,
    percent,
    stacked_bars,
)

__all__ = ["configuration", "responses", "training", "training_data"]

_LEVEL_COLOURS = [(f"var(--l{i})", f"var(--k{i})") for i in range(len(LEVELS))]
_VERDICT_COLOURS = {
    "correct": "var(--ok)",
    "incorrect": "var(--bad)",
    "no_answer": "var(--none)",
    "timed_out": "var(--late)",
}
_STAGES = {"sample": "var(--r0)", "build": "var(--r4)", "train": "var(--r1)", "evaluate": "var(--r2)"}
_LOSS_POINTS = 300


def training_data(runs: Sequence[RunData]) -> Html:
    """Level shares of the training data before and after augmentation, and what was short."""
    return section(
        "Training data by level",
        *[per_run(runs, run, cards([_shares_figure(run), _efficiency_figure(run)])) for run in runs],
        note="Levels are the method's own estimate from the model's trials. Before: the original data. "
        "After: the original data with the self-generated, verified responses.",
        anchor="data",
    )


def responses(runs: Sequence[RunData]) -> Html:
    """Lengths, verdicts, and how well length control works."""
    shared = [_ratio_figure(runs)] if len(runs) > 1 else []
    parts = []
    for run in runs:
        figures = [_length_figure(run), _verdict_figure(run), _evaluation_verdict_figure(run)]
        parts.append(per_run(runs, run, cards([*figures, *([] if shared else [_ratio_figure(runs)])])))
    return section("Responses", cards(shared), *parts, anchor="responses")


def training(runs: Sequence[RunData]) -> Html:
    """Loss curves, seconds and FLOPs per stage, and what each round sampled and trained on."""
    return section(
        "Training, time and work",
        *[
            per_run(
                runs,
                run,
                cards([_loss_figure(run), _seconds_figure(run), _flops_figure(run)]),
                _training_table(run),
                _work_table(run),
            )
            for run in runs
        ],
        note="FLOPs by formula: 6 × parameters per trained token and 2 × parameters per sampled one.",
        anchor="training",
    )


def configuration(runs: Sequence[RunData]) -> Html:
    """The configs and versions, folded away."""
    parts = []
    for run in runs:
        versions = run.summary.get("versions") or {}
        lines = [f"{name} {version}" for name, version in versions.items()]
        lines += [f"mesh {axis}={size}" for axis, size in (run.summary.get("mesh") or {}).items()]
        body = Html(f'<p class="note">{text(", ".join(lines))}</p>') if lines else Html("")
        if run.config:
            body = Html(body + f"<pre>{text(run.config)}</pre>")
        if body:
            parts.append(card(details(f"Config and versions of {run.label}", body)))
    return section("Configuration", cards(parts, wide=True), anchor="config")


# --- data, responses ----------------------------------------------------------------------------------


def _shares_figure(run: RunData) -> Html:
    names, columns = [], []
    for point in run.rounds:
        for when in ("before", "after"):
            shares = (point.entry.get("level_shares") or {}).get(when)
            if shares:
                names.append(f"{point.name} {when}")
                columns.append(shares)
    if not columns:
        return Html("")
    chart = stacked_bars(
        names,
        _level_segments(columns),
        title="Level shares of the training data",
        form=lambda v: f"{100 * v:.0f}\u202f%",
    )
    short = [
        f"{point.name}: " + ", ".join(f"{n} {level}" for level, n in point.entry["shortfall"].items() if n)
        for point in run.rounds
        if any((point.entry.get("shortfall") or {}).values())
    ]
    return figure(
        "Level shares of the training data",
        chart,
        "Examples short of their quota: " + "; ".join(short) if short else "",
    )


def _efficiency_figure(run: RunData) -> Html:
    rounds = list(run.efficiency.items())
    if not rounds:
        return Html("")
    levels = [level for level in LEVELS if any(level in by for _, by in rounds)]
    shades = [f"var(--r{i})" for i in (0, 1, 2, 3, 4, 5)]
    bars = [
        Bars(
            label=f"round {r}",
            colour=shades[i % len(shades)],
            y=[by[v][0] / by[v][1] if v in by else None for v in levels],
        )
        for i, (r, by) in enumerate(rounds[-4:])
    ]
    chart = grouped_bars(levels, bars, title="Correct responses per trial, by level", group_name="level")
    trials = {v: sum(by.get(v, (0, 0))[1] for _, by in rounds) for v in levels}
    note = "Trials in all rounds: " + ", ".join(f"{number(n)} {level}" for level, n in trials.items()) + "."
    return figure("Sampling: correct per trial", chart, note)


def _length_figure(run: RunData) -> Html:
    found = [(p, (p.entry.get("sampling") or {}).get("mean_length_by_level") or {}) for p in run.rounds]
    found = [(p, by) for p, by in found if by]
    if not found:
        return Html("")
    levels = sorted_levels([level for _, by in found for level in by])
    bars = [
        Bars(label=p.name, colour=f"var(--r{i % 6})", y=[by.get(v) for v in levels])
        for i, (p, by) in enumerate(found[-4:])
    ]
    chart = grouped_bars(
        levels,
        bars,
        title="Mean length of sampled responses by level, in tokens",
        group_name="level",
        form=number,
    )
    return figure("Length of sampled responses (tokens)", chart)


def _ratio_figure(runs: Sequence[RunData]) -> Html:
    lines = []
    for i, run in enumerate(runs):
        points = [p for p in run.points if p.entry.get("length_ratio") is not None]
        if points:
            y = [float(p.entry["length_ratio"]) for p in points]
            lines.append(Line(label=run.label, colour=run_colour(i), x=[position(p) for p in points], y=y))
    if not lines:
        return Html("")
    chart = line_chart(
        lines,
        title="Length ratio by round",
        ticks=round_ticks(runs),
        x_name="round",
        form=lambda v: f"{v:.2f}",
    )
    note = "Mean response length with hard-level exemplars over that with brief ones; 1 is no length control."
    return figure("Length ratio by round", chart, note)


def _verdict_figure(run: RunData) -> Html:
    rows, columns = [], []
    for point in run.rounds:
        sampling = point.entry.get("sampling") or {}
        if sampling.get("trials"):
            rows.append(point.name)
            columns.append({kind: sampling.get(kind) or 0 for kind in _VERDICT_COLOURS})
    return _verdict_chart(rows, columns, "Verdicts on sampled responses")


def _evaluation_verdict_figure(run: RunData) -> Html:
    rows, columns = [], []
    for name in run.sets:
        points = run.evaluated(name)
        for point in (points[0], points[-1]) if len(points) > 1 else points:
            verdicts = point.evaluation[name].get("verdicts")
            if verdicts:
                rows.append(f"{_brief(name)}, {point.short}")
                columns.append(verdicts)
    return _verdict_chart(rows, columns, "Verdicts in evaluation, base and last")


def _verdict_chart(rows: list[str], columns: Sequence[Mapping[str, int]], title: str) -> Html:
    if not rows:
        return Html("")
    totals = [sum(c.values()) or 1 for c in columns]
    segments = [
        Segments(
            label=kind.value.replace("_", " "),
            colour=_VERDICT_COLOURS[kind.value],
            values=[c.get(kind.value, 0) / t for c, t in zip(columns, totals, strict=True)],
        )
        for kind in VerdictKind
    ]
    return figure(title, stacked_bars(rows, segments, title=title))


# --- training, cost -----------------------------------------------------------------------------------


def _loss_figure(run: RunData) -> Html:
    lines, start, ticks = [], 0, []
    for i, (round_, points) in enumerate(run.losses.items()):
        kept = points[:: max(1, len(points) * max(1, len(run.losses)) // _LOSS_POINTS)]
        lines.append(
            Line(
                label=f"round {round_}",
                colour=f"var(--r{i % 6})",
                x=[start + step for step, _ in kept],
                y=[loss for _, loss in kept],
                markers=False,
            )
        )
        ticks.append((float(start), str(start)))
        start += points[-1][0]
    if not lines:
        return Html("")
    ticks = [*thin(ticks), (float(start), str(start))]
    chart = line_chart(
        lines,
        title="Training loss by step",
        ticks=ticks,
        x_name="step, all rounds in a row",
        form=lambda v: f"{v:.2f}",
        from_zero=True,
    )
    losses = {r: points[-1][1] for r, points in run.losses.items()}
    numbers = [["round", "steps", "final loss"]]
    numbers += [[f"round {r}", str(run.losses[r][-1][0]), f"{loss:.4f}"] for r, loss in losses.items()]
    chart = Chart(svg=chart.svg, legend=chart.legend, table=numbers)
    return figure("Training loss (nats per token)", chart)


def _training_table(run: RunData) -> Html:
    head = [
        "round",
        "trials",
        "correct",
        "sampled tokens",
        "examples or pairs",
        "of them reference",
        "skipped",
        "trained tokens",
        "response tokens",
        "steps",
        "final loss",
    ]
    rows: list[list[object]] = [list(head)]
    for point in run.rounds:
        sampled, trained = point.entry.get("sampling") or {}, point.entry.get("training") or {}
        loss = trained.get("final_loss")
        rows.append(
            [
                point.name,
                *(_count(sampled.get(k)) for k in ("trials", "correct", "tokens")),
                _count(trained.get("examples")),
                _count(trained.get("reference_examples", trained.get("reference_pairs"))),
                *(_count(trained.get(k)) for k in ("skipped", "tokens", "response_tokens", "steps")),
                f"{loss:.4f}" if isinstance(loss, float) else "–",
            ]
        )
    return card(table(rows)) if len(rows) > 1 else Html("")


def _work_table(run: RunData) -> Html:
    """FLOPs of each round by stage, and what self-training had taken by its end."""
    stages = ("sample", "train", "evaluate")
    rows: list[list[object]] = [["round", *stages, "so far, useful", "so far, padded"]]
    rounds = with_cumulative([point.entry for point in run.rounds if point.entry.get("flops")])
    for entry in rounds:
        cells = []
        for stage in stages:
            spent = entry["flops"].get(stage) or {}
            useful, padded = (number(spent.get(kind) or 0) for kind in ("useful", "padded"))
            cells.append(Html(f"{useful} <small>padded {padded}</small>"))
        total = entry["cumulative"]["flops"]
        rows.append([f"round {entry['round']}", *cells, number(total["useful"]), number(total["padded"])])
    caption = "FLOPs. So far: sampling and training from round 0 on, without evaluation."
    return card(table(rows, caption=caption)) if rounds else Html("")


def _seconds_figure(run: RunData) -> Html:
    points = [p for p in run.points if any((p.entry.get("seconds") or {}).values())]
    if not points:
        return Html("")
    segments = [
        Segments(label=stage, colour=colour, values=[p.entry["seconds"].get(stage) for p in points])
        for stage, colour in _STAGES.items()
    ]
    chart = stacked_bars(
        [p.name for p in points],
        segments,
        title="Seconds per stage",
        totals=True,
        form=lambda v: f"{v:.0f}\u202fs" if v >= 10 else f"{v:.1f}\u202fs",
    )
    return figure("Seconds by stage", chart)


def _flops_figure(run: RunData) -> Html:
    points = [p for p in run.points if p.entry.get("flops")]
    stages = [s for s in _STAGES if any(s in p.entry["flops"] for p in points)]
    useful = [sum(_flops(p, s, "useful") for p in points) for s in stages]
    padded = [sum(_flops(p, s, "padded") for p in points) for s in stages]
    if not any(useful):
        return Html("")
    segments = [
        Segments(label="useful", colour="var(--r0)", values=useful),
        Segments(
            label="padding",
            colour="var(--base)",
            values=[max(p - u, 0.0) for u, p in zip(useful, padded, strict=True)],
        ),
    ]
    chart = stacked_bars(
        stages, segments, title="FLOPs per stage, useful and padding", totals=True, form=number
    )
    share = sum(useful) / (sum(padded) or sum(useful))
    note = f"{percent(share)} of the work was on tokens that count."
    return figure("FLOPs by stage, all rounds", chart, note)


# --- small things -------------------------------------------------------------------------------------


def _level_segments(columns: Sequence[Mapping[str, float]]) -> list[Segments]:
    levels = sorted_levels([level for c in columns for level in c])
    return [
        Segments(
            label=level,
            colour=_LEVEL_COLOURS[min(i, 3)][0],
            ink=_LEVEL_COLOURS[min(i, 3)][1],
            values=[c.get(level, 0.0) for c in columns],
        )
        for i, level in enumerate(levels)
    ]


def _flops(point: Point, stage: str, kind: str) -> float:
    return float((point.entry["flops"].get(stage) or {}).get(kind) or 0.0)


def _count(value: Any) -> str:
    if isinstance(value, list | tuple):
        return number(len(value))
    return "–" if value is None else f"{value:,}".replace(",", "\u202f") if value < 1e7 else number(value)


def _brief(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"
