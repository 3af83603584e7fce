import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.estimators.steps import chain_of, normalize_text, without_repeated_answers


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("48/2 = <<48/2=24>>24 clips in May.\n48 + 24 = $72.00 altogether\n#### 72", "48/2=24 48+24=72"),
        ("1. She sold **48**/2 = 24.\nStep 2: 48+24 = 72. The answer is 72.", "48/2=24 48+24=72"),
        ("- 5 apples × 3 kids = 15 apples", "5*3=15"),
        ("so 3 x 4 equals 12, and 2 * 6 is 12 too", "3*4 12 2*6 12"),
        ("left (70+4)+4 = 74+4 = 78", "70+4+4=74+4=78"),
        ("1,250.50 + .5 = 1,251.00", "1250.5+0.5=1251"),
        (r"\frac{3}{4} \times 8 = 6, so \boxed{6}", "3/4*8=6"),
        ("2x + 3 = 7, hence x = 2", "2x+3=7 x=2"),
        ("it is -5, so 3 − 5 = −2", "-5 3-5=-2"),
        ("a 20-year-old has a well-known car; km/h, e.g. x-axis and/or", "20"),
        ("half of it", ""),
        ("The answer is (B).", ""),
        ("", ""),
    ],
)
def test_the_numbers_and_operators_in_order(text, chain):
    assert chain_of(text) == chain


STATED = ["\n#### {}", " The answer is {}.", "\nSo the answer: {}", r" \boxed{{{}}}", "\n<answer>{}</answer>"]


@settings(deadline=None)
@given(
    st.sampled_from(["27+43 = {}", "3 - 5 - 7 = {}", "so {}", "half of 7, that is {}", "x = {}"]),
    st.sampled_from(["70", "-9", "1,250", "0.5", "3/4", "$18.00"]),
    st.lists(st.sampled_from(STATED), min_size=1, max_size=4),
)
def test_stating_the_answer_again_is_no_step(solution, answer, endings):
    solution = solution.format(answer)
    once = chain_of(solution + endings[0].format(answer))
    assert once == chain_of(solution)
    assert chain_of(solution + "".join(ending.format(answer) for ending in endings)) == once
    assert chain_of(solution + " + 1" + endings[0].format(answer)) != once


def test_an_equation_in_between_is_a_step():
    assert chain_of("27+43=70\n#### 70") != chain_of("43+27=70\n#### 70")
    assert chain_of("27+43=70, 70-0=70\n#### 70") != chain_of("27+43=70\n#### 70")


def test_an_answer_line_said_twice_is_not_new_text():
    once = "Because of rain.\nThe answer is yes."
    for again in (f"{once}\nThe answer is YES", f"{once} The answer is yes.\n The  answer is yes."):
        assert without_repeated_answers(again) == without_repeated_answers(once) == normalize_text(once)
    for other in (f"{once} The answer is no.", f"Because of rain. {once}", "The answer is yes."):
        assert without_repeated_answers(other) != without_repeated_answers(once)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_a_chain(text):
    chain = chain_of(text)
    assert chain_of(text + "\n") == chain
    assert chain_of(f"  {text}") == chain or "." in text or ")" in text or ":" in text
