"""Schemas of sets whose answer is a choice, a label, or yes or no. The choices are part of the question."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dast_jax.data.fields import (
    Fields,
    Row,
    as_list,
    nested,
    number,
    pairs,
    tags,
    text,
    with_answer,
    with_choices,
)
from dast_jax.data.options import DataOptions
from dast_jax.errors import UserError

__all__ = ["anli", "choices", "cladder", "tal_scq"]


def choices(row: Row, options: DataOptions) -> Fields:
    """ARC (arXiv 1803.05457) and CommonsenseQA (arXiv 1811.00937), raw and from the hub.

    `choices` are columns of `text` and `label` or a list of such pairs, next to the question or (with its
    `stem`) in it; `answerKey` is the label of the correct one.
    """
    asked = row.get("question")
    inner: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
    given = row.get("choices") if row.get("choices") is not None else inner.get("choices")
    answer = number(row.get("answerKey"))
    listed = _choices(nested(given))
    labels = [label for label, _ in listed]
    known = labels.count(answer) == 1  # of two choices with one label nobody knows which is meant
    return Fields(
        question=with_choices(text(inner.get("stem")) if inner else text(asked), listed),
        answer=answer if known else None,
        task="choice",
        tags=tags(row, "question_concept") or tags(inner, "question_concept"),
    )


def _choices(given: Any) -> list[tuple[Any, Any]]:
    if isinstance(given, Mapping):
        return pairs([number(label) for label in as_list(given.get("label"))], as_list(given.get("text")))
    return [(number(c.get("label")), c.get("text")) for c in as_list(given) if isinstance(c, Mapping)]


def tal_scq(row: Row, options: DataOptions) -> Fields:
    """TAL-SCQ5K: `problem`, `answer_option_list` (lists of one `aoVal` and `content`), `answer_value`.

    Its `difficulty` 0–4 is the level, the last parts of its knowledge routes are the tags.
    """
    listed = []
    for option in as_list(nested(row.get("answer_option_list"))):
        for entry in as_list(option) if not isinstance(option, Mapping) else [option]:
            if isinstance(entry, Mapping):
                listed.append((entry.get("aoVal"), entry.get("content")))
    analysis = "\n".join(a for a in map(text, as_list(row.get("answer_analysis"))) if a) or None
    answer = text(row.get("answer_value"))
    routes = tags(row, "knowledge_point_routes")
    return Fields(
        question=with_choices(text(row.get("problem")), listed),
        answer=answer,
        solution=with_answer(analysis, answer),
        level=text(row.get("difficulty")),
        task="choice",
        tags=tuple(dict.fromkeys(route.rpartition("->")[2].strip() for route in routes)),
    )


_ANLI_LABELS = {
    "0": "entailment",
    "1": "neutral",
    "2": "contradiction",
    "e": "entailment",
    "n": "neutral",
    "c": "contradiction",
}


def anli(row: Row, options: DataOptions) -> Fields:
    """ANLI (arXiv 1910.14599): `label` 0, 1, 2 (or e, n, c) is entailment, neutral, contradiction."""
    premise = text(row.get("premise")) or text(row.get("context"))
    hypothesis = text(row.get("hypothesis"))
    label = number(row.get("label"))
    answer = _ANLI_LABELS.get(label.casefold(), label if label.isalpha() else None) if label else None
    question = None
    if premise and hypothesis:
        question = (
            f"{premise}\nHypothesis: {hypothesis}\n"
            "Does the text entail or contradict the hypothesis, or is it neutral? "
            "Answer entailment, neutral or contradiction."
        )
    return Fields(
        question=question,
        answer=answer,
        solution=with_answer(text(row.get("reason")), answer),
        task="label",
        tags=tags(row, "genre"),
    )


def cladder(row: Row, options: DataOptions) -> Fields:
    """CLadder (arXiv 2312.04350): yes or no; the rung of the ladder is the level, the query's type the tag.

    The question is whole in `question` or `prompt`, or begins in `background` and `given_info`. Rows as
    released keep the background, without which there is no question, in a file of models: they are refused.
    """
    question = text(row.get("prompt"))
    meta = nested(row.get("meta"))
    both: dict[str, Any] = {**(meta if isinstance(meta, Mapping) else {}), **row}
    if question is None and (asked := text(row.get("question"))):
        before = (text(row.get(name)) for name in ("background", "given_info"))
        question = " ".join([*(part for part in before if part and part not in asked), asked])
    released = "given_info" in row and text(both.get("model_id")) is not None
    if released and not text(row.get("background")) and not text(row.get("prompt")):
        raise UserError(
            "has no background, which CLadder keeps in cladder-v1-meta-models.json by model_id; "
            "copy it into a column background"
        )
    answer = text(row.get("answer")) or text(row.get("label"))
    reasoning = text(row.get("reasoning"))
    if reasoning and re.fullmatch(r"(?:nan\s*)+", reasoning):
        reasoning = None
    rung = text(both.get("rung"))
    return Fields(
        question=question,
        answer=answer.casefold() if answer else None,
        solution=with_answer(reasoning, answer),
        level=f"rung {rung}" if rung else None,
        task="yes_no",
        tags=tags(both, "query_type"),
    )
