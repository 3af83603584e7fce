"""Every task family's own extraction and verdicts, tolerances, and custom verifiers."""

from __future__ import annotations

import logging
import sys
import textwrap

import pytest

from dast_jax.errors import UserError
from dast_jax.options import build, describe
from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.families import FAMILIES, read_task

CORRECT, INCORRECT, NO_ANSWER = VerdictKind.CORRECT, VerdictKind.INCORRECT, VerdictKind.NO_ANSWER

CHOICE = [
    ("B", "B", CORRECT),
    ("B", "b", CORRECT),
    ("B", "(B)", CORRECT),
    ("B", "B.", CORRECT),
    ("B", "B) wet palms", CORRECT),
    ("B", "**B**", CORRECT),
    ("B", "The answer is B.", CORRECT),
    ("B", "The answer is (B) wet palms.", CORRECT),
    ("B", "The answer is B) wet palms, as water conducts heat.", CORRECT),
    ("B", "The answer is wet palms (B).", CORRECT),
    ("B", "The correct option is B because A is too dry.", CORRECT),
    ("B", "**Answer:** B", CORRECT),
    ("B", r"So \boxed{\text{B}}.", CORRECT),
    ("B", r"\boxed{(B)}", CORRECT),
    ("B", "A planet spins.\n#### B", CORRECT),
    ("B", "(A) is too dry, (C) too oily.\nSo (B) is right.", CORRECT),
    ("B", "I would choose option B", CORRECT),
    ("B", "Dry palms rub best, and so on.\nB", CORRECT),
    ("B", "The answer is not (A) but (B).", CORRECT),
    ("B", "The right one is (B). It cannot be that it is not (A).", CORRECT),
    ("B", "The answer is A.", INCORRECT),
    ("A", "The answer is B, not A.", INCORRECT),
    ("A", "The answer is A or B.", INCORRECT),
    ("B", "The answer is A or B.", INCORRECT),
    ("B", "It may be (A) or (B)", NO_ANSWER),
    ("A", "The answer is (A) and (C)", INCORRECT),
    ("A", "A planet spins faster and so the day is shorter", NO_ANSWER),
    ("A", "The answer is a planet", NO_ANSWER),
    ("A", "I do not know.", NO_ANSWER),
    ("A", "", NO_ANSWER),
    ("3", "The answer is 3.", CORRECT),
    ("3", "(3)", CORRECT),
    ("3", "3) the Moon", CORRECT),
    ("3", "The answer is 2.", INCORRECT),
    ("3", "The answer is C.", INCORRECT),
    ("3", "The answer is 3 apples", NO_ANSWER),
    ("A,C", "The answer is C and A", CORRECT),
]

YES_NO = [
    ("yes", "yes", CORRECT),
    ("yes", "Yes.", CORRECT),
    ("yes", "YES, because the effect is positive.", CORRECT),
    ("no", "So the answer is no.", CORRECT),
    ("no", "There is no effect of X on Y, so the answer is yes.", INCORRECT),
    ("no", "Yes, at first sight. But no, the path is blocked.", INCORRECT),
    ("no", "Let us see: there is a path. Thus, no.", CORRECT),
    ("yes", "the answer is true", CORRECT),
    ("yes", r"\boxed{\text{Yes}}", CORRECT),
    ("yes", "The answer is yes or no", INCORRECT),
    ("no", "The answer is yes or no", INCORRECT),
    ("no", "There is no effect of X on Y", NO_ANSWER),
    ("yes", "It yields 0.5 > 0.", NO_ANSWER),
    ("no", "The answer is No, it is not true that X causes Y.", CORRECT),
]

BOOL = [
    ("True", "true", CORRECT),
    ("True", "The answer is True.", CORRECT),
    ("False", "So the statement is not true.", CORRECT),
    ("False", "False, since the converse is true.", CORRECT),
    ("True", "It is false that it fails, hence the claim is true.", CORRECT),
    ("False", "The claim isn't true.", CORRECT),
    ("True", "yes", CORRECT),
    ("False", "The answer is that it is not true", CORRECT),
    ("False", "True", INCORRECT),
    ("True", "The answer is true or false", INCORRECT),
    ("True", "We cannot say.", NO_ANSWER),
]

