"""What is denied, refuted or taken back, and where sentences end."""

from __future__ import annotations

import pytest

from dast_jax.verifiers.denial import DENIED_AFTER, denied, refutes, retracts
from dast_jax.verifiers.sentences import first_sentence, sentences, with_words


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("", False),
        ("\n\nI hope this helps!", False),
        (". No other option fits.", False),
        (". Waiting times do not matter.", False),
        (". We do not need more.", False),
        (". Wait, that is 6.", True),
        (". No, 6.", True),
        (". Let me reconsider.", True),
        (". Let me know if you have questions.", False),
        (". Let me\nrecheck.", True),
        ("\n\nOn second thought, C.", True),
        (". My calculation was wrong.", True),
        (". Or is it C?", True),
        (". 等等, 我算错了. ", True),
        (". 因为A不对. ", False),
        (". " + "I go through the steps again. " * 200 + "Wait, I made a mistake.", True),
        (". " + "I go through the steps again. " * 200, False),
    ],
)
def test_what_follows_an_answer_takes_it_back(after, expected):
    assert retracts(after) is expected


@pytest.mark.parametrize("after", [". This is wrong.", "\nIt is not true that birds swim."])
def test_a_refutation_takes_back_any_answer_but_no(after):
    assert retracts(after)
    assert not retracts(after, of_no=True)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("it is not ", True),
        ("not really equal to ", True),
        ("not x = ", True),
        ("it isn't option (", True),
        ("anything but ", True),
        ("rather than ", True),
        ("not 4 but ", False),
        ("No: ", False),
        ("another ", False),
        ("the answer is ", False),
    ],
)
def test_denied(before, expected):
    assert denied(before) is expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (") is wrong", True),
        (" apples is not the answer", True),
        (", of course, is wrong", True),
        (": no", True),
        (" (incorrect)", True),
        (" students are not on the team", False),
        (" (not 6)", False),
        (" is the answer", False),
    ],
)
def test_denied_after(after, expected):
    assert (DENIED_AFTER.match(after) is not None) is expected


def test_refutes():
    assert refutes("So 5 is too large.")
    assert not refutes("So 5 is large.")


def test_where_sentences_end():
    assert first_sentence("No. 5 is it. B") == ("No. 5 is it", ". B")
    assert first_sentence("B. palms. C") == ("B", ". palms. C")
    assert first_sentence("B. palms. C", label=True) == ("B. palms", ". C")
    assert sentences("A. palms, e.g. 5. So what?\nYes") == ["A. palms, e.g. 5.", "So what?", "Yes"]
    assert with_words(r"\text{not} 5") == " not  5"
