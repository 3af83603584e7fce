"""Schemas of the known sets, on made-up rows and on the real files where they are; tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dast_jax.config import build_config
from dast_jax.data.hints import HINTS, hint, hinted
from dast_jax.data.options import DataOptions
from dast_jax.data.schemas import READERS, detect_schema, read_row
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError
from dast_jax.options import build
from dast_jax.records import Query
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.families import FAMILIES, read_task

OPTIONS = DataOptions(train="unused")
SHARED = Path(__file__).parents[3] / "shared" / "data"

# Made-up rows, in the columns that the sets' authors (and the hub) use.
ROWS = {
    "gsm8k": {"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\n#### 4"},
    "math": {
        "problem": "What is $1+1$?",
        "solution": r"It is $\boxed{2}$.",
        "level": "Level 1",
        "type": "Algebra",
    },
    "svamp": {
        "ID": "chal-1",
        "Body": "Ann has 8 nuts.",
        "Question": "How many has she after eating 2?",
        "Equation": "( 8.0 - 2.0 )",
        "Answer": "6.0",
        "Type": "Subtraction",
    },
    "arc_challenge": {
        "id": "r1",
        "question": "Which is a planet?",
        "choices": {"text": ["Mars", "Moon"], "label": ["1", "2"]},
        "answerKey": "1",
    },
    "commonsense_qa": {
        "id": "r2",
        "question": {
            "question_concept": "fork",
            "stem": "What is a fork for?",
            "choices": [{"label": "A", "text": "eating"}, {"label": "B", "text": "sleeping"}],
        },
        "answerKey": "A",
    },
    "cladder": {
        "prompt": "Zib causes zab. Does zib cause zab?",
        "label": "yes",
        "reasoning": "nan\nnan",
        "rung": 2,
        "query_type": "ate",
    },
    "anli": {
        "uid": "u1",
        "premise": "It rains.",
        "hypothesis": "It is dry.",
        "label": 2,
        "reason": "Rain is wet.",
    },
    "college_math": {
        "question": "Simplify $x+x$",
        "answer": "$2 x$",
        "data_topic": "college_math.linear_algebra",
        "license": "any",
    },
    "theoremqa": {
        "Question": "Area of the unit circle?",
        "Answer": 3.14,
        "Answer_type": "float",
        "Picture": None,
        "field": "Math",
        "subfield": "Geometry",
    },
    "tal_scq": {
        "qid": "1",
        "queId": "abc",
        "difficulty": "2",
        "qtype": "single_choice",
        "problem": "What is $1+2$?",
        "answer_option_list": [
            [{"aoVal": "A", "content": "$$3$$ "}],
            [{"aoVal": "B", "content": "$$4$$ "}],
        ],
        "knowledge_point_routes": ["Overseas->Sums", "Home->Numbers->Sums"],
        "answer_analysis": ["Add them: $$3$$."],
        "answer_value": "A",
    },
    "deepmind_mathematics": {"question": "b'List the prime factors of 6.\\n'", "answer": "b'[2, 3]\\n'"},
    "olympiadbench": {
        "id": 7,
        "question": "Find all $x$ with $x^2=1$.",
        "final_answer": ["$-1$", "$1$"],
        "solution": ["Factor it."],
        "context": None,
        "error": None,
        "subfield": "Algebra",
    },
    "aime24": {"id": 60, "problem": "Find $n$.", "solution": r"So \boxed{204}.", "answer": "204", "url": "u"},
    "amc23": {"id": 0, "problem": "Find $m$.", "answer": 27.0, "url": "u"},
    "plain": {"question": "Is it so?", "answer": "yes", "task": "yes_no", "tags": ["logic"]},
}

WANTED = {
    "gsm8k": ("Two and two?", "4", "2+2=4\n#### 4", None, "math", ()),
    "math": ("What is $1+1$?", "2", r"It is $\boxed{2}$.", "Level 1", "math", ("Algebra",)),
    "svamp": (
        "Ann has 8 nuts. How many has she after eating 2?",
        "6",
        "(8 - 2) = 6\n#### 6",
        None,
        "number",
        ("Subtraction",),
    ),
    "arc_challenge": ("Which is a planet?\n1) Mars\n2) Moon", "1", None, None, "choice", ()),
    "commonsense_qa": ("What is a fork for?\nA) eating\nB) sleeping", "A", None, None, "choice", ("fork",)),
    "cladder": ("Zib causes zab. Does zib cause zab?", "yes", None, "rung 2", "yes_no", ("ate",)),
    "anli": (None, "contradiction", "Rain is wet.\nThe answer is contradiction.", None, "label", ()),
    "college_math": ("Simplify $x+x$", "$2 x$", None, None, "math", ("linear algebra",)),
    "theoremqa": ("Area of the unit circle?", "3.14", None, None, "math~0.04", ("Math", "Geometry")),
    "tal_scq": (
        "What is $1+2$?\nA) $$3$$\nB) $$4$$",
        "A",
        "Add them: $$3$$.\nThe answer is A.",
        "2",
        "choice",
        ("Sums",),
    ),
    "deepmind_mathematics": ("List the prime factors of 6.", "[2, 3]", None, None, "list", ()),
    "olympiadbench": (
        "Find all $x$ with $x^2=1$.",
        "$-1, 1$",
        "Factor it.\nThe answer is $-1, 1$.",
        None,
        "math",
        ("Algebra",),
    ),
    "aime24": ("Find $n$.", "204", r"So \boxed{204}.", None, "math", ()),
    "amc23": ("Find $m$.", "27", None, None, "math", ()),
    "plain": ("Is it so?", "yes", None, None, "yes_no", ("logic",)),
}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


def test_every_schema_has_a_case():
    chats = {"messages", "prompt_completion", "alpaca"}  # theirs are in test_chat_sets.py
    assert set(ROWS) == set(WANTED) == set(READERS) - chats


@pytest.mark.parametrize("schema", ROWS)
def test_row(schema, verifier):
    row = ROWS[schema]
    assert detect_schema([row]) == schema
    query = read_row(row, schema, OPTIONS, id="fallback", source="here")
    question, *rest = WANTED[schema]
    assert question is None or query.question == question
    assert (query.answer, query.solution, query.level, query.task, query.tags) == tuple(rest)
    own = [str(row[name]) for name in ("id", "ID", "uid", "queId") if name in row]
    assert query.id == (own or ["fallback"])[0]
    assert verifier.verify_one(query.answer, f"So the answer is {query.answer}.", query.task).correct
    if query.solution:
        assert verifier.verify_one(query.answer, query.solution, query.task).correct


def test_forms_of_the_hub_and_of_older_files():
    hub = {
        "question": "What is a fork for?",
        "question_concept": "fork",
        "choices": {"label": ["A", "B"], "text": ["eating", "sleeping"]},
        "answerKey": "A",
    }
    assert detect_schema([hub]) == "commonsense_qa"
    query = read_row(hub, "commonsense_qa", OPTIONS, id="1", source="")
    assert query.question == WANTED["commonsense_qa"][0]
    old = {"uid": "1", "context": "It rains.", "hypothesis": "It is wet.", "label": "e", "reason": ""}
    assert read_row(old, detect_schema([old]), OPTIONS, id="1", source="").answer == "entailment"
    given = {"given_info": "Zib causes zab.", "question": "Does it?", "answer": "No", "meta": {"rung": 1}}
    query = read_row(given, detect_schema([given]), OPTIONS, id="1", source="")
    assert (query.question, query.answer, query.level) == ("Zib causes zab. Does it?", "no", "rung 1")
    problem = {"ID": "2024-II-4", "Problem": "p", "Solution": "So it is 33.", "Answer": 33}
    assert detect_schema([problem]) == "aime24"
    query = read_row(problem, "aime24", OPTIONS, id="1", source="")
    assert (query.id, query.question, query.answer, query.level) == ("2024-II-4", "p", "33", None)
    assert query.solution == "So it is 33.\nThe answer is 33."
    old = {"ID": "1983-1", "Year": 1983, "Problem Number": 1, "Question": "p", "Answer": "60", "Part": None}
    assert detect_schema([old]) == "amc23"
    query = read_row(old, "amc23", OPTIONS, id="1", source="")
    assert (query.id, query.question, query.answer) == ("1983-1", "p", "60")
    capitals = {"Question": "q", "Answer": "a", "Solution": "s"}
    assert detect_schema([capitals]) == "plain"
    query = read_row(capitals, "plain", OPTIONS, id="1", source="")
    assert (query.question, query.answer, query.solution) == ("q", "a", "s")
    math_500 = {"problem": "p", "solution": "s", "answer": "3", "subject": "Algebra", "level": 2}
    query = read_row(math_500, detect_schema([math_500]), OPTIONS, id="1", source="")
    assert (query.answer, query.level, query.tags) == ("3", "2", ("Algebra",))


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("arc_challenge", {"answerKey": ""}),
        ("arc_challenge", {"answerKey": "E"}),  # no such choice
        ("arc_challenge", {"choices": {"text": ["one"], "label": ["A", "B"]}}),
        ("arc_challenge", {"choices": None}),
        ("commonsense_qa", {"question": {"stem": "?", "choices": []}}),
        ("anli", {"label": -1}),
        ("tal_scq", {"answer_option_list": []}),
        ("olympiadbench", {"final_answer": []}),
        ("theoremqa", {"Answer": None}),
    ],
)
def test_rows_without_an_answer_or_choices_are_not_taken(schema, change):
    assert read_row({**ROWS[schema], **change}, schema, OPTIONS, id="1", source="") is None


RELEASED_CLADDER = {
    "question_id": 1,
    "given_info": "For A, 35%.",
    "question": "Will it?",
    "answer": "yes",
    "reasoning": {"step0": "Let X = a"},
    "meta": {"model_id": 12, "rung": 2, "query_type": "ate"},
}


def test_cladder_as_released_needs_its_background():
    assert detect_schema([RELEASED_CLADDER]) == "cladder"
    with pytest.raises(UserError, match=r"^d\.json row 1: has no background.*into a column background$"):
        read_row(RELEASED_CLADDER, "cladder", OPTIONS, id="1", source="d.json row 1")
    for given, wanted in (("For A, 35%.", "A causes B. For A, 35%. Will it?"), ("", "A causes B. Will it?")):
        row = {**RELEASED_CLADDER, "given_info": given, "background": "A causes B."}
        query = read_row(row, "cladder", OPTIONS, id="1", source="")
        assert (query.question, query.level, query.tags) == (wanted, "rung 2", ("ate",))
    whole = {**RELEASED_CLADDER, "prompt": "A causes B. For A, 35%. Will it?"}
    assert read_row(whole, "cladder", OPTIONS, id="1", source="").question == whole["prompt"]


@pytest.mark.parametrize(
    ("schema", "change", "answer"),
    [
        ("plain", {"answer": 27.0, "task": "math"}, "27"),
        ("plain", {"answer": 1.0, "task": "choice"}, "1"),
        ("plain", {"answer": "1.0", "task": "choice"}, "1"),  # as CSV has it
        ("plain", {"answer": "1.0", "task": "label"}, "1.0"),  # a text of its own, such as a version
        ("plain", {"answer": 2.5}, "2.5"),
        ("arc_challenge", {"answerKey": 2.0}, "2"),
        ("arc_challenge", {"choices": {"text": ["x", "y"], "label": [1.0, 2.0]}, "answerKey": "2"}, "2"),
        ("arc_challenge", {"choices": "{'text': ['x', 'y'], 'label': ['A', 'B']}", "answerKey": "B"}, "B"),
        ("anli", {"label": 1.0}, "neutral"),
        ("anli", {"label": "1.0"}, "neutral"),
        ("amc23", {"answer": "27.0"}, "27"),
        ("olympiadbench", {"final_answer": "['2']"}, "2"),
        ("olympiadbench", {"final_answer": r"['$\\frac{1}{2}$', '$x$']"}, r"$\frac{1}{2}, x$"),
        ("olympiadbench", {"final_answer": "[0, 1)"}, "[0, 1)"),
    ],
)
def test_answers_as_other_formats_write_them(schema, change, answer):
    row = {**ROWS[schema], **change}
    assert read_row(row, schema, OPTIONS, id="1", source="").answer == answer


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [
        ("Is there a potential $F$? If so, find one.", "Yes. $F=7x$", ("Yes. $F=7x$", "math")),
        ("Is there a potential $F$? If so, find one.", "No", ("No", "yes_no")),
        ("Is $X$ an indicator? If yes, then of what event?", "Yes, for $A$.", ("Yes, for $A$.", "math")),
        ("Must it have a solution? If so, must it be unique?", "Yes. It is unique.", ("Yes", "yes_no")),
        ("Find out: is it so?", "Yes. It is closed.", ("Yes", "yes_no")),
    ],
)
def test_a_yes_that_is_half_of_the_answer_stays_whole(question, answer, wanted):
    row = {**ROWS["college_math"], "question": question, "answer": answer}
    query = read_row(row, "college_math", OPTIONS, id="1", source="")
    assert (query.answer, query.task) == wanted


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Yes. It is closed.", ("Yes", "yes_no")),
        ("No", ("No", "yes_no")),
        ("No solution", ("No solution", "math")),
        ("The solution is $x=1$.", ("$x=1$.", "math")),
        ("Solution is: $[k=4]$", ("$[k=4]$", "math")),
    ],
)
def test_answers_of_college_math(answer, wanted):
    row = {**ROWS["college_math"], "answer": answer}
    query = read_row(row, "college_math", OPTIONS, id="1", source="")
    assert (query.answer, query.task) == wanted


def test_tasks_of_theoremqa():
    for kind, answer, task, text in (
        ("integer", 5, "math", "5"),
        ("list of integer", [1, 2], "list", "[1, 2]"),
        ("list of float", [0.5, 2.0], "list~0.04", "[0.5, 2]"),
        ("bool", False, "bool", "False"),
        ("option", "(c)", "choice", "(c)"),
    ):
        row = {**ROWS["theoremqa"], "Answer": answer, "Answer_type": kind, "Picture": "x.jpg"}
        query = read_row(row, "theoremqa", OPTIONS, id="1", source="")
        assert (query.task, query.answer, query.tags[-1]) == (task, text, "picture")


def test_olympiad_error_is_a_tolerance(verifier):
    query = read_row({**ROWS["olympiadbench"], "error": "1e-1"}, "olympiadbench", OPTIONS, id="1", source="")
    assert query.task == "math+-0.1"
    assert verifier.verify_one("2.05", "2.14", query.task).correct


# --- options, tasks ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"question": "q"}}, "data.*answer must be named too"),
        ({"columns": {"question": "q", "answer": "a"}, "schema": "math"}, "not used with schema math"),
        ({"columns": {"frage": "q"}}, "frage"),
        ({"schema": "arc"}, "arc_challenge"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(UserError, match=message) as error:
        build(DataOptions, {"train": "x", **options}, where="data")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("chioce", "data.task: .*did you mean choice"),
        ("mime", "data.task: .*did you mean mine"),
        ("mod:", "data.task: expected a task family or package.module:function, got 'mod:'"),
        ("choice~0.1", "data.task: .*choice has no numbers"),
        ("mine~0.1", "data.task: .*unknown task family"),
    ],
)
def test_a_bad_task_of_the_options_is_one_sentence(task, message):
    sections = {"run": {"dir": "x"}, "data": {"train": "x", "task": task}}
    functions = {"mine": "my_checks:same"}
    with pytest.raises(UserError, match=message) as error:
        build_config({**sections, "model": {"path": "x"}, "verifier": {"functions": functions}})
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message):
        load_queries("no file is looked for", options=DataOptions(train="x", task=task), functions=functions)


def test_task_of_the_options(tmp_path):
    plain, gsm8k = tmp_path / "plain.jsonl", tmp_path / "gsm8k.jsonl"
    plain.write_text('{"question": "a", "answer": "1"}\n{"question": "b", "answer": "B", "task": "choice"}\n')
    gsm8k.write_text('{"question": "a", "answer": "x\\n#### 1"}\n')
    options = DataOptions(train="x", task="my_checks:same")
    assert [q.task for q in load_queries(str(plain), options=options)] == ["my_checks:same", "choice"]
    assert [q.task for q in load_queries(str(gsm8k), options=options)] == ["my_checks:same"]
    test = options.for_evaluation(limit=0)
    assert [q.task for q in load_queries(str(plain), options=test)] == ["my_checks:same", "choice"]
    assert [q.task for q in load_queries(str(gsm8k), options=test)] == ["math"]


def test_unknown_task_in_a_row_names_the_row(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "a", "answer": "1"}\n{"question": "b", "answer": "2", "task": "maths"}\n')
    with pytest.raises(UserError, match=r"row 2: task 'maths': unknown task family; did you mean math"):
        load_queries(str(path), options=DataOptions(train=str(path)))


def test_unknown_task_lists_the_families_once():
    with pytest.raises(UserError) as error:
        read_task("nli")
    assert str(error.value).count("known are") == 1
    assert str(error.value).endswith("name a custom verifier in verifier.functions")


def test_answers_may_replace_solutions():
    query = read_row(
        ROWS["arc_challenge"],
        "arc_challenge",
        DataOptions(train="x", answer_as_solution=True),
        id="1",
        source="",
    )
    assert query.solution == "The answer is 1."


def test_hints_by_family():
    assert set(HINTS) == set(FAMILIES)
    assert hint("choice", "B") == "the right choice is B"
    assert hint("math~0.04", "3.1") == hint("my_checks:same", "3.1") == "the answer is 3.1"
    assert hint("label", "{answer}") == "the right label is {answer}"
    assert hinted(Query(id="1", question="Is it?", answer="yes", task="yes_no")) == (
        "Is it? (hint: the right answer is yes)"
    )


# --- the real thing ---

COUNTS = {
    "gsm8k/train.jsonl": 7473,
    "gsm8k/test.jsonl": 1319,
    "math/test.jsonl": 5000,
    "svamp/train.jsonl": 800,
    "svamp/test.jsonl": 200,
    "arc_challenge/train.jsonl": 1119,
    "arc_challenge/validation.jsonl": 299,
    "arc_challenge/test.jsonl": 1172,
    "commonsense_qa/train.jsonl": 9741,
    "commonsense_qa/validation.jsonl": 1221,
    "cladder/test.jsonl": 500,
    "anli/dev_r1.jsonl": 1000,
    "ood/college_math.jsonl": 2818,
    "ood/deepmind_mathematics.json": 1000,
    "ood/theoremqa.json": 800,
    "ood/olympiadbench.jsonl": 675,
    "ood/aime24.jsonl": 30,
    "ood/amc23.jsonl": 40,
}
LEAST = {"gsm8k": 0.995, "svamp": 0.995, "arc_challenge": 0.995, "commonsense_qa": 0.995, "math": 0.99}
"""Least shares of references that verify; 0.97 of the other sets."""


@pytest.mark.parametrize("name", COUNTS)
def test_real_set(name, verifier):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not at ../shared/data next to the repository (real sets are not shipped)")
    queries = load_queries(str(path), options=DataOptions(train=str(path)))
    assert len(queries) == COUNTS[name]
    assert all(q.question and q.answer for q in queries)
    if name.startswith(("arc", "commonsense")):
        assert all(f"\n{q.answer}) " in q.question for q in queries)
    least = LEAST.get(name.partition("/")[0], 0.97)
    asked = {"bare": [q.answer for q in queries], "solution": [q.solution for q in queries]}
    if name.partition("/")[0] in LEAST:  # the references of other sets may be sentences themselves
        asked["sentence"] = [f"So the answer is {q.answer}." for q in queries]
    for form, texts in asked.items():
        rows = [(q.answer, text, q.task) for q, text in zip(queries, texts, strict=True) if text]
        correct = [verdict.correct for verdict in verifier.verify_many(rows)]
        assert sum(correct) >= least * len(correct), form
