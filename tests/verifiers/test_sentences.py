"""Answers read off sentences: what a sentence denies, bounds or lists is not its answer."""

from __future__ import annotations

import time

import pytest

from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.extract import extract_math

CORRECT, INCORRECT, NO_ANSWER = VerdictKind.CORRECT, VerdictKind.INCORRECT, VerdictKind.NO_ANSWER

NOT_FIVE = """
    not $5$
    not 5
    definitely not 5, it is 7
    not equal to $5$
    **not** 5
    not x = 5
    not $x = 5$
    never 5 apples
    neither 5 nor 6
    cannot be 5 in this case
    that 5 is not the answer
    greater than 5
    greater than x = 5
    less than $5$
    no more than 5 apples
    at least $5$
    5 or more apples
    5 apples or more in total
    5 at most, I think
    5+ apples for all
    up to 5 apples
    over 5 apples
    between 5 and 7
    strictly between $5$ and $7$
    x > 5 for all of them
    $\\geq 5$
    either $5$ or $6$
    either 5 apples or six apples
    none of 5, 6 and 7
    without x = 5
    5 or 6 apples, I think
    5 (or 6) of them
    5 or six of them
    5 apples or 6 apples in all
    **5** or 6 apples
    $5$ or $6$, I think
    \\(5\\) or \\(6\\), both fine
    x = 5 or x = 6, both work
    $5 or $6, as you like
    5 to 6 apples in all
    5-6 apples in all
    5 dollars and 50 cents
    5 hours and 30 minutes
    5 feet 3 inches
    5 + 3 = 8 apples in total
    $5 - $3 = $2 in all
    2x + 5 for all x
"""

