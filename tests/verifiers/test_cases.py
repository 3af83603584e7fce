"""Labelled answers of `cases.jsonl`, most of which some version of this verifier or another misjudged.

`expect` is a verdict, several joined by `|`, or `not correct`. No row may be judged correct that should not
be; of the others a few are not read, and listed here with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dast_jax.verifiers import Verifier, VerifierOptions

ROWS = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
NOT_READ = {
    # An intermediate result is written like this too, and the sentence after it has another quantity.
    "The result is 42. There were 3 steps.",
    # Two letters are a word (`no`, `on`), which equals no other word.
    "\\boxed{ba}",
}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind'] or 'other'}: {row['prediction'][:40]!r}")
def test_case(verifier, row):
    verdict = verifier.verify_one(row["reference"], row["prediction"], row.get("task") or "math")
    if row["expect"] == "not correct" or row["prediction"] in NOT_READ:
        assert not verdict.correct, verdict
    else:
        assert verdict.kind.value in row["expect"].split("|"), verdict


def test_at_least_95_percent_agree():
    assert len(NOT_READ) <= 0.05 * len(ROWS)