LABEL = [
    ("entailment", "entailment", CORRECT),
    ("entailment", "Entailment.", CORRECT),
    ("entailment", "The answer is entailment.", CORRECT),
    ("entailment", "The premise entails the hypothesis.", CORRECT),
    ("contradiction", "So the label is contradiction, not neutral.", CORRECT),
    ("contradiction", "The text contradicts it.", CORRECT),
    ("neutral", "It is not a contradiction. It is neutral.", CORRECT),
    ("neutral", "The answer is contradiction.", INCORRECT),
    ("neutral", "The answer is neutral or entailment.", INCORRECT),
    ("neutral", "The text says nothing of it at all, so who knows.", NO_ANSWER),
    ("positive", "positive", CORRECT),
    ("positive", "The label is positive.", CORRECT),
    ("positive", "negative", INCORRECT),
    ("very positive", "The answer is Very Positive.", CORRECT),
]

LIST = [
    ("[1, 2, 3]", "[1, 2, 3]", CORRECT),
    ("[1, 2, 3]", "The answer is [1, 2, 3].", CORRECT),
    ("[1, 2, 3]", r"\boxed{(1,2,3)}", CORRECT),
    ("[1, 2, 3]", "The numbers are 1, 2 and 3.", CORRECT),
    ("[1, 2, 3]", "We try [3, 2, 1] first, but it is [1, 2, 3] in the end.", CORRECT),
    ("[0.5, 2]", "The answer is [1/2, 2.0].", CORRECT),
    ("[1, 2, 3]", "[3, 2, 1]", INCORRECT),
    ("[1, 2, 3]", "[1, 2]", INCORRECT),
    ("[1, 2, 3]", "[1, 2, 4]", INCORRECT),
    ("[1, 2, 3]", "No list at all, I fear.", NO_ANSWER),
    ("[5]", "The answer is 5.", CORRECT),
    (r"[\sqrt{2}, 1]", r"\boxed{[2^{1/2}, 1]}", CORRECT),
    (r"[\sqrt{2}, 1]", r"\boxed{[2^{1/3}, 1]}", INCORRECT),
    ("['a', 'b']", "[a, b]", CORRECT),
]

TOLERANCE = [
    ("math~0.04", "0.4", "0.41", CORRECT),
    ("math~0.04", "0.4", "0.42", INCORRECT),
    ("math~0.04", "1.414", r"\boxed{\sqrt{2}}", CORRECT),
    ("math~0.04", "1.5", r"\boxed{\sqrt{2}}", INCORRECT),
    ("math~0.04", "-100", "-103", CORRECT),
    ("math+-0.1", "2", "2.1", CORRECT),
    ("math±0.1", "2", "2.11", INCORRECT),
    ("number~1e-2", "1000", "1010", CORRECT),
    ("number", "1000", "1001", INCORRECT),
    ("list~0.04", "[1, 2]", "[1.01, 1.99]", CORRECT),
    ("list~0.04", "[1, 2]", "[1.01, 2.99]", INCORRECT),
]

