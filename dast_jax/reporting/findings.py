"""What a study found, in sentences: which entry is best, which are tied with it, and what beats the base."""

from __future__ import annotations

from dast_jax.estimators.levels import DEFAULT_CUTS
from dast_jax.reporting.numbers import percent
from dast_jax.store.comparison_results import Comparison

__all__ = ["TIED", "cut_points", "findings"]

TIED = (
    "Tied, significant: by the 95 % interval of the paired difference, which includes zero or does not; no "
    "correction for several comparisons."
)


def findings(comparison: Comparison) -> list[str]:
    """Return sentences: of each set the best entry, its ties, and what beats the base; identical entries."""
    of_sets = [
        sentence
        for name in comparison.best
        for sentence in (_best(comparison, name), _over_base(comparison, name))
        if sentence
    ]
    return of_sets + [
        f"{' and '.join(labels)} have identical results on every question and seed: check that their "
        "settings differ."
        for labels in comparison.identical
    ]


def cut_points(comparison: Comparison) -> str:
    """Return a sentence on the cut points of the levels by entry; empty where all have the same."""
    entries: dict[str, list[str]] = {}
    for label, entry in comparison.entries.items():
        if entry.last and entry.last.level_shares and entry.method.get("estimator", "sampled") == "sampled":
            easy, hard = (entry.method.get(f"{k}_cut", getattr(DEFAULT_CUTS, k)) for k in ("easy", "hard"))
            entries.setdefault(f"easy from {easy}, hard below {hard}", []).append(label)
    if len(entries) < 2:
        return ""
    parts = [f"{cuts} ({', '.join(labels)})" for cuts, labels in entries.items()]
    return f"Levels are cut at different pass rates: {'; '.join(parts)}."


def _best(comparison: Comparison, name: str) -> str:
    best, *ties = comparison.best[name]
    last = comparison.entries[best].last
    accuracy = last.accuracy(name) if last else None
    shown = f" ({percent(accuracy)})" if accuracy is not None else ""
    if len(comparison.entries) == 1:
        return ""
    if not ties:
        return f"{name}: best is {best}{shown}, and its lead over every other entry is significant."
    if len(ties) == len(comparison.entries) - 1:
        return f"{name}: no entry is best: all {len(ties) + 1} are tied, {best}{shown} being the highest."
    return f"{name}: highest is {best}{shown}, tied with {', '.join(ties)}."


def _over_base(comparison: Comparison, name: str) -> str:
    found = {label: by_set[name] for label, by_set in comparison.over_base.items() if name in by_set}
    above = [label for label, difference in found.items() if difference.interval[0] > 0]
    below = [label for label, difference in found.items() if difference.interval[1] < 0]
    worse = f"; significantly below it: {', '.join(below)}" if below else ""
    if not found:
        return ""
    if not above:
        return f"{name}: nothing beats the base{_base(comparison, name)}{worse}."
    if len(above) == len(found):
        return f"{name}: every entry beats the base{_base(comparison, name)}."
    return (
        f"{name}: {len(above)} of {len(found)} entries beat the base{_base(comparison, name)}: "
        f"{', '.join(above)}{worse}."
    )


def _base(comparison: Comparison, name: str) -> str:
    accuracy = comparison.base[name].accuracy
    return f" ({percent(accuracy)})" if accuracy is not None else ""
