"""Solutions that box each of several answers, as some of MATH's do."""

from __future__ import annotations

import pytest

from dast_jax.verifiers import Verifier
from dast_jax.verifiers.options import VerifierOptions


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("reference", "response", "kind"),
    [
        ("-2, 1", r"So $x=\boxed{-2}$ or $x=\boxed{1}$.", "correct"),
        ("1, -2", r"So $x=\boxed{-2}$ or $x=\boxed{1}$.", "correct"),
        ("-2, 1", r"$x=\boxed{-2}$ or $x=\boxed{1}$, that is, \boxed{-2} and \boxed{1}.", "correct"),
        ("2,3", r"\boxed{2} \boxed{3} \boxed{4}", "incorrect"),
        ("2,3", r"\boxed{2} \boxed{4}", "incorrect"),
        ("2,3", r"\boxed{2}", "incorrect"),
        ("2,3", r"It is not \boxed{2}, it is \boxed{3}", "incorrect"),
        ("2,3", r"\boxed{2}? Wait, it is \boxed{3}", "incorrect"),
        ("(2,3)", r"\boxed{2} \boxed{3}", "incorrect"),
        ("1,000", r"\boxed{1} \boxed{000}", "incorrect"),
        ("1,000", r"\boxed{1} \boxed{1000}", "correct"),
    ],
)
def test_boxes_of_one_item_each_are_a_list(verifier, reference, response, kind):
    (verdict,) = verifier.verify_many([(reference, response)])
    assert verdict.kind == kind, verdict
