"""What a round's work has bought, and how much of the evaluation sets the training questions hold."""

from __future__ import annotations

from dast_jax.reporting.load import RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.numbers import number, percent
from dast_jax.reporting.page import card, details, table

__all__ = ["contamination_card", "marginal_card"]

_MOST_IDS = 20


def marginal_card(run: RunData) -> Html:
    """FLOPs per point of accuracy and per newly solved hard query since the last evaluated policy."""
    found = [(entry.round, entry.marginal) for entry in run.rounds if entry.marginal]
    if not found:
        return Html("")
    heads = [f"per point on {name}" for name in run.sets]
    head = ["round", "FLOPs since the last", *heads, "newly solved", "per newly solved"]
    rows: list[list[object]] = [list(head)]
    for round, marginal in found:
        points = [
            number(value) if (value := marginal.per_point.get(name)) else "no gain" for name in run.sets
        ]
        solved = number(marginal.per_newly_solved) if marginal.per_newly_solved else "–"
        cells = [number(marginal.flops.useful), *points, marginal.newly_solved, solved]
        rows.append([f"round {round}", *cells])
    caption = (
        "Marginal cost: useful FLOPs of sampling and training since the last evaluated policy, per point of "
        "accuracy gained, and per hard or unsolved query solved for the first time. A gain within its "
        "interval may be chance."
    )
    return card(table(rows, caption=caption))


def contamination_card(run: RunData) -> Html:
    """Questions of the sets that the training questions have, whole or in most of their 8-grams."""
    found = run.summary.data.evaluation
    if not found:
        return Html("")
    head = ["set", "questions", "as a whole", "≥ half of the 8-grams", "mean share", "under 8 words"]
    rows: list[list[object]] = [list(head)]
    ids = []
    for name, source in found.items():
        seen = source.contamination
        share = "–" if seen.mean_share is None else percent(seen.mean_share)
        cells = [source.queries, len(seen.exact), len(seen.ngrams), share, seen.short]
        rows.append([name, *cells])
        marked = list(dict.fromkeys([*seen.exact, *seen.ngrams]))
        if marked:
            listed = [
                f"{i} ({percent(seen.ngrams[i])})" if i in seen.ngrams else i for i in marked[:_MOST_IDS]
            ]
            more = f" and {len(marked) - _MOST_IDS:,} more in summary.json" if len(marked) > _MOST_IDS else ""
            ids.append([name, ", ".join(listed) + more])
    caption = "Evaluation questions in the training questions."
    named = (
        details("Their ids, with the share of 8-grams seen", table([["set", "questions"], *ids]))
        if ids
        else ""
    )
    return card(table(rows, caption=caption), Html(named))
