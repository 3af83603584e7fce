"""The report's sample responses: the same questions before and after, changes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import (
    ShownResponse,
    cards,
    sample,
    section,
)
from dast_jax.store.evaluation_results import SampleRow

__all__ = ["samples"]

_SHOWN_EACH = {"gained": 6, "lost": 2, "correct": 2, "incorrect": 2}
"""Of twelve shown: how many became correct, became incorrect, and stayed correct or incorrect."""

_CHANGES = {
    "gained": "incorrect → correct",
    "lost": "correct → incorrect",
    "correct": "correct",
    "incorrect": "incorrect",
}


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A response of the last evaluated policy and, where there is one, M_0's to the same question."""

    after: SampleRow
    after_name: str
    before: SampleRow | None
    before_name: str

    @property
    def kind(self) -> str:
        """The key of `_SHOWN_EACH`."""
        after = self.after.verdict == "correct"
        before = (self.before or self.after).verdict == "correct"
        return ("correct" if before else "gained") if after else ("lost" if before else "incorrect")


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
        "so they are not a fair sample; the tables above are. A response is truncated where it reached the "
        "limit of new tokens, and runs away where it continues with another problem, or repeats itself to "
        "the limit.",
        anchor="samples",
    )


def _pairs(run: RunData) -> list[_Pair]:
    """Return the rows of the last evaluated point that keeps samples, each with the first one's row."""
    points = [p for p in run.points if p.directory in run.evals and run.evals[p.directory].samples]
    if not points:
        return []
    last, first = points[-1], points[0]
    before = {(row.set, row.id): row for row in run.evals[first.directory].samples}
    return [
        _Pair(
            after=row,
            after_name=last.name,
            before=before.get((row.set, row.id)) if first != last else None,
            before_name=first.name,
        )
        for row in run.evals[last.directory].samples
    ]


def _choose(pairs: list[_Pair], limit: int) -> list[_Pair]:
    """Return a mix led by changes; where one kind runs short the others fill up."""
    groups: dict[str, list[_Pair]] = {kind: [] for kind in _SHOWN_EACH}
    for pair in pairs:
        groups[pair.kind].append(pair)
    whole = sum(_SHOWN_EACH.values())
    quota = {kind: -(-n * limit // whole) for kind, n in _SHOWN_EACH.items()}
    chosen = [pair for kind, group in groups.items() for pair in _spread(group)[: quota[kind]]]
    rest = [pair for kind, group in groups.items() for pair in _spread(group)[quota[kind] :]]
    picked = (chosen + rest)[:limit] if len(chosen) < limit else chosen[:limit]
    return sorted(picked, key=lambda pair: list(_SHOWN_EACH).index(pair.kind))


def _spread(group: list[_Pair]) -> list[_Pair]:
    """In turn from every set and level, so that the first few are not all of one kind."""
    seen: dict[tuple[str, str], int] = {}
    keyed = []
    for i, pair in enumerate(group):
        key = (pair.after.set, str(pair.after.level))
        seen[key] = seen.get(key, 0) + 1
        keyed.append((seen[key], i, pair))
    return [pair for _, _, pair in sorted(keyed, key=lambda item: item[:2])]


def _sample(pair: _Pair, characters: int) -> Html:
    row = pair.after
    level = f" · level {row.level}" if row.level is not None else ""
    state = _CHANGES[pair.kind] if pair.before else _CHANGES[pair.kind].split(" → ")[-1]
    place = f"{row.set}{level} · {row.id} · {state}"
    sides = [(pair.before_name, pair.before), (pair.after_name, row)]
    return sample(
        place,
        _cut(row.question, characters),
        _cut(row.reference, characters),
        [_response(name, side, characters) for name, side in sides if side],
    )


def _response(name: str, row: SampleRow, characters: int) -> ShownResponse:
    known = row.verdict if row.verdict in ("correct", "incorrect", "no_answer", "timed_out") else ""
    extracted = f" answer: {_cut(row.extracted, 80)}" if row.extracted is not None else ""
    marks = [f"truncated at {row.tokens} tokens"] if row.truncated else []
    marks += ["runs away"] if row.runaway else []
    return ShownResponse(
        name=name,
        kind=known,
        verdict=row.verdict.replace("_", " "),
        marks=marks,
        answer=extracted,
        text=_cut(row.text, characters) or "(empty)",
    )


def _cut(shown: str, characters: int) -> str:
    if len(shown) <= characters:
        return shown
    return f"{shown[:characters]}… ({len(shown) - characters} characters more)"
