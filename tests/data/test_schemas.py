import pytest

from dast_jax.data.fields import boxed_answer
from dast_jax.data.options import DataOptions
from dast_jax.data.schemas import READERS, detect_schema, read_row

OPTIONS = DataOptions(train="unused")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"first \boxed{1}, then $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{ \text{a {b} c} }", r"\text{a {b} c}"),
        (r"\fbox{7}", "7"),
        (r"is $\boxed 5$.", "5"),
        (r"is \boxed 2.5.", "2.5"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{5", None),
        (r"\boxed{a \\}", r"a \\"),  # a line break, and no escaped brace
        (r"\boxed{}", None),
        ("no box", None),
    ],
)
def test_boxed_answer(text, answer):
    assert boxed_answer(text) == answer


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        ({"question": "a", "answer": "b\n#### 1"}, "gsm8k"),
        ({"question": "a", "answer": "1"}, "plain"),
        ({"question": "a", "answer": 1, "solution": "#### 1"}, "plain"),
        ({"problem": "a", "solution": "b", "level": "Level 1", "type": "Algebra"}, "math"),
        ({"text": "a"}, None),
    ],
)
def test_schema_is_detected_by_columns(row, schema):
    assert detect_schema([row]) == schema


def test_math_row():
    row = {"problem": "p", "solution": r"thus \boxed{3}", "level": "Level 2", "type": "Algebra"}
    query = read_row(row, "math", OPTIONS, id="m-1", source="m row 1")
    assert (query.question, query.answer, query.solution, query.level) == (
        "p",
        "3",
        row["solution"],
        "Level 2",
    )


@pytest.mark.parametrize(
    ("value", "answer"), [(5, "5"), (0, "0"), (2.5, "2.5"), (" x ", "x"), (True, "True")]
)
def test_plain_answers_may_be_numbers(value, answer):
    row = {"question": "q", "answer": value}
    assert read_row(row, "plain", OPTIONS, id="1", source="").answer == answer


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), [], {}])
def test_empty_cells_lack(value):
    assert read_row({"question": "q", "answer": value}, "plain", OPTIONS, id="1", source="") is None
    assert read_row({"question": value, "answer": "1"}, "plain", OPTIONS, id="1", source="") is None


def test_every_schema_can_be_named():
    from dast_jax.data.options import SCHEMAS

    assert set(READERS) == set(SCHEMAS) - {"auto"}
