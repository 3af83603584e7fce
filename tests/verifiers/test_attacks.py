"""Sentences written to be misread, of every kind: `attacks.txt`. None may be *correct* that should not be."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from dast_jax.verifiers import Verifier, VerifierOptions


class Row(NamedTuple):
    """A line of the file."""

    task: str
    reference: str
    prediction: str
    correct: bool


def rows() -> list[Row]:
    text = Path(__file__).with_name("attacks.txt").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            task, reference, rest = line.split(" | ", 2)
            prediction, expected = rest.rsplit(" | ", 1)
            found.append(Row(task, reference, prediction.replace("⏎", "\n"), expected == "c"))
    return found


@pytest.fixture(scope="module")
def verdicts():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        return verifier.verify_many([(row.reference, row.prediction, row.task) for row in rows()])


@pytest.mark.parametrize("correct", [False, True])
def test_sentences_that_are_easily_misread(verdicts, correct):
    judged = [
        (row, verdict.reason)
        for row, verdict in zip(rows(), verdicts, strict=True)
        if row.correct is correct and verdict.correct is not correct
    ]
    assert len(rows()) > 2_050
    assert judged == []


COUNTS = (
    "a one two three four five six seven eight nine ten eleven twelve dozen hundred thousand half third "
    "thirds quarter quarters"
)
OPERATIONS = (
    "root square cube power half third fourth quarter fifth tenth multiple factorial logarithm log sine "
    "cosine tangent reciprocal inverse opposite negative sum product quotient factor divisor maximum minimum"
)
LABELS = (
    "step figure table line equation page section chapter theorem lemma corollary proposition version volume "
    "problem question exercise example case part row column item option method appendix formula rule stage"
)


def test_a_number_that_is_only_part_of_what_is_said_is_no_answer():
    sentences = [
        *(
            f"The answer is {word} {joint} 5."
            for word in COUNTS.split()
            for joint in ("times", "out of", "plus")
        ),
        *(
            f"{start} the {word} of 5."
            for word in OPERATIONS.split()
            for start in ("The answer is", "So it is")
        ),
        *(f"{start} {word} 5." for word in LABELS.split() for start in ("The answer is in", "See")),
    ]
    sentences += [sentence.replace(" 5.", " x = 5.") for sentence in sentences]
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        verdicts = verifier.verify_many([("5", sentence, "math") for sentence in sentences])
    assert [s for s, verdict in zip(sentences, verdicts, strict=True) if verdict.correct] == []
