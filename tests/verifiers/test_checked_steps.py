"""Steps of arithmetic responses, checked exactly, and the questions whose steps cannot be checked."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.assets import resolve_path
from dast_jax.records import Verdict, VerdictKind
from dast_jax.verifiers.steps import StepCheck, refuse_wrong_steps, steps_checker, value_of

QUESTION = "((7+12)*3)-5=?"  # 52


@pytest.mark.parametrize(
    ("text", "steps", "wrong", "unreadable"),
    [
        ("so (19*3)-5 = 57-5 = 52\n#### 52", 3, 0, 0),
        ("57, 52\n#### 52", 2, 0, 0),
        ("7+12=19. 19*3=57. 57-5=52.\n#### 52", 6, 0, 0),
        ("left (19*3) - 5; 57 - 5; 52.\n#### 52", 3, 0, 0),
        ("so (20*3)-8 = 60-8 = 52\n#### 52", 3, 2, 0),  # each has the value of the question
        ("thus 58, 52\n#### 52", 2, 1, 0),
        ("7 and 12 make 19\n#### 52", 1, 0, 0),  # numbers of the question are no steps
        ("so (19*3-5 = 52\n#### 52", 2, 0, 1),
        ("57.5, 52", 2, 1, 0),
        ("#### 52", 0, 0, 0),
        ("", 0, 0, 0),
        ("so 57-5 = 52\n#### 53", 2, 0, 0),  # the answer itself is the verifier's
    ],
)
def test_steps_of_a_response(text, steps, wrong, unreadable):
    check = steps_checker(QUESTION)
    assert check(text) == StepCheck(steps=steps, wrong=wrong, unreadable=unreadable)


@pytest.mark.parametrize(
    "question",
    ["How many apples are 3+4?", "x+3=?", "7=?", "(3+4=?", "3+4", "", "3+4=?)", "Is 3+4=?", "9**9=?"],
)
def test_other_questions_cannot_be_checked(question):
    assert steps_checker(question) is None


def test_precedence_and_division():
    check = steps_checker("8-6/4-1 = ?")
    assert check("8-1.5-1 = 6.5-1 = 5.5") == StepCheck(steps=3, wrong=0, unreadable=0)
    assert check("2/4-1") == StepCheck(steps=1, wrong=1, unreadable=0)
    assert steps_checker("1/(2-2)=?")("1/0, 0") == StepCheck(steps=2, wrong=0, unreadable=0)


@pytest.mark.parametrize("name", ["train", "test_in_domain", "test_ood"])
def test_every_embedded_solution_has_only_right_steps(name):
    rows = resolve_path(f"asset:problems/{name}.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):
        found = steps_checker(row["question"])(row["answer"])
        assert found.steps
        assert not found.wrong + found.unreadable, row


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.sampled_from("+-*"))
def test_a_wrong_value_is_found(a, b, said, sign):
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    found = steps_checker(f"({a}{sign}{b})+1=?")(f"{said}+1")
    assert found == StepCheck(steps=1, wrong=int(said != value), unreadable=0)


@pytest.mark.parametrize(
    ("text", "unreadable"),
    [
        ("+" * 20_000, 0),
        ("(" * 20_000 + "1", 1),
        ("9" * 20_000, 1),
        ("7 " * 20_000, 0),
        ("1+" * 20_000 + "1", 1),
    ],
)
def test_hostile_texts_are_read(text, unreadable):
    """Neither the stack nor the digits of a number grow with the response."""
    assert steps_checker(QUESTION)(text) == StepCheck(steps=unreadable, wrong=0, unreadable=unreadable)


@pytest.mark.parametrize(
    ("question", "text", "refused"),
    [
        (QUESTION, "(19*3)-5 = 57-5 = 52\n#### 52", False),
        (QUESTION, "(20*3)-8 = 60-8 = 52\n#### 52", True),
        (QUESTION, "(19*3-5 = 52\n#### 52", True),  # no parenthesis closes it
        (QUESTION, "#### 52", False),  # no step is wrong
        ("How many apples are 3+4?", "3+3 = 7\n#### 7", False),
    ],
)
def test_a_correct_answer_by_wrong_steps_is_refused(question, text, refused):
    correct = Verdict(VerdictKind.CORRECT, "52", "####; exact numbers")
    found = refuse_wrong_steps(correct, question, text)
    assert (found.kind is VerdictKind.INCORRECT) == refused
    assert found.extracted == "52"
    assert refused == ("refused" in found.reason)
    for kind in (VerdictKind.INCORRECT, VerdictKind.NO_ANSWER, VerdictKind.TIMED_OUT):
        assert refuse_wrong_steps(Verdict(kind), question, text) == Verdict(kind)


def test_the_value_of_a_question():
    assert value_of(QUESTION) == 52
    assert value_of("(1+2)/2=?") == Fraction(3, 2)
    assert value_of("1/(2-2)=?") is None
    assert value_of("How many?") is None
