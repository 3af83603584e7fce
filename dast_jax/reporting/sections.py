"""The body of the report below accuracy, one function a section. A section without data is empty."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dast_jax.metrics.flops import Flops
from dast_jax.metrics.stats import sorted_levels
from dast_jax.records import LEVELS, VerdictKind
from dast_jax.reporting.cost import marginal_card
from dast_jax.reporting.layout import per_run, position, round_ticks, run_color, thin
from dast_jax.reporting.load import RunData, speeds_of, use_cells
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.numbers import number, out_of, percent
from dast_jax.reporting.page import (
    card,
    cards,
    details,
    figure,
    paragraph,
    section,
    table,
)
from dast_jax.reporting.svg import (
    Bars,
    Line,
    Segments,
    grouped_bars,
    line_chart,
    stacked_bars,
)
from dast_jax.reporting.training_rows import frequency_figure, origin_figure
from dast_jax.store.evaluation_results import VerdictCounts
from dast_jax.store.results import RoundResult

__all__ = ["configuration", "responses", "training", "training_data"]

_LEVEL_COLORS = [(f"var(--l{i})", f"var(--k{i})") for i in range(len(LEVELS))]
_VERDICT_COLORS = {
    "correct": "var(--ok)",
    "incorrect": "var(--bad)",
    "no_answer": "var(--none)",
    "timed_out": "var(--late)",
}
_STAGES = {"sample": "var(--r0)", "build": "var(--r4)", "train": "var(--r1)", "evaluate": "var(--r2)"}
_LOSS_POINTS = 300


def training_data(runs: Sequence[RunData]) -> Html:
    """Level shares before and after augmentation, what was short, where rows come from, and how often."""
    return section(
        "Training data",
        *[
            per_run(
                runs,
                run,
                cards(
                    [_shares_figure(run), _efficiency_figure(run), origin_figure(run), frequency_figure(run)]
                ),
            )
            for run in runs
        ],
        note="Levels are the method's own estimate from the model's trials. Before: the original data. "
        "After: the original data with the self-generated, verified responses."
        if any(entry.level_shares for run in runs for entry in run.rounds)
        else "",
        anchor="data",
    )


def responses(runs: Sequence[RunData]) -> Html:
    """Lengths, verdicts, and how well length control works."""
    shared = [_ratio_figure(runs)] if len(runs) > 1 else []
    parts = []
    for run in runs:
        figures = [_length_figure(run), _verdict_figure(run), _evaluation_verdict_figure(run)]
        figures += [] if shared else [_ratio_figure(runs)]
        parts.append(per_run(runs, run, cards(figures), _endings_table(run)))
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
                marginal_card(run),
                _speed_table(run),
            )
            for run in runs
        ],
        note="FLOPs by formula: 6 × parameters per trained token and 2 × parameters per sampled one.",
        anchor="training",
    )


def configuration(runs: Sequence[RunData]) -> Html:
    """Return the configs and versions, folded away."""
    parts = []
    for run in runs:
        lines = [f"{name} {version}" for name, version in run.summary.versions.items()]
        lines += [f"mesh {axis}={size}" for axis, size in run.summary.mesh.items()]
        body = paragraph(", ".join(lines), "note") if lines else Html("")
        if run.config:
            body = Html(body + f"<pre>{text(run.config)}</pre>")
        if body:
            parts.append(card(details(f"Config and versions of {run.label}", body)))
    return section("Configuration", cards(parts, wide=True), anchor="config")


# --- data, responses ----------------------------------------------------------------------------------


def _shares_figure(run: RunData) -> Html:
    names, columns = [], []
    for entry in run.rounds:
        if entry.level_shares:
            names += [f"round {entry.round} before", f"round {entry.round} after"]
            columns += [entry.level_shares.before, entry.level_shares.after]
    if not columns:
        return Html("")
    chart = stacked_bars(
        names,
        _level_segments(columns),
        title="Level shares of the training data",
        form=lambda v: f"{100 * v:.0f}\u202f%",
    )
    short = [
        f"round {entry.round}: " + ", ".join(f"{n} {level}" for level, n in entry.shortfall.items() if n)
        for entry in run.rounds
        if any(entry.shortfall.values())
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
            color=shades[i % len(shades)],
            y=[by[v][0] / by[v][1] if v in by else None for v in levels],
        )
        for i, (r, by) in enumerate(rounds[-4:])
    ]
    chart = grouped_bars(levels, bars, title="Correct responses per trial, by level", group_name="level")
    trials = {v: sum(by.get(v, (0, 0))[1] for _, by in rounds) for v in levels}
    note = "Trials of all rounds: " + ", ".join(f"{number(n)} {level}" for level, n in trials.items()) + "."
    return figure("Sampling: correct per trial", chart, note)


def _length_figure(run: RunData) -> Html:
    found = [(entry, by) for entry in run.rounds if (by := entry.sampling.mean_length_by_level)]
    if not found:
        return Html("")
    levels = sorted_levels([level for _, by in found for level in by])
    bars = [
        Bars(label=f"round {entry.round}", color=f"var(--r{i % 6})", y=[by.get(v) for v in levels])
        for i, (entry, by) in enumerate(found[-4:])
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
        found = [(position(p), p.length_ratio) for p in run.points if p.length_ratio is not None]
        if found:
            x, y = [x for x, _ in found], [ratio for _, ratio in found]
            lines.append(Line(label=run.label, color=run_color(i), x=x, y=y))
    if not lines:
        return Html("")
    chart = line_chart(
        lines,
        title="Length ratio by round",
        ticks=round_ticks(runs),
        x_name="round",
        form=lambda v: f"{v:.2f}",
    )
    note = (
        "Mean response length with hard-level exemplars over that with short ones; 1 means no length control."
    )
    return figure("Length ratio by round", chart, note)


def _verdict_figure(run: RunData) -> Html:
    sampled = [entry for entry in run.rounds if entry.sampling.trials]
    rows = [f"round {entry.round}" for entry in sampled]
    return _verdict_chart(rows, [entry.sampling for entry in sampled], "Verdicts on sampled responses")


def _evaluation_verdict_figure(run: RunData) -> Html:
    rows, columns = [], []
    for name in run.sets:
        points = run.evaluated(name)
        for point in (points[0], points[-1]) if len(points) > 1 else points:
            rows.append(f"{_shortened(name)}, {point.short}")
            columns.append(point.evaluation[name].verdicts)
    return _verdict_chart(rows, columns, "Verdicts in evaluation, base and last")


def _endings_table(run: RunData) -> Html:
    """Return how many responses of each evaluation were truncated or ran away."""
    rows: list[list[object]] = [["set, policy", "responses", "truncated", "run-away"]]
    for name in run.sets:
        for point in run.evaluated(name):
            entry = point.evaluation[name]
            total = entry.n * entry.trials
            shares = (f"{count} ({count / max(total, 1):.0%})" for count in (entry.truncated, entry.runaway))
            rows.append([f"{name}, {point.name}", total, *shares])
    caption = (
        "Truncated: reached the limit of new tokens. Run-away: continues with another problem, or repeats "
        "itself to the limit."
    )
    return card(table(rows, caption=caption)) if len(rows) > 1 else Html("")


def _verdict_chart(rows: list[str], columns: Sequence[VerdictCounts], title: str) -> Html:
    if not rows:
        return Html("")
    counts = [{kind: getattr(column, kind.value) for kind in VerdictKind} for column in columns]
    totals = [max(1, sum(by_kind.values())) for by_kind in counts]
    segments = [
        Segments(
            label=kind.value.replace("_", " "),
            color=_VERDICT_COLORS[kind.value],
            values=[by_kind[kind] / total for by_kind, total in zip(counts, totals, strict=True)],
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
                color=f"var(--r{i % 6})",
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
    chart = dataclasses.replace(chart, table=numbers)
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
    rows: list[list[object]] = [list(head), *(_training_row(entry) for entry in run.rounds)]
    return card(table(rows)) if len(rows) > 1 else Html("")


def _training_row(entry: RoundResult) -> list[object]:
    sampled, trained = entry.sampling, entry.training
    shown: list[object] = [f"round {entry.round}"]
    shown += map(_count, (sampled.trials, sampled.correct, sampled.tokens))
    if trained is None:
        return shown + ["–"] * 7
    left_out = _count(trained.skipped)
    if trained.unseen:
        left_out += f", {_count(trained.unseen)} not reached"
    return [
        *shown,
        _count(trained.examples),
        _count(trained.reference_examples),
        left_out,
        _count(trained.tokens),
        _count(trained.response_tokens),
        out_of(trained.steps, trained.planned_steps, _count),
        "–" if trained.final_loss is None else f"{trained.final_loss:.4f}",
    ]


def _work_table(run: RunData) -> Html:
    """FLOPs of each round by stage, and the cumulative ones of self-training."""
    rows: list[list[object]] = [["round", "sample", "train", "evaluate", "so far, useful", "so far, padded"]]
    for entry in run.rounds:
        total = entry.cumulative.flops
        stages = map(_flops_cell, (entry.flops.sample, entry.flops.train, entry.flops.evaluate))
        rows.append([f"round {entry.round}", *stages, number(total.useful), number(total.padded)])
    caption = "FLOPs. So far: sampling and training from round 0 on, without evaluation."
    return card(table(rows, caption=caption)) if run.rounds else Html("")


def _speed_table(run: RunData) -> Html:
    """Tokens per second of each round's sampling and training, and where the time went."""
    head = ["round", "stage", "tokens/s", "padding", "idle slots", "host wait", "MFU", "bandwidth"]
    head += ["compile", "memory"]
    rows: list[list[object]] = [list(head)]
    for entry in run.rounds:
        for stage, speed in speeds_of(entry):
            shares = speed.padding, speed.idle_slots, speed.host_wait, speed.mfu, speed.bandwidth_share
            rate = speed.tokens_per_second
            cells = ["–" if share is None else percent(share) for share in shares]
            cells = [stage, "–" if rate is None else number(rate), *cells, *use_cells(speed)]
            rows.append([f"round {entry.round}", *cells])
    caption = (
        "Speed, compilation included. Padding: of prompt and training positions. Idle slots: of decode "
        "steps × slots. Host wait: of the time. MFU and bandwidth: of the devices' published peaks, if "
        "known. Compile: seconds. Memory: the most in use on a device so far, where devices say."
    )
    return card(table(rows, caption=caption)) if len(rows) > 1 else Html("")