FIVE = """
    5
    **5** apples in all
    $5$ apples
    $5$, where $x$ is $3$
    $5$ (see above)
    5, not 6
    5 (not 6)
    not 4 but 5
    not $4$ but $5$
    definitely not 7, it is 5
    5, 3 more than before
    5, and 3 of them are red
    5 apples and 3 pears
    5 apples (2 red and 3 green)
    5 dollars or 500 cents
    5 or 10/2, as you like
    5, as the difference between them is 3
    that the difference between them is 5
    5 apples, which is more than 3
    5.00 to 2 decimal places
    about 5 apples each
    3 + 2 = 5 apples in total
    $8 - $3 = $5 in all
    x = 5 and y = 6, so we are done
    that there are 5 apples in 3 bags
    $5. She then spends $3 more
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


PROSE = [
    ("4", "The answer is not 4 but 5.", INCORRECT),
    ("6", "**Answer: 5** or 6 of them", INCORRECT),
    ("5", "So it is not 5.", NO_ANSWER),
    ("6", "It is 6, not 5.", CORRECT),
    ("5", "It is 6, not 5.", INCORRECT),
    ("6", "I think it is 5 or 6", NO_ANSWER),
    ("5", "so there are 5 apples and 3 pears left, the answer is 5", CORRECT),
    ("17", "Therefore, 24 - 7 = 17 students are not on the team.", CORRECT),
    ("90", "The answer is 90 minutes or 1.5 hours.", CORRECT),
    ("0.5", "The answer is 1/2 or 50%, as half of them are red.", CORRECT),
    ("0.5", "The answer is 1/2 or 60%, as more of them are red.", INCORRECT),
    ("2/3", "The answer is 2/3 = 0.67 of it all.", CORRECT),
    ("18", "The answer is 18 dollars and 50 cents.", INCORRECT),
    ("18.50", "The answer is 18 dollars and 50 cents.", CORRECT),
    ("5", r"\boxed{\text{not } x = 5}", INCORRECT),
]

SEVERAL = [
    ("$1,2$", "The answer is $1$ and $2$, as both satisfy it.", CORRECT),
    ("$1,2$", "The answer is $1$ and $3$, as both satisfy it.", INCORRECT),
    ("2", "The answer is $2$ or $3$, both work.", INCORRECT),
    ("2", "The answer is $x=2$ or $x=3$, both of which work.", INCORRECT),
    ("2,3", "The answer is $2$ or $3$, both work.", CORRECT),
    ("2,3", "The answer is x = 2 and x = 3, both work.", CORRECT),
    ("1,2,3", "The answer is 1, 2 and 3, as is easy to see.", CORRECT),
    ("$x=2$ or $x=3$", "The answer is $x=3$ or $x=2$, both of which work.", CORRECT),
]

COLUMN = r"\begin{pmatrix}1\\2\end{pmatrix}"
ON_LINES = "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}"
SEVERAL_LINES = [
    (COLUMN, f"The answer is ${ON_LINES}$.", CORRECT),
    (COLUMN, f"The answer is:\n{ON_LINES}", CORRECT),
    (COLUMN, f"So.\n#### {ON_LINES}", CORRECT),
    (COLUMN, f"So.\n#### $${ON_LINES}$$\nIt was easy.", CORRECT),
    (r"\begin{pmatrix}1\\3\end{pmatrix}", f"The answer is ${ON_LINES}$.", INCORRECT),
    ("5", "$$\nx=5\n$$", CORRECT),
    ("5", "\\[\nx=5\n\\]", CORRECT),
    ("5", "$$\nx=7\n$$\n\n$$\nx=5\n$$.", CORRECT),
    ("7", "$$\nx=7\n$$\n\n$$\nx=5\n$$", INCORRECT),
    ("7", "\\[\nx=5\n\\]\n7", CORRECT),
    (r"11,\! 111,\! 100", r"The answer is 11,\! 111,\! 100.", CORRECT),
    ("11", r"The answer is 11,\! 111,\! 100.", INCORRECT),
    ("90\\text{ square\nunits}", "The answer is 90\\text{ square\nunits}.", CORRECT),
    ("5", "The answer is {5. More follows, and a 6", INCORRECT),
]

LONG = "Let $f$ be even. It has a max at $x=2$, min at $x=4$, and f(3) = 7"
QUOTED = [
    ("max at $x=2$, min at $x=4$", "So the answer is max at $x=2$, min at $x=4$.", CORRECT),
    ("max at $x=2$, min at $x=4$", "So the answer is max at $x=2$, min at $x=5$.", INCORRECT),
    ("max at $x=2$, min at $x=4$", "So.\n#### max at $x=2$, min at $x=4$", CORRECT),
    (LONG, f"The answer is {LONG}.", CORRECT),
    ("diverges, 0", "The answer is: diverges, 0", CORRECT),
    ("width $=$ height $=10$", "The answer is width $=$ height $=10$.", CORRECT),
    ("16", r"It is \boxed{18}. The answer is 16", INCORRECT),
    ("16", "The answer is 16\n#### 18", INCORRECT),
    ("16", "#### 18\nThe answer is 16", INCORRECT),
    ("max at 2, min at 4", "The answer is max at 2, min at 4. The answer is 3", INCORRECT),
    (".", "", NO_ANSWER),
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


@pytest.mark.parametrize("task", ["math", "number"])
@pytest.mark.parametrize("marker", ["So the answer is {}.", "So we add.\n#### {}"])
@pytest.mark.parametrize("said", lines(NOT_FIVE))
def test_what_is_denied_bounded_or_one_of_several_is_not_the_answer(verifier, said, marker, task):
    assert not verifier.verify_one("5", marker.format(said), task).correct


@pytest.mark.parametrize("task", ["math", "number"])
@pytest.mark.parametrize("marker", ["So the answer is {}.", "So we add.\n#### {}"])
@pytest.mark.parametrize("said", lines(FIVE))
def test_the_answer_stays_the_answer_whatever_else_the_sentence_says(verifier, said, marker, task):
    verdict = verifier.verify_one("5", marker.format(said), task)
    assert verdict.correct, verdict


@pytest.mark.parametrize(("reference", "prediction", "expected"), [*PROSE, *SEVERAL, *SEVERAL_LINES, *QUOTED])
def test_verdict(verifier, reference, prediction, expected):
    verdict = verifier.verify_one(reference, prediction)
    assert verdict.kind is expected, verdict


def test_a_bound_that_the_reference_states_in_the_same_words_is_correct(verifier):
    assert verifier.verify_one("greater than 5", "The answer is greater than 5.").correct
    assert not verifier.verify_one("greater than 5", "The answer is greater than 6.").correct


PIECES = """
    $|$$|\\(|\\[|{|\\begin{a}|$\\begin|not |than |5 or |5, |5 - 3 |a b or |** |5** |$5 |x = 5 or |. |answer $
"""


@pytest.mark.parametrize("piece", PIECES.strip().split("|"))
def test_time_is_linear_in_hostile_text(piece):
    for start in ("", "The answer is ", "#### ", "The answer is $$"):
        for end in ("", "\\]", "\n$$", " 5"):
            text = start + piece * (200_000 // len(piece)) + end
            begun = time.process_time()
            extract_math(text)
            assert time.process_time() - begun < 2.0
