"""Responses that do not stop: they go on to another problem, or repeat themselves to the limit."""

from __future__ import annotations

import pytest

from dast_jax.verifiers.response import runs_away


@pytest.mark.parametrize(
    ("text", "truncated", "expected"),
    [
        ("1+1=2\n#### 2", False, False),
        ("1+1=2\n#### 2\n\nQ: 3+4=?\nA: 7", False, True),
        ("1+1=2\n#### 2\n\nProblem: Ann has 3 apples.", True, True),
        ("so " + "2+2=4, " * 20, True, True),
        ("so " + "2+2=4, " * 20, False, False),  # it stopped by itself
        ("I think " + "ha" * 30, True, True),
        ("the end is " + "0" * 39, True, False),  # a long number, or a line, may be meant
        ("Step 1: 1+1=2. Step 2: 2+2=4. Step 3: 3+3=6. Step 4: 4+4=8. Step 5: 5+5=10.", True, False),
        ("a b c " * 19 + "a b", True, True),  # cut within the piece
        ("", True, False),
        ("aaaa", True, False),
    ],
)
def test_what_runs_away(text: str, truncated: bool, expected: bool) -> None:
    assert runs_away(text, truncated=truncated) is expected