CASES = [
    (task, *row)
    for task, rows in (
        ("choice", CHOICE),
        ("yes_no", YES_NO),
        ("bool", BOOL),
        ("label", LABEL),
        ("list", LIST),
    )
    for row in rows
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


@pytest.mark.parametrize(("task", "reference", "prediction", "expected"), CASES + TOLERANCE)
def test_verdict(verifier, task, reference, prediction, expected):
    verdict = verifier.verify_one(reference, prediction, task)
    assert verdict.kind is expected, verdict
    assert verdict.reason


HOSTILE = [
    "__import__('os').system('true')",
    "9**9**9**9",
    "{" * 10_000,
    "x" * 1_000_000,
    "A\0B",
    "(" * 150 + "A" + ")" * 150,
    "answer is " * 20_000,
    "(A) or " * 20_000,
    "yes no " * 20_000,
    "not " * 20_000 + "neutral",
    "[1," * 60_000,
    "1, " * 60_000,
    "#### " * 30_000,
    r"\boxed{" * 20_000,
]


@pytest.mark.parametrize("task", FAMILIES)
def test_hostile_predictions_are_never_correct(verifier, task):
    for reference in ("yes", "[1, 2]", "neutral", "True", "C"):
        for prediction in HOSTILE:
            assert not verifier.verify_one(reference, prediction, task).correct


def test_order_of_lists_and_labels_are_choices():
    with Verifier(VerifierOptions(list_order=False, labels=("good", "bad"))) as verifier:
        assert verifier.verify_one("[1, 2, 2]", "[2, 1, 2]", "list").correct
        assert not verifier.verify_one("[1, 2, 2]", "[2, 1, 1]", "list").correct
        assert verifier.verify_one("bad", "This film was bad in every way. Not good at all!", "label").correct


@pytest.mark.parametrize("task", ["chioce", "math~", "math~x", "choice~0.1", "mod:", ":f", "", "a b:c"])
def test_unknown_tasks_are_reported_in_a_sentence(task):
    with pytest.raises(UserError) as error:
        read_task(task)
    assert "\n" not in str(error.value)
    assert repr(task) in str(error.value)


# --- a verifier of one's own ---

OWN = """
    import time
    from dast_jax.records import Verdict, VerdictKind

    def same(reference, prediction):
        return reference[::-1] == prediction

    def verdict(reference, prediction):
        return Verdict(VerdictKind.NO_ANSWER, prediction[:3], "my own reason")

    def raises(reference, prediction):
        raise ValueError("two\\nlines")

    def wrong_type(reference, prediction):
        return "yes"

    def spins(reference, prediction):
        while prediction == "spin":
            pass
        return True

    def sleeps(reference, prediction):
        time.sleep(60 if prediction == "sleep" else 0)
        return True

    def prints(reference, prediction):
        print("noise")
        return True

    def eats(reference, prediction):
        return bool(bytearray(10**10)) if prediction == "eat" else True

    value = 3
"""


OWN_NAMES = ("same", "verdict", "prints", "spins", "sleeps", "eats", "raises")
OWN_BAD = {
    "absent": "no_such_module_here:f",
    "broken": "own_broken:f",
    "missing": "own_checks:missing",
    "value": "own_checks:value",
    "wrong_type": "own_checks:wrong_type",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_checks.py").write_text(textwrap.dedent(OWN))
    (folder / "own_broken.py").write_text("import nothing_of_that_name\n")
    sys.path.insert(0, str(folder))
    options = VerifierOptions(
        workers=1,
        function_cpu_seconds=0.5,
        wall_seconds=2.0,
        functions={name: f"own_checks:{name}" for name in OWN_NAMES} | OWN_BAD,
    )
    with Verifier(options, task="own_checks:same") as verifier:
        yield verifier
    sys.path.remove(str(folder))


def test_own_function(own):
    assert own.verify_one("abc", "cba", "own_checks:same").kind is CORRECT
    assert own.verify_one("abc", "abc", "same").kind is INCORRECT
    assert own.verify_one("a", "b\0", "same").kind is INCORRECT
    verdict = own.verify_one("abc", "abcdef", "verdict")
    assert (verdict.kind, verdict.extracted, verdict.reason) == (NO_ANSWER, "abc", "my own reason")
    assert own.verify_one("a", "b", "prints").kind is CORRECT


def test_own_function_that_takes_too_long_is_killed_and_the_next_call_works(own):
    for name, bad in (("spins", "spin"), ("sleeps", "sleep"), ("eats", "eat")):
        verdict = own.verify_one("a", bad, name)
        assert verdict.kind is VerdictKind.TIMED_OUT, verdict
        assert ("twice" in verdict.reason) == (name == "sleeps"), verdict  # the backstop: no CPU time is used
        assert own.verify_one("a", "b", name).kind is CORRECT


def test_own_function_that_raises_is_incorrect_and_reported_once(own, caplog):
    with caplog.at_level(logging.WARNING, logger="dast_jax"):
        for _ in range(3):
            verdict = own.verify_one("a", "b", "raises")
    assert verdict.kind is INCORRECT
    assert verdict.reason == "the function raised ValueError: two lines"
    said = [r.message for r in caplog.records if "task raises (own_checks:raises): " in r.message]
    assert len(said) == 1
    assert "\n" not in said[0]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("absent", "no_such_module_here cannot be imported"),
        ("broken", "nothing_of_that_name"),
        ("missing", "has no function missing"),
        ("value", "has no function value"),
        ("wrong_type", "returned str"),
    ],
)
def test_own_function_that_cannot_be_used_is_one_sentence(own, task, message):
    with pytest.raises(UserError) as error:
        own.verify_one("a", "b", task)
    assert message in str(error.value)
    assert f"task {task} ({OWN_BAD[task]}): " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_function_that_the_config_does_not_name_is_not_called(own):
    for task in ("own_checks:prints", "os:getcwd", "prints:prints", "own_checks:same "):
        with pytest.raises(UserError, match="names code, and data may not"):
            own.verify_one("a", "b", task)


@pytest.mark.parametrize(
    "table", [{"math": "a:b"}, {"1st": "a:b"}, {"a b": "a:b"}, {"a:b": "a:b"}, {"mine": "a.b"}, {"mine": ""}]
)
def test_own_functions_are_named_like_no_family_and_written_as_functions(table):
    with pytest.raises(UserError, match="verifier: functions") as error:
        build(VerifierOptions, {"functions": table}, where="verifier")
    assert "\n" not in str(error.value)


def test_own_functions_change_results():
    changes = {info.key: info.changes_result for info in describe(VerifierOptions, where="verifier")}
    assert changes["verifier.functions"]
