"""Properties over generated answers: formats of one number agree, others never do, and nothing raises."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.equivalence import compare_math
from dast_jax.verifiers.extract import extract_math
from dast_jax.verifiers.guard import refuse_answer, refuse_text
from dast_jax.verifiers.normalize import clean, parse_number, text_key

settings.register_profile("loaded", deadline=None)  # a busy machine is no failure
settings.load_profile("loaded")

integers = st.integers(-(10**12), 10**12)
decimals = st.decimals(-(10**6), 10**6, places=3)


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as verifier:
        yield verifier


def spellings(n: int) -> list[str]:
    sign = "-" if n < 0 else ""
    return [
        str(n),
        f"{n:,}",
        f"{n}.0",
        f"{n:,}.00",
        f"{sign}${abs(n):,}",
        f"\\${n}",
        f"{n:,} apples",
        f"{n}\\text{{ cm}}",
        f"${n}$",
        f"\\frac{{{n}}}{{1}}",
        f"{2 * n}/2",
        f"{n:,}".replace(",", "{,}"),
        f"\\left({n}\\right)",
    ]


@given(integers)
def test_spellings_of_an_integer_agree(n):
    assert {parse_number(clean(text)).value for text in spellings(n)} == {Fraction(n)}


@given(
    integers, st.sampled_from(["{}", "\\boxed{{{}}}", "so\n#### {}", "Thus the answer is {}.", "We get {}."])
)
def test_spellings_are_found_in_responses(n, wrap):
    with Verifier() as verifier:
        for text in spellings(n):
            assert verifier.verify_one(str(n), wrap.format(text)).correct, text


@given(integers, integers)
def test_other_integers_are_never_correct(a, b):
    for text in spellings(b):
        assert compare_math(str(a), text).equal is (a == b)


@given(decimals, decimals)
def test_decimals_compare_exactly(a: Decimal, b: Decimal):
    assert compare_math(f"{a}", f"{b:f}").equal is (a == b)
    assert compare_math(f"{a}", f"{a:f}000").equal


@given(st.integers(-999, 999), st.integers(1, 99), st.integers(-999, 999), st.integers(1, 99))
def test_fractions_compare_exactly(a, b, c, d):
    same = Fraction(a, b) == Fraction(c, d)
    assert compare_math(f"{a}/{b}", f"\\frac{{{c}}}{{{d}}}").equal is same
    assert compare_math(f"\\dfrac{{{a}}}{{{b}}}", f"{c}/{d}").equal is same


@given(st.integers(1, 99), st.integers(1, 99), st.integers(2, 99))
def test_mixed_numbers_are_sums(whole, top, bottom):
    value = whole + Fraction(top, bottom)
    for text in (f"{whole} {top}/{bottom}", f"{whole}\\frac{{{top}}}{{{bottom}}}"):
        assert parse_number(clean(text)).value == value
        assert parse_number(clean("-" + text)).value == -value


@given(integers, st.integers(1, 999))
def test_digits_are_never_joined_or_split(n, m):
    for text in (f"{n}_{m}", f"{n}:{m}", f"({n},{m})", f"{n}; {m}"):
        compared = compare_math(str(n), text)
        assert compared is None or not compared.equal
        compared = compare_math(f"{n}{m}", text)
        assert compared is None or not compared.equal


@settings(max_examples=300)
@given(st.text(max_size=300) | st.text("0123456789.,-+*/^_{}()[]\\$%! abcx=:\n#", max_size=200))
def test_nothing_raises_on_any_text(text):
    options = VerifierOptions()
    refuse_text(text, options)
    refuse_answer(text, options)
    answer = extract_math(text).answer
    for other in ("5", r"\frac{1}{2}", "none", "(1,2)", text):
        compare_math(other, answer or text)
        compare_math(answer or text, other)
    text_key(text)


@settings(max_examples=40, deadline=None)
@given(st.text("0123456789.,-+*/^_{}()[]\\$%! abcx=:fracsqrt", max_size=60))
def test_the_verifier_gives_some_verdict_on_any_text(verifier, text):
    verdict = verifier.verify_one("x+1", text)
    assert verdict.kind in VerdictKind
    assert verifier.verify_one("18", "#### 18").correct


@given(integers)
def test_an_answer_equals_itself_whatever_surrounds_it(n):
    for body in (
        f"First {n + 1}, then {n + 2}.\n#### {n}",
        f"From {n + 1}: \\boxed{{{n}}}",
        f"From {n + 1} we go on.\nSo it is {n}.",
    ):
        assert extract_math(body).answer == str(n)
