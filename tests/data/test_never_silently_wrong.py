"""Rows that were read wrongly without a word: each kind is read right, or refused with its row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.data.answers import boxed_reference, reference
from dast_jax.data.fields import nested
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError
from dast_jax.inference.prompt_files import read_prompts


def load(path: Path | str, **options):
    return load_queries(str(path), options=DataOptions(train=str(path), **options))


def refused(path: Path | str, **options) -> str:
    with pytest.raises(UserError) as error:
        load(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def jsonl(path: Path, rows: list[dict]) -> Path:
    file = path / "d.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def csv(path: Path, text: str) -> Path:
    file = path / "d.csv"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"question": "q", "answer": 1e999}', "the number 1e999 is too large; write it as text"),
        ('{"question": "q", "answer": ' + "9" * 5_000 + "}", "a number of 5,000 digits; write it as text"),
        ('{"question": "q", "answer": ' + "[" * 50_000, "too many lists or objects within each other"),
        (
            '{"question": {"stem": "q", "choices": [{"label": "A", "text": "x"}, {"label": "A", "text": "y"}]'
            '}, "answerKey": "A"}',
            "no question or no answer",
        ),
    ],
)
def test_what_would_become_another_value(tmp_path, row, why):
    file = tmp_path / "d.jsonl"
    file.write_text(row + "\n")
    assert why in refused(file)


# --- answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "task", "wanted"),
    [
        (["-2", "2"], "", r"\{-2, 2\}"),
        ([-2.0, 2.5], "math", r"\{-2, 2.5\}"),
        (["-2", "2"], "math~0.01", r"\{-2, 2\}"),
        (["-2", "2"], "list", "[-2, 2]"),
        (["2"], "list", "[2]"),
        (["2"], "", "2"),
        (["2", "2"], "number", "2"),
        (["1,200", "$x$"], "", r"\{1200, x\}"),
        (["(1, 2)", "(3, 4)"], "", r"\{(1, 2), (3, 4)\}"),
        ("['-2' '2']", "", r"\{-2, 2\}"),
        ('["-2", "2"]', "", r"\{-2, 2\}"),
        ("[-2  2]", "", r"\{-2, 2\}"),
        ("[1 -2]", "list", "[1, -2]"),
        ("[-2, 2]", "", "[-2, 2]"),
        ([], "", None),
        (["1", None], "", None),
        (float("inf"), "", r"\infty"),
        ("-Infinity", "", r"-\infty"),
        ("inf", "choice", "inf"),
        (1e-5, "", "0.00001"),
        (b"5", "", "5"),
    ],
)
def test_an_answer_as_text(answer, task, wanted):
    assert reference(answer, task) == wanted


@pytest.mark.parametrize(
    ("answer", "task", "said"),
    [
        (["1", "2"], "number", "has 2 answers (1, 2), and task number takes one"),
        (["A", "B"], "choice", "task choice takes one"),
        ([["1", "2"], ["3"]], "", "arrays in an array"),
        (["x=1, y=2", "x=2, y=1"], "", "a comma inside one"),
        (float("inf"), "number", "infinite"),
    ],
)
def test_an_answer_that_its_task_cannot_take_is_refused_with_its_row(tmp_path, answer, task, said):
    rows = [{"question": "a", "answer": "1"}, {"question": "b", "answer": answer}]
    if task == "choice":
        rows[0]["answer"] = "A"
    message = refused(jsonl(tmp_path, rows), task=task)
    assert "row 2: " in message
    assert said in message


def test_arrays_of_numpy_in_parquet_and_csv_are_the_same_sets(tmp_path):
    answers = [np.array(["-2", "2"]), np.array(["10"])]
    frame = pd.DataFrame({"question": ["Roots of x^2=4?", "4+6?"], "answer": answers})
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_csv(tmp_path / "d.csv", index=False)
    for name in ("d.parquet", "d.csv"):
        answer = [query.answer for query in load(tmp_path / name)]
        assert answer[0] == r"\{-2, 2\}"
        assert answer[1] in ("10", "['10']")


@given(st.lists(st.text("ab'\" ,\n", max_size=5), min_size=1, max_size=5))
def test_a_python_list_is_read_as_python_reads_it(items):
    assert nested(repr(items)) == items


@pytest.mark.parametrize(
    ("question", "solution", "wanted"),
    [
        ("Find all $x$.", r"$x=\boxed{3}$ or $\boxed{\frac{2}{5}}$.", r"3, \frac{2}{5}"),
        ("Find all $x$.", r"Thus $\boxed{3}$. Alternatively, $\boxed{ 3}$.", "3"),
        ("Find all $x$.", r"$\boxed{\frac12} = \boxed{0.5}$", "0.5"),
        ("Find one focus.", r"$\boxed{(1,0)}$ and $\boxed{(0,0)}$ (either is acceptable)", "(0,0)"),
        ("Find $a+b$.", r"$\boxed{\sqrt{2}}$, so $\boxed{7}$.", "7"),
    ],
)
def test_all_boxes_of_a_question_for_several(question, solution, wanted):
    assert boxed_reference(question, solution) == wanted


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "question,answer\na,1\nTom has 1,200 pens,1203\n",
            "row 2 has more cells than the header's 2 columns",
        ),
        ("question,answer,answer\na,1,2\n", "has two columns 'answer'"),
        ('question,answer\n"a,1\nb,2\n', "unexpected end of data"),
        ('question,answer\n"a"b,1\n', "expected after"),
    ],
)
def test_a_csv_file_that_would_be_misread_is_refused(tmp_path, text, said):
    assert said in refused(csv(tmp_path, text))


def test_short_csv_rows_lack_their_last_cells(tmp_path):
    query, _ = load(csv(tmp_path, "question,answer,solution\na,1\n\nb,2,so 2\n"))
    assert (query.answer, query.solution) == ("1", None)


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_repeated_keys_are_refused(tmp_path, suffix):
    row = '{"question": "a", "answer": "1", "answer": "2"}'
    file = tmp_path / f"d.{suffix}"
    file.write_text(row if suffix == "jsonl" else f"[{row}]")
    assert "the key 'answer' appears twice" in refused(file)


@pytest.mark.parametrize(
    "columns",
    [
        ("A", "B", "C"),
        ("option_a", "option_b", "option_c"),
        ("opa", "opb", "opc"),
        ("Option 1", "Option 2", "Option 3"),
        ("choice0", "choice1", "choice2"),
        ("answerA", "answerB", "answerC"),
    ],
)
@pytest.mark.parametrize("problem", ["question", "problem"])
def test_choices_with_a_column_each_are_part_of_the_question(tmp_path, columns, problem):
    rows = [{problem: f"Is {i}?", **dict(zip(columns, "xyz", strict=True)), "answer": "B"} for i in range(3)]
    for query in load(jsonl(tmp_path, rows)):
        assert (query.question.partition("\n")[2], query.answer, query.task) == (
            "A) x\nB) y\nC) z",
            "B",
            "choice",
        )


def test_choices_in_columns_whose_answer_is_none_of_them_are_refused(tmp_path):
    message = refused(jsonl(tmp_path, [{"question": "a+b?", "A": 3, "B": 4, "answer": "7"}]))
    assert "an answer that is none of them" in message
    assert "data.schema=plain" in message
    (query,) = load(tmp_path / "d.jsonl", schema="plain")
    assert (query.question, query.answer) == ("a+b?", "7")


def test_columns_that_are_no_choices_are_left_alone(tmp_path):
    rows = [{"question": "a", "answer": "7", "a": 1, "b": 2, "option": "x", "B": 1, "answer_2": "x"}]
    (query,) = load(jsonl(tmp_path, rows))
    assert (query.question, query.task) == ("a", "math")


def test_the_refusal_of_preference_pairs_says_what_they_are(tmp_path):
    message = refused(jsonl(tmp_path, [{"prompt": "1+1?", "chosen": "2", "rejected": "3"}]))
    assert "look like preference pairs" in message
    assert "question and answer" in message


def test_half_of_a_surrogate_pair_is_refused_with_its_row(tmp_path):
    good = {"question": "1+1?", "answer": "2"}
    for column in ("id", "question", "answer", "solution"):
        file = jsonl(tmp_path, [good, {**good, column: "a \ud83d b"}])
        assert f"row 2: its {column} has \\ud83d at character 3" in refused(file)
    for row in ({"prompt": "\ud83d"}, {"messages": [{"role": "user", "content": "\ud83d"}]},
                {"prompt": "a", "id": "\ud83d"}):  # fmt: skip
        with pytest.raises(UserError, match=r"row 1: its (prompt|id) has \\ud83d"):
            read_prompts(str(jsonl(tmp_path, [row])))


@pytest.mark.parametrize("source", ["gs://bucket/train.jsonl", "s3://b/x.csv", "https://x.org/d.json"])
def test_remote_addresses_are_no_local_folders(source):
    assert "addresses are not read" in refused(source)
