"""Files whose answers are held back, as test splits are published: refused whole, with the rows named."""

from __future__ import annotations

import json

import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError


def anli(i, label):
    return {"uid": f"u{i}", "premise": f"It rains on day {i}.", "hypothesis": "It is wet.", "label": label}


def arc(i, key):
    choices = {"text": ["Mars", "Moon"], "label": ["A", "B"]}
    return {"id": f"a{i}", "question": f"Which of {i} is a planet?", "choices": choices, "answerKey": key}


def commonsense_qa(i, key):
    return {**arc(i, key), "question_concept": "planet"}


def commonsense_qa_raw(i, key):
    choices = [{"label": "A", "text": "Mars"}, {"label": "B", "text": "Moon"}]
    question = {"question_concept": "planet", "stem": f"Which of {i}?", "choices": choices}
    return {"id": f"c{i}", "question": question, **({} if key is None else {"answerKey": key})}


def cladder(i, answer):
    return {
        "question_id": i,
        "prompt": f"Zib {i} causes zab?",
        "label": answer,
        "query_type": "ate",
        "rung": 1,
    }


CASES = {
    "anli, hidden as -1": (anli, 0, -1, "entailment"),
    "anli, no known class": (anli, 1, 3, "neutral"),
    "anli, hidden as -": (anli, "c", "-", "contradiction"),
    "arc": (arc, "A", "", "A"),
    "arc, null": (arc, "B", None, "B"),
    "commonsense_qa": (commonsense_qa, "A", "", "A"),
    "commonsense_qa, raw": (commonsense_qa_raw, "B", "", "B"),
    "commonsense_qa, raw without the key": (commonsense_qa_raw, "B", None, "B"),
    "cladder": (cladder, "yes", "", "yes"),
}
"""Name → (row maker, an answer that is given, one that is held back, the given one as a query's answer)."""


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def load(tmp_path, rows):
    path = tmp_path / "test_split.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, load_queries(str(path), options=DataOptions(train=str(path)))


def refusal(tmp_path, rows):
    with pytest.raises(UserError) as error:
        load(tmp_path, rows)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "test_split.jsonl") in str(error.value)
    assert "no answer" in str(error.value)
    return str(error.value)


def test_a_file_without_answers_is_refused_with_its_first_rows(tmp_path, case):
    make, _, hidden, _ = case
    assert "rows 1, 2, 3, 4, 5 and 2 more" in refusal(tmp_path, [make(i, hidden) for i in range(7)])


def test_a_file_that_lacks_some_answers_is_refused_and_not_shortened(tmp_path, case):
    make, given, hidden, _ = case
    error = refusal(tmp_path, [make(i, hidden if i in (1, 4) else given) for i in range(6)])
    assert "rows 2, 5 have" in error
    error = refusal(tmp_path, [make(i, hidden if i == 5 else given) for i in range(6)])
    assert "row 6 has" in error


def test_a_file_of_one_class_is_read_completely(tmp_path, case):
    make, given, _, answer = case
    _, queries = load(tmp_path, [make(i, given) for i in range(6)])
    assert [query.answer for query in queries] == [answer] * 6
    assert len({query.question for query in queries}) == 6


def test_a_held_back_answer_far_down_the_file_is_found(tmp_path):
    """The schema is detected from the first rows alone; all rows are read by it."""
    rows = [anli(i, i % 3) for i in range(150)] + [anli(150, -1)]
    assert "row 151 has" in refusal(tmp_path, rows)


def test_a_limit_does_not_hide_rows_without_an_answer(tmp_path):
    path = tmp_path / "test_split.jsonl"
    path.write_text("".join(json.dumps(arc(i, "A" if i < 3 else "")) + "\n" for i in range(5)))
    with pytest.raises(UserError, match="rows 4, 5 have"):
        load_queries(str(path), options=DataOptions(train=str(path), limit=2))
