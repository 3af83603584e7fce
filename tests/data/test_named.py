"""Columns that `data.columns` names: choices, class numbers, and their effect on test sets."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError
from dast_jax.options import build

ASKED = {"question": "question", "answer": "answer"}
CHOICES = {**ASKED, "choices": "choices"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path, rows, *, test_set=False, **options):
    source = write(path, rows)
    given = DataOptions(train=source, **options)
    return load_queries(source, options=given.for_evaluation(limit=0) if test_set else given)


def message(path, rows, **options):
    with pytest.raises(UserError) as error:
        read(path, rows, **options)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "d.jsonl"


def test_named_columns(tmp_path):
    rows = [{"frage": "a?", "lösung": "1", "weg": "so", "stufe": "3", "art": "number", "question": "no"}]
    columns = {"question": "frage", "answer": "lösung", "solution": "weg", "level": "stufe", "task": "art"}
    jsonl, csv_file = tmp_path / "d.jsonl", tmp_path / "d.csv"
    jsonl.write_text(json.dumps(rows[0]) + "\n")
    with csv_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for path in (jsonl, csv_file):
        options = build(DataOptions, {"train": str(path), "columns": columns})
        (query,) = load_queries(str(path), options=options)
        assert (query.question, query.answer, query.solution, query.level, query.task) == (
            "a?",
            "1",
            "so",
            "3",
            "number",
        )
        (query,) = load_queries(str(path), options=options.for_evaluation(limit=0))
        assert query.question == "a?"


def test_named_columns_that_are_not_there(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"question": "a", "answer": "1"}) + "\n")
    options = DataOptions(train=str(path), columns={"question": "frage", "answer": "answer"})
    with pytest.raises(UserError, match=r"has no column frage \(for question\)"):
        load_queries(str(path), options=options)
    (query,) = load_queries(str(path), options=options.for_evaluation(limit=0))  # a test set is its own
    assert query.question == "a"


def test_named_columns_may_begin_after_many_rows(path):
    rows = [{"frage": "a"}] * 150 + [{"frage": "b", "antwort": "1"}]
    found = message(path, rows, columns={"question": "frage", "answer": "antwort"})
    assert "rows 1, 2, 3, 4, 5 and 145 more have no question or no answer" in found


# --- test sets ---

KNOWN = {
    "svamp": (
        {"Body": "Ann has 8 nuts.", "question": "How many?", "answer": "8", "Equation": "8"},
        ("Ann has 8 nuts. How many?", "8", "number"),
    ),
    "gsm8k": ({"question": "Two?", "answer": "1+1=2\n#### 2"}, ("Two?", "2", "math")),
    "cladder": (
        {"question": "Is it?", "answer": "yes", "rung": 1, "query_type": "ate"},
        ("Is it?", "yes", "yes_no"),
    ),
    "arc_challenge": (
        {
            "question": "Which?",
            "answer": "x",
            "answerKey": "B",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
        },
        ("Which?\nA) a\nB) b", "B", "choice"),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_columns_of_the_training_data_do_not_change_known_test_sets(path, name):
    row, wanted = KNOWN[name]
    (query,) = read(path, [row], test_set=True, columns=ASKED)
    assert (query.question, query.answer, query.task) == wanted


def test_columns_hold_for_test_sets_that_are_plain_or_unknown(path):
    columns = {"question": "question", "answer": "answer", "task": "kind"}
    row = {"question": "a", "answer": "yes", "kind": "yes_no"}
    assert read(path, [row], test_set=True, columns=columns)[0].task == "yes_no"
    assert read(path, [{"question": "a", "answer": "1"}], test_set=True, columns=columns)[0].task == "math"
    with pytest.raises(UserError, match="fit no known schema"):
        read(path, [{"prompt": "a", "target": "1"}], test_set=True, columns=columns)


# --- choices ---


@pytest.mark.parametrize(
    ("choices", "answer", "wanted"),
    [
        (["x", "y"], 1, "B"),
        (["x", "y"], 1.0, "B"),
        (["x", "y"], "1", "B"),
        (["x", "y"], "b", "B"),
        (["x", "y"], "(B)", "B"),
        (["x", "y"], "y", "B"),
        ([3, 5.0], 5, "B"),
        ([1, 0], 1, "B"),  # a number is an index wherever it can be one
        (["1", "0"], "1", "A"),  # a text is a text wherever it can be one
        ('["x", "y"]', "B", "B"),  # as CSV has it
        ([["A", "x"], ["B", "y"]], "B", "B"),
        ([{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "y", "B"),
        ([{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], 1, "B"),
        ([{"text": "x"}, {"text": "y"}], 1, "B"),
        ({"label": ["1", "2"], "text": ["x", "y"]}, 2, "2"),
        ({"label": ["1", "2"], "text": ["x", "y"]}, "y", "2"),
        ({"A": "x", "B": "y", "C": None}, "B", "B"),
    ],
)
def test_choices_appear_in_the_question(path, choices, answer, wanted):
    (query,) = read(path, [{"question": "Q", "choices": choices, "answer": answer}], columns=CHOICES)
    assert (query.answer, query.task) == (wanted, "choice")
    lines = query.question.split("\n")
    assert lines[0] == "Q"
    assert [line[:3] for line in lines[1:]] == [f"{label}) " for label in ("12" if wanted == "2" else "AB")]


def test_the_reading_of_answers_is_decided_for_all_rows(path):
    rows = [
        {"question": "a", "choices": ["0", "1", "2"], "answer": "2"},
        {"question": "b", "choices": ["2", "1", "0"], "answer": "2"},  # alone this could be the text "2"
        {"question": "c", "choices": ["x", "y", "z"], "answer": "0"},
    ]
    assert [q.answer for q in read(path, rows, columns=CHOICES)] == ["C", "C", "A"]


def test_answers_that_are_no_choice_are_numbered(path):
    rows = [{"question": "a", "choices": ["x", "y"], "answer": a} for a in (0, 1, 2, None)]
    rows += [{"question": "a", "choices": c, "answer": 0} for c in (None, [], ["x"], ["x"] * 11, ["", ""])]
    found = message(path, rows, columns=CHOICES)
    assert "rows 3, 4, 5, 6, 7 and 2 more have no choices, or an answer that is none of them" in found


def test_a_task_may_be_set_for_rows_with_choices(path):
    row = {"question": "a", "choices": ["x", "y"], "answer": 0}
    assert read(path, [row], columns=CHOICES, task="my_checks:same")[0].task == "my_checks:same"
    assert read(path, [{**row, "task": "label"}], columns=CHOICES)[0].task == "label"
    assert read(path, [row], columns=CHOICES, test_set=True)[0].answer == "A"


@pytest.mark.parametrize("name", ["choices", "options", "Choices"])
def test_choices_that_nothing_reads_are_refused(path, name):
    row = {"question": "a", name: ["x", "y"], "answer": 0}
    assert f"name it in data.columns (choices: {name})" in message(path, [row])
    assert "data.schema=plain" in message(path, [row], columns=ASKED)
    assert "leave the column out" in message(path, [row], columns=ASKED, test_set=True)
    problem = {"problem": "a", name: ["x", "y"], "answer": 0}
    assert f"the column {name}" in message(path, [problem])
    assert read(path, [row], schema="plain")[0].answer == "0"
    assert read(path, [row], columns=ASKED, schema="plain")[0].answer == "0"
    assert read(path, [row], columns={**ASKED, "choices": name})[0].answer == "A"
    assert read(path, [{**row, name: []}])[0].answer == "0"


# --- class numbers ---


def with_classes(path, rows, column, names):
    """A Parquet file as `datasets` writes one with the names of classes in it."""
    metadata = {"info": {"features": {column: {"names": names, "_type": "ClassLabel"}}}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return str(path)


def test_classes_in_a_parquet_file(tmp_path):
    rows = [{"text": "a", "label": 1.0}, {"text": "b", "label": 0.0}]
    source = with_classes(tmp_path / "d.parquet", rows, "label", ["neg", "pos"])
    options = DataOptions(train=source, columns={"question": "text", "answer": "label"}, task="label")
    assert [q.answer for q in load_queries(source, options=options)] == ["pos", "neg"]
    with_classes(tmp_path / "d.parquet", [*rows, {"text": "c", "label": -1.0}], "label", ["neg", "pos"])
    with pytest.raises(UserError, match="row 3 has no question or no answer"):
        load_queries(source, options=options)


def test_classes_that_are_letters_of_choices(tmp_path):
    rows = [{"question": "a", "choices": ["x", "y"], "answer": 1}]
    source = with_classes(tmp_path / "d.parquet", rows, "answer", ["A", "B", "C", "D"])
    assert load_queries(source, options=DataOptions(train=source, columns=CHOICES))[0].answer == "B"


def test_classes_of_a_plain_answer(tmp_path):
    rows = [{"question": "a", "answer": 1}]
    source = with_classes(tmp_path / "d.parquet", rows, "answer", ["no", "yes"])
    assert load_queries(source, options=DataOptions(train=source))[0].answer == "yes"


def test_metadata_of_other_writers_is_ignored(tmp_path):
    source = str(tmp_path / "d.parquet")
    table = pa.Table.from_pylist([{"question": "a", "answer": 1}])
    for written in ("{", "[]", '{"info": {"features": {"answer": "ClassLabel"}}}'):
        pq.write_table(table.replace_schema_metadata({"huggingface": written}), source)
        assert load_queries(source, options=DataOptions(train=source))[0].answer == "1"
