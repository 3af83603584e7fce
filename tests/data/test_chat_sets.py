"""Chats, prompts with completions and instructions as queries, over GSM8K's own rows in these forms."""

import json
import logging
from pathlib import Path

import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError

SAMPLE = Path(__file__).parent / "gsm8k_sample.jsonl"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def load(source, **options):
    return load_queries(str(source), options=DataOptions(train=str(source), **options))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def user(text, role="user"):
    return {"role": role, "content": text}


def said(text):
    return user(text, "assistant")


FORMS = {
    "messages": lambda q, a: {"messages": [user(q), user(a, "assistant")]},
    "sharegpt": lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "parts": lambda q, a: {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": q}]},
            {"role": "assistant", "content": [{"type": "text", "text": a}]},
        ]
    },
    "completion": lambda q, a: {"prompt": q, "completion": a},
    "conversational": lambda q, a: {"prompt": [user(q)], "completion": [user(a, "assistant")]},
    "metamath": lambda q, a: {"query": q, "response": a},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "dolly": lambda q, a: {"instruction": q, "context": "", "response": a, "category": "math"},
}


def gsm8k():
    """The rows of the sample, and of GSM8K's whole test set where that is at hand."""
    found = [SAMPLE, *sorted((SHARED / "gsm8k").glob("test.jsonl"))]
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_problems_as_in_their_own_schema(form, tmp_path):
    rows = gsm8k()
    own = load(write(tmp_path / "own.jsonl", rows), strip_annotations=False)
    queries = load(write(tmp_path / "d.jsonl", [FORMS[form](r["question"], r["answer"]) for r in rows]))
    for query, expected in zip(queries, own, strict=True):
        assert query.question == expected.question
        assert query.solution == expected.solution
        assert query.answer.replace(",", "") == expected.answer.replace(",", ""), query.source
    assert queries[0].task == "math"


def test_boxed_answers_of_math(tmp_path):
    path = SHARED / "math" / "test.jsonl"
    if not path.is_file():
        pytest.skip("the real data sets are not part of the repository")
    rows = [json.loads(line) for line in path.read_text().splitlines()[:300]]
    chats = [FORMS["messages"](r["problem"], r["solution"]) for r in rows]
    queries = load(write(tmp_path / "d.jsonl", chats))
    own = load(write(tmp_path / "own.jsonl", rows))
    agreed = [q.answer == e.answer for q, e in zip(queries, own, strict=True)]
    assert sum(agreed) >= 295, [(q.answer, e.answer) for q, e in zip(queries, own, strict=True)]


def test_alpacas_input_is_below_the_instruction(tmp_path):
    rows = [{"instruction": "Add the numbers.", "input": "3, 4", "output": "3 + 4 = 7\nThe answer is 7."}]
    (query,) = load(write(tmp_path / "d.jsonl", rows))
    assert (query.question, query.answer) == ("Add the numbers.\n\n3, 4", "7")
    assert query.solution == "3 + 4 = 7\nThe answer is 7."


def test_a_rows_own_answer_comes_first_and_a_bare_one_is_no_solution(tmp_path):
    rows = [
        {"prompt": "1+1?", "completion": "I think it is 2.", "answer": 2},
        {"prompt": "1+2?", "completion": "3"},
        {"prompt": [user("1+3?")], "completion": None, "answer": "4"},
        {"prompt": "Is 4 odd?", "completion": "No, 4 is even.", "task": "yes_no"},
    ]
    queries = load(write(tmp_path / "d.jsonl", rows))
    assert [q.answer for q in queries] == ["2", "3", "4", "no"]
    assert [q.solution for q in queries] == ["I think it is 2.", None, None, "No, 4 is even."]


def test_reasoning_is_no_answer_and_stays_in_the_solution(tmp_path):
    response = r"<think>Maybe \boxed{3}?</think>It is \boxed{4}."
    (query,) = load(write(tmp_path / "d.jsonl", [{"messages": [user("2+2?"), said(response)]}]))
    assert (query.answer, query.solution) == ("4", response)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            {"messages": [user("a"), user("So I think 2 or so", "assistant")]},
            "messages: nothing in it is marked",
        ),
        ({"prompt": "a", "completion": "Well, it is rather nice."}, "completion: nothing in it is marked"),
        ({"instruction": "a", "output": "Sure! Here it is."}, "output: nothing in it is marked"),
        (
            {"messages": [user("a"), user("2", "assistant"), user("b"), user("3", "assistant")]},
            "has 2 user m",
        ),
        (
            {"messages": [user("2", "assistant"), user("a")]},
            "one user message and the assistant's answer after",
        ),
        ({"messages": [user("a"), user("{}", "tool")]}, "messages: message 2 has the role 'tool'"),
        (
            {"messages": [user("a"), {"role": "assistant", "content": None}]},
            "message 2 (assistant) has no text",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "message 1 (user) has no text"),
        ({"messages": "hello"}, "messages: message 1 has no role and content"),
        (
            {"prompt": "a", "completion": [user("2", "assistant")]},
            "completion is a list of messages and prompt",
        ),
    ],
)
def test_errors_name_the_row_and_the_key(row, why, tmp_path):
    good = {"messages": [user("1+1?"), said(r"\boxed{2}")]}
    rows = [row] if "messages" not in row else [good, row]
    path = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(UserError) as error:
        load(path)
    assert f"{path} row {len(rows)}: " in str(error.value)
    assert why in str(error.value)


def test_a_chat_without_question_or_answer_is_refused_with_its_row(tmp_path):
    path = write(tmp_path / "d.jsonl", [{"messages": [user("1+1?")]}])
    with pytest.raises(UserError, match=r"row 1 has no question or no answer \(read as messages\)"):
        load(path)


def test_what_is_ignored_is_named(tmp_path, caplog):
    system = user("Be short.", "system")
    rows = [
        {"messages": [system, {**user("1+1?"), "name": "Ann"}, said(r"\boxed{2}")]},
        {"messages": [system, user("1+2?"), said(r"\boxed{3}")]},
    ]
    with caplog.at_level(logging.WARNING, "dast_jax"):
        queries = load(write(tmp_path / "d.jsonl", rows))
    assert [q.question for q in queries] == ["1+1?", "1+2?"]
    assert "the system messages of 2 rows (the same one, such as 'Be short.') are not part of" in caplog.text
    assert "set prompts.instruction" in caplog.text
    assert "ignored are name (1 rows)" in caplog.text


def test_test_sets_may_be_chats_too(tmp_path):
    path = write(tmp_path / "d.jsonl", [FORMS["alpaca"]("1+1?", "The answer is 2.")])
    options = DataOptions(train="other.jsonl", columns={"question": "q", "answer": "a"})
    (query,) = load_queries(str(path), options=options.for_evaluation(limit=0))
    assert query.answer == "2"
    named = DataOptions(train="o", columns={"question": "instruction", "answer": "output"}, task="label")
    (query,) = load_queries(str(path), options=named.for_evaluation(limit=0))
    assert query.answer == "The answer is 2."  # as the config's columns say
