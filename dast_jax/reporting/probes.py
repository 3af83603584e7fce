"""The same training queries under every policy: pass rates by prompt, pass@k, entropy, distinct responses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dast_jax.metrics.stats import Score
from dast_jax.reporting.headline import accuracy_cell
from dast_jax.reporting.layout import per_run, position, round_ticks
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.page import card, cards, details, figure, section, table
from dast_jax.reporting.svg import Line, line_chart
from dast_jax.store.analysis_results import ProbeEntry

__all__ = ["probes"]


def probes(runs: Sequence[RunData]) -> Html:
    """Return the figures of the probe and of pass@k in evaluation; empty without either."""
    parts = []
    for run in runs:
        figures = [_rates(run), *_pass_at(run), _diversity(run, "entropy"), _diversity(run, "distinct")]
        parts.append(per_run(runs, run, cards(figures), _table(run)))
    return section(
        "The same queries under every policy",
        *parts,
        note="What a round samples is the method's choice, so its numbers do not compare across rounds. The "
        "probe's do: the same training queries, trials and exemplars for every policy (evaluation.probe). "
        "Curves of pass@k that meet at large k: the policy is surer of what the base model could do already; "
        "a gain that stays there is something new.",
        anchor="probe",
    )


def _probed(run: RunData, few: bool) -> list[tuple[Point, ProbeEntry]]:
    found = [(p, p.probe.few_shot if few else p.probe.zero_shot) for p in run.points if p.probe]
    return [(point, entry) for point, entry in found if entry is not None]


_PROMPTS = ((False, "zero-shot", "var(--r0)"), (True, "few-shot", "var(--r1)"))


def _rates(run: RunData) -> Html:
    lines = []
    for few, label, color in _PROMPTS:
        if found := _probed(run, few):
            lines.append(
                Line(
                    label=label,
                    color=color,
                    x=[position(p) for p, _ in found],
                    y=[e.accuracy for _, e in found],
                    low=[e.interval[0] for _, e in found],
                    high=[e.interval[1] for _, e in found],
                )
            )
    if not lines:
        return Html("")
    chart = line_chart(
        lines, title="Pass rate zero-shot and few-shot by round", ticks=round_ticks([run]), x_name="round"
    )
    first = run.points[0].probe or next(p.probe for p in run.points if p.probe)
    note = (
        f"{first.zero_shot.n} training queries, {first.trials} trials each. Training is zero-shot: where the "
        "few-shot rate falls behind, sampling behind exemplars asks what the policy has unlearned."
    )
    return figure("Pass rate zero-shot and few-shot", chart, note)


def _pass_at(run: RunData) -> list[Html]:
    """Return pass@k of M_0 and of the last policies: on each set with several trials, and on the probe."""
    figures = []
    for name in run.sets:
        found = [(p, p.evaluation[name].pass_at) for p in run.evaluated(name)]
        figures.append(_pass_figure(f"{name}: pass@k", [(p, by) for p, by in found if by]))
    few = [(p, e.pass_at) for p, e in _probed(run, True)] or [(p, e.pass_at) for p, e in _probed(run, False)]
    title = "Training queries of the probe: pass@k" + (", few-shot" if _probed(run, True) else ", zero-shot")
    return [*figures, _pass_figure(title, few)]


def _pass_figure(title: str, found: Sequence[tuple[Point, dict[str, Score]]]) -> Html:
    shown = [*found[:1], *found[1:][-3:]]
    ks = sorted({int(k) for _, by in shown for k in by})
    if len(ks) < 2:
        return Html("")
    lines = [
        Line(
            label=point.name,
            color="var(--base)" if point.round is None else f"var(--r{i % 6})",
            x=[math.log2(k) for k in ks],
            y=[by[str(k)].accuracy if str(k) in by else None for k in ks],
        )
        for i, (point, by) in enumerate(shown)
    ]
    chart = line_chart(lines, title=title, ticks=[(math.log2(k), str(k)) for k in ks], x_name="k")
    return figure(title, chart)


def _diversity(run: RunData, kind: str) -> Html:
    lines = []
    for few, label, color in _PROMPTS:
        found = _probed(run, few)
        values = [e.mean_entropy if kind == "entropy" else e.distinct_correct for _, e in found]
        if any(value is not None for value in values):
            lines.append(Line(label=label, color=color, x=[position(p) for p, _ in found], y=values))
    if not lines:
        return Html("")
    titles = {
        "entropy": "Mean token entropy (nats)",
        "distinct": "Different correct responses to a query, at equal trials",
    }
    chart = line_chart(
        lines,
        title=titles[kind],
        ticks=round_ticks([run]),
        x_name="round",
        form=lambda v: f"{v:.2f}",
        from_zero=True,
    )
    return figure(titles[kind], chart)


def _table(run: RunData) -> Html:
    rows: list[list[object]] = [
        ["policy", "zero-shot", "few-shot", "solved, M_0 never did", "lost, M_0 did", "length ratio"]
    ]
    for point in run.points:
        if point.probe:
            moved = ["–" if v is None else v for v in (point.probe.solved, point.probe.lost)]
            ratio = "–" if point.length_ratio is None else f"{point.length_ratio:.2f}"
            cells = (accuracy_cell(point.probe.zero_shot), accuracy_cell(point.probe.few_shot))
            rows.append([point.name, *cells, *moved, ratio])
    return card(details("The probe, policy by policy", table(rows))) if len(rows) > 1 else Html("")
