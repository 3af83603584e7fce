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
    assert len(rows()) > 1_100
    assert judged == []
