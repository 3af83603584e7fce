"""Where the rows that the rounds trained on come from, and how often each query was among them."""

from __future__ import annotations

from collections import Counter

from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.page import figure
from dast_jax.reporting.svg import Segments, stacked_bars
from dast_jax.store.analysis_results import OriginCount

__all__ = ["frequency_figure", "origin_figure"]

_COLORS = tuple(f"var(--r{i})" for i in range(6))


def origin_figure(run: RunData) -> Html:
    """Rows of each round by the policy that sampled them and its prompt."""
    rows: list[tuple[str, Counter[str]]] = []
    for entry in run.rounds:
        for part in ("example", "chosen", "rejected"):
            found = [o for o in (entry.analysis.origin if entry.analysis else ()) if o.part == part]
            if found:
                name = f"round {entry.round}" + (f", {part}" if part != "example" else "")
                counts: Counter[str] = Counter()
                for origin in found:
                    counts[_label(origin, entry.round)] += origin.rows
                rows.append((name, counts))
    labels = sorted({label for _, counts in rows for label in counts}, key=_order)
    if not labels:
        return Html("")
    fixed = {"reference": "var(--base)", "not said": "var(--line)"}
    own = [label for label in labels if label not in fixed]
    segments = [
        Segments(
            label=label,
            color=fixed.get(label) or _COLORS[own.index(label) % len(_COLORS)],
            values=[counts[label] for _, counts in rows],
        )
        for label in labels
    ]
    chart = stacked_bars(
        [name for name, _ in rows],
        segments,
        title="Training rows by policy and prompt",
        form=lambda v: f"{v:.0f}",
        totals=True,
    )
    note = "The policy that sampled a row, and how it was prompted; train.parquet has both for every row."
    return figure("Origin of the training rows", chart, note)


def _label(origin: OriginCount, round: int) -> str:
    """Return the origin in words that are the same in every round: M_0, the round's own policy, others."""
    if origin.prompt is None:
        return "not said"
    if origin.policy is None:
        return "reference"
    prompt = "same exemplars for all" if origin.prompt == "fixed" else origin.prompt.replace("_", "-")
    own = origin.policy == f"M_{round}" and round
    return f"{'M_t' if own else 'M_0' if origin.policy == 'M_0' else 'an earlier M'}, {prompt}"


def _order(label: str) -> tuple[int, str]:
    return ("reference", "M_0", "an e", "M_t", "not said").index(
        label if label in ("reference", "not said") else "an e" if label.startswith("an") else label[:3]
    ), label


def frequency_figure(run: RunData) -> Html:
    """How many rows of each query the rounds so far trained on."""
    found = [(entry.round, entry.analysis.frequency) for entry in run.rounds if entry.analysis]
    buckets = max((list(by) for _, by in found), key=len, default=[])
    if not buckets or not any(sum(by.values()) for _, by in found):
        return Html("")
    shades = ("--line", "--l0", "--l1", "--l2", "--l3", "--r3", "--r1", "--r4")
    segments = [
        Segments(
            label=f"{bucket} row{'' if bucket == '1' else 's'}",
            color=f"var({shades[min(i, len(shades) - 1)]})",
            ink="var(--ink)" if i < 3 else "var(--card)",
            values=[by.get(bucket, 0) / max(sum(by.values()), 1) for _, by in found],
        )
        for i, bucket in enumerate(buckets)
        if any(by.get(bucket) for _, by in found)
    ]
    chart = stacked_bars(
        [f"round {number}" for number, _ in found], segments, title="Queries by their training rows so far"
    )
    return figure("How often a query was trained on", chart, "Rows so far, repeats included; epochs are not.")
