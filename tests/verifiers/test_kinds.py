"""Kinds of answers that are easily misread, beside the cases of `test_cases`: right ones and wrong ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.equivalence import right_side
from dast_jax.verifiers.exact import certainly_different, equal_constants
from dast_jax.verifiers.response import graded_part, join_thousands, one_spelling

CORRECT = [
    ("math", "5000", "It costs 5 thousand dollars."),
    ("math", "5", "The answer is 5%."),
    ("math", "3/4", "So three quarters, or 3/4."),
    ("math", "0.75", "\\boxed{\\frac{3}{4}}"),
    ("math", "5", "\\boxed{5^{\\circ}}"),
    ("math", "5", "\\boxed{|-5|}"),
    ("math", "\\sqrt{2}", "\\boxed{1.414214}"),
    ("math", "\\sqrt{3+2\\sqrt{2}}", "\\boxed{1+\\sqrt{2}}"),
    ("math", "5", "Let me think</think>The answer is 5"),
    ("choice", "B", "<answer>B</answer>"),
    ("choice", "B", "<answer>(B) palms</answer>"),
    ("yes_no", "yes", "There is no doubt that the answer is yes."),
    ("list", "[3, 2, 1]", "not [1,2,3] but [3,2,1]"),
    ("math~0.04", "100", "The answer is 104%"),
    ("math~0.05", "0.5", "52%"),
    ("math", "5", "5\n\nQuestion: what is 2+3?\nAnswer: 5"),
    ("math", "160000", "1.6×10⁵"),
    ("math", "5/3", "5⁄3"),
    ("math", "3.5", "3½"),
    ("math", "1234567", "1 234 567"),
    ("math", "-5", "**−5**"),
    ("math", "n=34", "The largest $n$ is 34"),
    ("math", "34", "Thus $n = 34$."),
    ("math", "x+1", "Thus $f(x) = x+1$."),
    ("math", "10", "$10/hour"),
]
NOT_CORRECT = [
    ("math", "2", "The answer is \\sqrt{2}."),
    ("math", "12", "The price is 12.50 dollars."),
    ("math", "5", "We have x^2=5."),
    ("math", "5", "So x < 5."),
    ("math", "5", "It is 5 or more."),
    ("math", "5", "There are 5/7 of them."),
    ("math", "2020", "It happened on 2020-12-25."),
    ("math", "25", "It happened on 12/25/2020."),
    ("math", "3", "The probability is 3 in 5."),
    ("math", "5", "The probability is 3 in 5."),
    ("math", "5", "Roughly 5 to 6."),
    ("math", "5", "I do not think it is 5."),
    ("math", "5", "The ratio is 5:3."),
    ("math", "5", "It costs 5 thousand dollars."),
    ("math", "10", "Her 10th apple is red."),
    ("math", "10", "So the point is (10, 3)."),
    ("math", "5", "The answer is 5 times 3."),
    ("math", "5", "The answer is 5 plus 3."),
    ("math", "5", "The answer is twice 5."),
    ("math", "5", "The answer is half of 5."),
    ("math", "5", "The answer is the square root of 5."),
    ("math", "5", "The answer is the cube of 5."),
    ("math", "5", "So we get twice 5."),
    ("math", "5", "So it is the square root of 5."),
    ("math", "5", "So x is 5 less than y."),
    ("math", "5", "The answer is unknown, maybe 5."),
    ("math", "5", "If the answer is 5, then 2x=10. But it is not."),
    ("math", "5", "Is the answer 5?"),
    ("math", "5", "\\boxed{5 \\text{ or } 6}"),
    ("math", "5", "\\boxed{>5}"),
    ("math", "5", "\\boxed{\\le 5}"),
    ("math", "5", "\\boxed{5x}"),
    ("math", "5", "\\boxed{5\\pi}"),
    ("math", "5", "\\boxed{5i}"),
    ("math", "5", "\\boxed{5+}"),
    ("math", "5", "\\boxed{x=5\\text{ or }x=6}"),
    ("math", "5", "\\boxed{n \\ne 5}"),
    ("math", "\\sqrt{2}", "\\boxed{1.41}"),
    ("math", "\\pi", "\\boxed{\\frac{22}{7}}"),
    ("math", "x/10^{10}", "\\boxed{2x/10^{10}}"),
    ("math", "x=2^{-60}", "\\boxed{x=2^{-61}}"),
    ("math", "(2^{-60},1)", "\\boxed{(2^{-61},1)}"),
    ("math", "\\{2^{-60},1\\}", "\\boxed{\\{2^{-61},1\\}}"),
    (
        "math",
        "\\begin{pmatrix}2^{-60}\\\\1\\end{pmatrix}",
        "\\boxed{\\begin{pmatrix}2^{-61}\\\\1\\end{pmatrix}}",
    ),
    ("math", "[0,2^{-60}]", "\\boxed{[0,2^{-61}]}"),
    ("math", "e^{-x-40}", "\\boxed{e^{-x-41}}"),
    ("math", "\\sin(10^{-20})", "\\boxed{10^{-20}}"),
    ("math", "5", "\\boxed{5+\\begin{pmatrix}1\\\\2\\end{pmatrix}}"),
    ("math", "5", "\\boxed{5\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}}"),
    ("math", "5", "\\boxed{5-\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}x}"),
    ("math", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}+1}"),
    ("math", "5", "<reasoning>5</reasoning> 6"),
    ("math", "5", "<think>a</think> <think>the answer is 5"),
    ("yes_no", "yes", "<answer>no</answer> yes"),
    ("choice", "B", "The answer is Bob."),
    ("choice", "A", "A good answer is hard to find."),
    ("choice", "A", "The answer is A good one."),
    ("choice", "C", "Vitamin C is good."),
    ("choice", "B", "Of course (B) is tempting but the answer is C"),
    ("choice", "B", "Option B can be ruled out, so C."),
    ("choice", "B", "The answer is D. Actually B is wrong."),
    ("choice", "B", "I would eliminate (B)."),
    ("choice", "A", "We eliminate (A), (C) and (D), leaving (B)."),
    ("choice", "D", "We eliminate (A), (C) and (D), leaving (B)."),
    ("choice", "B", "B or C"),
    ("choice", "B", "The answer is B and C"),
    ("choice", "B", "Both (B) and (C) are right."),
    ("choice", "B", "(B) isn't right."),
    ("choice", "B", "(B)? No, (C)."),
    ("choice", "B", "The correct answer is not B."),
    ("choice", "B", "The answer isn't B."),
    ("choice", "B", "The answer is not option (B)."),
    ("yes_no", "yes", "The answer is: not yes"),
    ("yes_no", "no", "There is no doubt that the answer is yes."),
    ("yes_no", "no", "No doubt about it: yes."),
    ("yes_no", "no", "No wonder, yes."),
    ("yes_no", "yes", "It is not the case that yes."),
    ("yes_no", "no", "No. Wait, yes."),
    ("yes_no", "yes", "Yes. Wait, no."),
    ("bool", "True", "This cannot be true."),
    ("bool", "True", "It is untrue."),
    ("bool", "True", "The statement is neither true nor false."),
    ("list", "[1, 2, 3]", "not [1,2,3] but [3,2,1]"),
    ("list", "[1, 2, 3]", "The answer is [1, 2, 3, 4] without 4"),
    ("list", "[1, 2]", "[[1,2],[3]]"),
    ("math~0.04", "100", "The answer is 106%"),
    ("math~0.05", "0.5", "\\boxed{60\\%}"),
    ("math", "5", "The answer is 6.\n\nQ: 2+3\nA: 5"),
    ("math", "5", "6\n### Question\nwhat?\nThe answer is 5"),
    ("math", "5", "The answer is 6.\n\nUser: no!\n\nAssistant: The answer is 5."),
    ("math", "12500", "12.500"),
    ("math", "1", "1,000"),
    ("math", "3", "3e5"),
    ("math", "10", "1.6×10⁵"),
    ("math", "3", "3½"),
    ("math", "6.28", "It is 2π."),
    ("math", "2", "It is 2π."),
    ("math", "5", "**−5**"),
    ("math", "5", "The change is −5."),
    ("math", "-5", "a loss of 5"),
    ("math", "5", "Thus $2x = 5$."),
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


@pytest.mark.parametrize(("task", "reference", "prediction"), CORRECT)
def test_correct(verifier, task, reference, prediction):
    verdict = verifier.verify_one(reference, prediction, task)
    assert verdict.correct, verdict


@pytest.mark.parametrize(("task", "reference", "prediction"), NOT_CORRECT)
def test_not_correct(verifier, task, reference, prediction):
    verdict = verifier.verify_one(reference, prediction, task)
    assert not verdict.correct, verdict


@pytest.mark.parametrize(
    ("text", "graded"),
    [
        ("<think>5</think> 6", " 6"),
        ("5</think> 6", " 6"),
        ("6 <think>5", "6 "),
        ("a <think>b</think> c <think>d</think> e", "a  c  e"),
        ("<THINKING>5</THINKING>6", "6"),
        ("6\n\nQuestion: next\n5", "6"),
        ("Question: what?\nAnswer: 6", "Question: what?\nAnswer: 6"),
        ("Question 1: a, so 5.\nQuestion 2: b, so 6.", "Question 1: a, so 5.\nQuestion 2: b, so 6."),
        ("The answer is 5.\nQuestion 1: b.", "The answer is 5."),
        ("To restate:\nQuestion: b.", "To restate:\nQuestion: b."),
        ("5 is the question: yes", "5 is the question: yes"),
    ],
)
def test_the_part_that_is_graded(text, graded):
    assert graded_part(text) == graded


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9))
def test_a_sign_is_never_lost(n):
    text = f"{abs(n)}"
    for minus in "-−–‒－" if n < 0 else ("",):
        spelled = join_thousands(one_spelling(f"It is {minus}{text}."))
        assert spelled == f"It is {n}."
    if n < 0:
        assert join_thousands(f"It is minus {text}.") == f"It is {n}."


@settings(deadline=None)
@given(st.integers(1_000, 10**12))
def test_separators_are_joined(n):
    for mark in (" ", "'", "\u202f", "\u00a0"):
        assert join_thousands(one_spelling(f"{n:,}".replace(",", mark))) == str(n)


constants = st.sampled_from([sympy.sqrt(2), sympy.pi, sympy.E, sympy.Integer(1), sympy.log(3)])
fractions = st.fractions(max_denominator=10**6)


@settings(deadline=None)
@given(constants, fractions, st.integers(1, 400), st.sampled_from([-1, 0, 1]))
def test_constants_differ_however_small_the_difference(constant, factor: Fraction, power, change):
    value = constant * sympy.Rational(factor.numerator, factor.denominator)
    other = value + sympy.Rational(change, 2**power)
    assert equal_constants(value, other, 6) is (change == 0)
    assert certainly_different(value, other) is (change != 0)


def test_equal_constants_in_other_words():
    assert equal_constants(sympy.sqrt(3 + 2 * sympy.sqrt(2)), 1 + sympy.sqrt(2), 6)
    assert equal_constants(sympy.cos(sympy.pi / 5), (1 + sympy.sqrt(5)) / 4, 6)
    assert equal_constants(sympy.sqrt(2), sympy.Float("1.414214"), 6)
    assert not equal_constants(sympy.sqrt(2), sympy.Float("1.4142"), 6)
    assert equal_constants(sympy.Symbol("x"), sympy.Integer(1), 6) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=5", "5"),
        ("f(2)=5", "5"),
        ("AB=5", "5"),
        ("2+3=5", "5"),
        ("5", "5"),
        ("x^2=5", None),
        ("2x=5", None),
        ("1=5", None),
        ("xy=5", None),
        ("not x=5", None),
        ("x>=5", None),
    ],
)
def test_what_lends_its_right_side(text, value):
    assert right_side(text) == value
