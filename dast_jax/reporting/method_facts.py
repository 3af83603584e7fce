"""What the method reports of its rounds: coverage and targets by group of queries, and its own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dast_jax.records import Json
from dast_jax.reporting.layout import per_run
from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.numbers import number, percent
from dast_jax.reporting.page import card, cards, section, table
from dast_jax.store.results import RoundResult

__all__ = ["method_facts"]

_SHARES = ("covered", "reached")


def method_facts(runs: Sequence[RunData]) -> Html:
    """Tables of `rounds[i].method`; empty for methods that report nothing."""
    return section(
        "What the method reports",
        *[per_run(runs, run, cards([_coverage(run), _numbers(run)], wide=True)) for run in runs],
        note="Covered: queries with a response to train on. Reached: queries with as many responses as "
        "their target. Kept and target are means per query.",
        anchor="method",
    )


def _coverage(run: RunData) -> Html:
    """Return a row per round and group: all queries, the estimated levels, the data's own labels."""
    found = [(entry, groups) for entry in run.rounds if (groups := _groups(entry))]
    if not found:
        return Html("")
    columns = ["queries", "covered", "kept"]
    if any("target" in groups["all"] for _, groups in found):
        columns += ["target", "reached"]
    rows: list[list[object]] = [["round and queries", *columns]]
    for entry, groups in found:
        for name, group in groups.items():
            cells = (_cell(column, group.get(column)) for column in columns)
            rows.append([f"round {entry.round}, {name}", *cells])
    return card(table(rows, caption="Coverage"))


def _groups(entry: RoundResult) -> dict[str, Mapping[str, Json]]:
    """Return the coverage by group of queries; empty for methods that report none."""
    coverage = _object(entry.method.get("coverage"))
    groups = {f"label {name}": group for name, group in _object(coverage.get("by_label")).items()}
    found = {"all": coverage.get("all"), **_object(coverage.get("by_level")), **groups}
    return {name: _object(group) for name, group in found.items()} if coverage else {}


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _numbers(run: RunData) -> Html:
    """Return a row per round with the numbers that are not coverage."""
    found = [(entry, _flat(entry.method)) for entry in run.rounds]
    columns = list(dict.fromkeys(name for _, facts in found for name in facts))
    if not columns:
        return Html("")
    rows: list[list[object]] = [["round", *(name.replace("_", " ") for name in columns)]]
    for entry, facts in found:
        if facts:
            rows.append([f"round {entry.round}", *(_cell(name, facts.get(name)) for name in columns)])
    return card(table(rows, caption="Other facts"))


def _flat(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Return the facts but for coverage; those of a mapping under "its name, key"."""
    flat: dict[str, Json] = {}
    for name, value in facts.items():
        if name == "coverage":
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name}, {key}": v for key, v in value.items()}
        else:
            flat[name] = value
    return flat


def _cell(name: str, value: Json) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return percent(value) if name in _SHARES else number(value)
