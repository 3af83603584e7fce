"""The report's sample responses: the same questions before and after, changes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import card, cards, section

__all__ = ["samples"]

_SHOWN_EACH = {"gained": 6, "lost": 2, "right": 2, "wrong": 2}
"""Of twelve shown: how many went from wrong to right, from right to wrong, and stayed right or wrong."""


def samples(runs: Sequence[RunData], *, limit: int, characters: int) -> Html:
    """Up to `limit` questions of each run with the responses before and after training."""
    parts = []
    for run in runs:
        shown = [_sample(row, characters) for row in _choose(_pairs(run), limit)]
        if shown:
            parts.append(
                Html((f"<h3>{text(run.label)}</h3>" if len(runs) > 1 else "") + cards(shown, wide=True))
            )
    return section(
        "Sample responses",
        *parts,
        note="From the questions whose responses the run keeps. Ones that training changed are shown first, "
        "so they are not a fair sample; the tables above are.",
        anchor="samples",
    )


def _pairs(run: RunData) -> list[dict[str, Any]]:
    """Rows of the last evaluated point that keeps samples, each with the base's row for the same question."""
    points = [p for p in run.points if run.evals.get(p.directory, {}).get("samples")]
    if not points:
        return []
    last, first = points[-1], points[0]
    before = {(r.get("set"), str(r.get("id"))): r for r in run.evals[first.directory]["samples"]}
    return [
        {
            "after": row,
            "after_name": last.name,
            "before": before.get((row.get("set"), str(row.get("id")))) if first != last else None,
            "before_name": first.name,
        }
        for row in run.evals[last.directory]["samples"]
    ]


def _kind(pair: Mapping[str, Any]) -> str:
    after = pair["after"].get("verdict") == "correct"
    before = (pair["before"] or pair["after"]).get("verdict") == "correct"
    return ("right" if before else "gained") if after else ("lost" if before else "wrong")


def _choose(pairs: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """A mix led by changes; where one kind runs short the others fill up."""
    groups: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _SHOWN_EACH}
    for pair in pairs:
        groups[_kind(pair)].append(pair)
    whole = sum(_SHOWN_EACH.values())
    quota = {kind: -(-n * limit // whole) for kind, n in _SHOWN_EACH.items()}
    chosen = [pair for kind, group in groups.items() for pair in _spread(group)[: quota[kind]]]
    rest = [pair for kind, group in groups.items() for pair in _spread(group)[quota[kind] :]]
    picked = (chosen + rest)[:limit] if len(chosen) < limit else chosen[:limit]
    return sorted(picked, key=lambda pair: list(_SHOWN_EACH).index(_kind(pair)))


def _spread(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In turn from every set and level, so that the first few are not all of one kind."""
    seen: dict[tuple[str, str], int] = {}
    keyed = []
    for i, pair in enumerate(group):
        key = (str(pair["after"].get("set")), str(pair["after"].get("level")))
        seen[key] = seen.get(key, 0) + 1
        keyed.append((seen[key], i, pair))
    return [pair for _, _, pair in sorted(keyed, key=lambda item: item[:2])]


def _sample(pair: Mapping[str, Any], characters: int) -> Html:
    row = pair["after"]
    level = f" · level {row['level']}" if row.get("level") is not None else ""
    changes = {"gained": "wrong → right", "lost": "right → wrong", "right": "right", "wrong": "wrong"}
    state = changes[_kind(pair)] if pair["before"] else changes[_kind(pair)].split(" → ")[-1]
    place = f"{row.get('set')}{level} · {row.get('id')} · {state}"
    sides = [(pair["before_name"], pair["before"]), (pair["after_name"], row)]
    columns = "".join(_response(name, side, characters) for name, side in sides if side)
    return card(
        Html(f'<div class="meta">{text(place)}</div>'),
        Html(f'<div class="q">{text(_cut(row.get("question"), characters))}</div>'),
        Html(f'<div class="meta">reference answer: {text(_cut(row.get("reference"), characters))}</div>'),
        Html(f'<div class="pair">{columns}</div>'),
        kind="sample",
    )


def _response(name: str, row: Mapping[str, Any], characters: int) -> str:
    verdict = str(row.get("verdict") or "")
    known = verdict if verdict in ("correct", "incorrect", "no_answer", "timed_out") else ""
    answer = row.get("extracted")
    extracted = f" answer: {_cut(answer, 80)}" if answer is not None else ""
    return (
        f'<div><span class="meta">{text(name)} </span><span class="verdict {known}">'
        f'{text(verdict.replace("_", " "))}</span><span class="meta">{text(extracted)}</span>'
        f"<pre>{text(_cut(row.get('text'), characters) or '(empty)')}</pre></div>"
    )


def _cut(value: Any, characters: int) -> str:
    shown = str(value if value is not None else "")
    if len(shown) <= characters:
        return shown
    return f"{shown[:characters]}… ({len(shown) - characters} characters more)"
