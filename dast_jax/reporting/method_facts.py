"""What the method told of its rounds: coverage and targets by group of queries, and its own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.reporting.layout import per_run
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.page import card, cards, section, table
from dast_jax.reporting.svg import number, percent

__all__ = ["method_facts"]

_SHARES = ("covered", "reached")


def method_facts(runs: Sequence[RunData]) -> Html:
    """Tables of `rounds[i].method`; empty for methods that tell nothing."""
    return section(
        "What the method tells",
        *[per_run(runs, run, cards([_coverage(run), _numbers(run)], wide=True)) for run in runs],
        note="Covered: queries with a response of their own to train on. Reached: queries with as many as "
        "their target. Kept and target are means per query.",
        anchor="method",
    )


def _coverage(run: RunData) -> Html:
    """A row per round and group: all queries, the estimated levels, the data's own labels."""
    found = [(p, p.entry["method"]["coverage"]) for p in run.rounds if "coverage" in _told(p)]
    if not found:
        return Html("")
    columns = ["queries", "covered", "kept"]
    if any("target" in coverage["all"] for _, coverage in found):
        columns += ["target", "reached"]
    rows: list[list[object]] = [["round and queries", *columns]]
    for point, coverage in found:
        groups = {
            "all": coverage["all"],
            **coverage.get("by_level", {}),
            **{f"label {name}": group for name, group in coverage.get("by_label", {}).items()},
        }
        for name, group in groups.items():
            rows.append([f"{point.name}, {name}", *(_cell(c, group.get(c)) for c in columns)])
    return card(table(rows, caption="Coverage"))


def _numbers(run: RunData) -> Html:
    """A row per round with the numbers that are not coverage."""
    found = [(p, _flat(_told(p))) for p in run.rounds]
    columns = list(dict.fromkeys(name for _, facts in found for name in facts))
    if not columns:
        return Html("")
    rows: list[list[object]] = [["round", *(name.replace("_", " ") for name in columns)]]
    rows += [[p.name, *(_cell(name, facts.get(name)) for name in columns)] for p, facts in found if facts]
    return card(table(rows, caption="Its own numbers"))


def _told(point: Point) -> Mapping[str, Any]:
    return point.entry.get("method") or {}


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts but for coverage; those of a mapping under "its name, key"."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "coverage":
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name}, {key}": v for key, v in value.items()}
        else:
            flat[name] = value
    return flat


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return percent(value) if name in _SHARES else number(value)
