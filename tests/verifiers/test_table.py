"""Verdicts that must hold: answers that published graders misjudged, and similar ones."""

from __future__ import annotations

import pytest

from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions

CORRECT, INCORRECT, NO_ANSWER = VerdictKind.CORRECT, VerdictKind.INCORRECT, VerdictKind.NO_ANSWER

TABLE = [
    (r"\binom{5}{2}", r"\binom{7}{3}", INCORRECT),
    ("none", "unknown", INCORRECT),
    ("12", "1200", INCORRECT),
    ("3", "300", INCORRECT),
    ("(1,2)", "[1,2]", INCORRECT),
    ("money", "Monday", INCORRECT),
    ("10:30", "10/30", INCORRECT),
    ("12", "12_7", INCORRECT),
    ("127", "12_7", INCORRECT),
    ("5", ".5", INCORRECT),
    (".5", "0.5", CORRECT),
    ("3.5", r"3\frac12", CORRECT),
    ("18", "Each egg is $2, so she makes $18.00 a day. The answer is 18.", CORRECT),
    ("1234", "1,234", CORRECT),
    ("5", "Thus 5 is the answer.", CORRECT),
    (r"50\%", "0.5", CORRECT),
]

EXTRACTED = [
    ("18", "so she makes $18.00 a day.", CORRECT),
    ("18", "9 * 2 = 18\n#### 18", CORRECT),
    ("18", "#### $18 dollars", CORRECT),
    ("18", "#### 17\n#### 18", CORRECT),
    ("18", "The answer is $18.00 a day.", CORRECT),
    ("18", "**Answer:** 18", CORRECT),
    ("18", "The final answer is: $\\boxed{18}$. I hope it is correct.", CORRECT),
    ("18", r"\boxed{17} or rather \boxed{18}", CORRECT),
    ("17", r"\boxed{17} or rather \boxed{18}", INCORRECT),
    ("18", r"\boxed{18} is right, \boxed{cut of", CORRECT),
    ("18", r"the answer is 17, no: \boxed{18}. #### 16", CORRECT),
    (r"\frac{3}{4}", r"So \boxed{\frac{3}{4}}.", CORRECT),
    (r"\frac{3}{4}", r"The answer is $\frac{3}{4}$.", CORRECT),
    (r"\frac{3}{4}", r"We see that it would be \frac{3}{4} of them.", CORRECT),
    ("5", "She has **5** apples left.", CORRECT),
    ("5", r"I think it is \(5\).", CORRECT),
    ("-3", "the temperature is -3 degrees", CORRECT),
    ("3", "it is 5-3 apples", NO_ANSWER),  # a calculation or range, and not -3
    ("0.5", "it is .5 of them", CORRECT),
    ("1000000", "that is 1 million people", CORRECT),
    ("1", "that is 1 million people", INCORRECT),
    ("no solution", "No solution.", CORRECT),
    ("5", "", NO_ANSWER),
    ("5", " \n\t ", NO_ANSWER),
    ("5", "I do not know.", NO_ANSWER),
    ("5", "The answer is", NO_ANSWER),
    ("14", "3+4=7\n7*2=14", CORRECT),
    ("9", "x is 9**9**9**9 I think", NO_ANSWER),
]