def _flops_cell(spent: Flops | None) -> Html:
    if spent is None:
        return Html("–")
    return Html(f"{number(spent.useful)} <small>padded {number(spent.padded)}</small>")


def _seconds_figure(run: RunData) -> Html:
    points = [p for p in run.points if any(getattr(p.seconds, stage) for stage in _STAGES)]
    if not points:
        return Html("")
    segments = [
        Segments(label=stage, color=color, values=[getattr(p.seconds, stage) for p in points])
        for stage, color in _STAGES.items()
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
    spent: dict[str, list[Flops]] = {}
    for stage in ("sample", "train", "evaluate"):
        found = [flops for p in run.points if (flops := getattr(p.flops, stage)) is not None]
        if found:
            spent[stage] = found
    stages = list(spent)
    useful = [sum(flops.useful for flops in spent[stage]) for stage in stages]
    padded = [sum(flops.padded for flops in spent[stage]) for stage in stages]
    if not any(useful):
        return Html("")
    segments = [
        Segments(label="useful", color="var(--r0)", values=useful),
        Segments(
            label="padding",
            color="var(--base)",
            values=[max(p - u, 0.0) for u, p in zip(useful, padded, strict=True)],
        ),
    ]
    chart = stacked_bars(
        stages, segments, title="FLOPs per stage, useful and padding", totals=True, form=number
    )
    share = sum(useful) / max(sum(padded), sum(useful))
    note = f"{percent(share)} of the work was on tokens other than padding."
    return figure("FLOPs by stage, all rounds", chart, note)


# --- small things -------------------------------------------------------------------------------------


def _level_segments(columns: Sequence[Mapping[str, float]]) -> list[Segments]:
    levels = sorted_levels([level for c in columns for level in c])
    return [
        Segments(
            label=level,
            color=_LEVEL_COLORS[min(i, 3)][0],
            ink=_LEVEL_COLORS[min(i, 3)][1],
            values=[c.get(level, 0.0) for c in columns],
        )
        for i, level in enumerate(levels)
    ]


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f") if value < 1e7 else number(value)


def _shortened(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"
