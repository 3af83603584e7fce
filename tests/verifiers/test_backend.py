"""`verifier.backend=math_verify`: the library's own verdicts, behind the same guard."""

from __future__ import annotations

import pytest
import sympy

from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.worker import arithmetic


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0, backend="math_verify")) as verifier:
        yield verifier


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("18", "She makes $18.", VerdictKind.CORRECT),
        (r"\frac{1}{2}", r"So it is $\boxed{\frac{2}{4}}$.", VerdictKind.CORRECT),
        ("1/2", "The answer is 2/4", VerdictKind.CORRECT),
        ("18", "The answer is 17", VerdictKind.INCORRECT),
        ("18", "I do not know.", VerdictKind.NO_ANSWER),
        # The library rounds to zero and this project's rules do not: the verdict is its own.
        (r"\frac{1}{2^{60}}", r"$\boxed{\frac{1}{2^{59}}}$", VerdictKind.CORRECT),
    ],
)
def test_the_verdict_is_the_librarys(verifier, reference, prediction, expected):
    verdict = verifier.verify_one(reference, prediction)
    assert verdict.kind is expected, verdict
    assert "math-verify" in verdict.reason


@pytest.mark.parametrize("payload", ["9**9**9**9", "5\0", "{" * 1_000, "__import__('os').system('true')"])
def test_the_guard_is_the_same(verifier, payload):
    verdict = verifier.verify_one("5", payload)
    assert verdict.kind is VerdictKind.INCORRECT
    assert "refused" in verdict.reason


def test_other_families_keep_their_rules(verifier):
    assert verifier.verify_one("B", "The answer is (B).", "choice").correct


def test_text_is_read_as_arithmetic_and_never_evaluated():
    assert arithmetic("1/2+3*x") == sympy.Rational(1, 2) + 3 * sympy.Symbol("x")
    assert arithmetic("-2**3") == -8
    for text in ("open('x')", "x.y", "9**9**9", "[1]", "lambda: 1", "1 if x else 2", "'a'", "(", "True"):
        with pytest.raises(ValueError, match="only arithmetic"):
            arithmetic(text)