COMPARED = [
    ("1/2", r"\frac12", CORRECT),
    ("1/2", "x=1/2", CORRECT),
    ("x=5", "y=5", INCORRECT),
    ("5", "5.00", CORRECT),
    ("5", "5.001", INCORRECT),
    ("-5", "−5", CORRECT),
    ("5", "-5", INCORRECT),
    ("50", r"50\%", CORRECT),
    (r"$4 \frac{4}{9}$ days", "40/9", CORRECT),
    (r"$x=-3$ or $x=3$", r"So the answer is $x=-3$ or $x=3$.", CORRECT),
    (r"$x=-3$ or $x=3$", r"So the answer is $x=3, x=-3$.", CORRECT),
    (r"$x=-3$ or $x=3$", r"So the answer is $x=-3$.", INCORRECT),
    ("$-1$, $1$", "So the answers are $1$ and $-1$", CORRECT),
    ("5", "The answer is $5$, $3$ more than before.", CORRECT),
    ("5", "The answer is $5$, $3$.", INCORRECT),
    (r"$241,920,000$ cans", "241920000 cans", CORRECT),
    (r"$\$ 3040$", r"So the answer is $\$ 3040$.", CORRECT),
    (r"$\$ 3040$", r"So the answer is $\$ 304$.", INCORRECT),
    ("The rocket reaches 500 feet.", "The rocket reaches 500 feet.", CORRECT),
    ("5", r"50\%", INCORRECT),
    ("7", "7 apples", CORRECT),
    ("7", r"7\text{ cm}^2", CORRECT),
    ("45", r"45^\circ", CORRECT),
    ("1500", r"1.5\times10^{3}", CORRECT),
    ("1500", "1.5e3", CORRECT),
    ("10,000", r"10{,}000", CORRECT),
    ("10000", r"10,\!000", CORRECT),
    ("(1,234)", "1234", INCORRECT),
    ("(1,2)", "(2,1)", INCORRECT),
    ("(1,2)", r"\left(1, 2\right)", CORRECT),
    ("(1,2]", "(1,2)", INCORRECT),
    (r"\{1,2\}", r"\{2,1\}", CORRECT),
    ("5,6", r"6 \text{ or } 5", CORRECT),
    ("5,6", "5", INCORRECT),
    ("10:30", "10:30", CORRECT),
    ("3:4", "3/4", INCORRECT),
    ("2516_8", "2516_{8}", CORRECT),
    ("2516_8", "2516_7", INCORRECT),
    (r"\text{East}", "east", CORRECT),
    ("yes", "no", INCORRECT),
    ("A", "a", INCORRECT),
    ("3", "3t", INCORRECT),
    ("0", "A-a", INCORRECT),
    ("100", "10^{2}", CORRECT),
]

SYMBOLIC = [
    (r"\binom{5}{2}", "10", CORRECT),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}", CORRECT),
    ("x^2+2x+1", "(x+1)^2", CORRECT),
    ("x^2+2x+1", "(x+2)^2", INCORRECT),
    (r"2\sqrt{3}+1", "1+sqrt(12)", CORRECT),
    ("8", "2**3", CORRECT),
    ("120", "5!", CORRECT),
    (r"\pi", "pi", CORRECT),
    (r"e^{x^2}", r"e^{x^2}", CORRECT),
    (r"(-\infty,5)", "x<5", INCORRECT),
    (r"\begin{pmatrix} -3 \\ -2 \end{pmatrix}", r"\begin{pmatrix}-3\\-2\end{pmatrix}", CORRECT),
    (r"\begin{pmatrix} -3 \\ -2 \end{pmatrix}", r"\begin{pmatrix}-3\\2\end{pmatrix}", INCORRECT),
    (r"\frac{1}{2004!}", r"\frac{1}{2004!}", CORRECT),
    ("3", r"\text{}\frac{}{", INCORRECT),
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as verifier:
        yield verifier


@pytest.mark.parametrize(("reference", "prediction", "expected"), TABLE + EXTRACTED + COMPARED + SYMBOLIC)
def test_verdict(verifier, reference, prediction, expected):
    verdict = verifier.verify_one(reference, prediction)
    assert verdict.kind is expected, verdict
    assert verdict.reason


@pytest.mark.parametrize(
    ("rule", "half", "fifty"), [("either", True, True), ("fraction", True, False), ("unit", False, True)]
)
def test_what_a_percent_sign_means_is_a_choice(rule, half, fifty):
    with Verifier(VerifierOptions(percent=rule)) as verifier:
        assert verifier.verify_one(r"50\%", "0.5").correct is half
        assert verifier.verify_one("50", r"\boxed{50\%}").correct is fifty
        assert verifier.verify_one(r"50\%", "50%").correct


def test_what_was_extracted_is_reported(verifier):
    verdict = verifier.verify_one("18", "She makes $20. The answer is $18.00 a day.")
    assert verdict.extracted == "$18.00"
    assert "answer is" in verdict.reason


def test_a_whole_reference_solution_is_read_too(verifier):
    assert verifier.verify_one("9*2=18\n#### 18", "18").correct
    assert verifier.verify_one(r"It is \boxed{18}.", "18").correct


def test_number_family_takes_plain_numbers_only(verifier):
    assert verifier.verify_one("10", "The answer is 10.0.", "number").correct
    assert verifier.verify_one(r"\binom{5}{2}", "10", "number").kind is INCORRECT


def test_many_keep_their_order(verifier):
    rows = [(str(i), str(i)) if i % 3 else (f"x+{i}", f"{i + i % 2}+x") for i in range(60)]
    verdicts = verifier.verify_many(rows)
    expected = [bool(i % 3) or i % 2 == 0 for i in range(60)]
    assert [v.correct for v in verdicts] == expected
