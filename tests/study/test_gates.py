"""Each gate on numbers made by hand; measuring them is tested with the small study."""

from __future__ import annotations

import numpy as np
import pytest

from dast_jax.records import LEVELS
from dast_jax.store.analysis_results import LevelAccuracy, StepCounts
from dast_jax.study.gates import (
    agreement_gates,
    false_positive_gate,
    length_gate,
    level_gates,
    modes_gate,
    room_gate,
    spread_gate,
)

EASY, MIDDLE, HARD, UNSOLVED = range(len(LEVELS))


def of_level(accuracy: float, n: int) -> LevelAccuracy:
    return LevelAccuracy(accuracy=accuracy, interval=(0.0, 1.0), n=n, mean_length=9.0)


def test_the_length_of_the_set_that_differs_most():
    gate = length_gate("sft", {"a": 50.0, "b": 100.0}, {"a": 52.0, "b": 111.0})
    assert (gate.value, gate.passed) == (pytest.approx(11.0), False)
    assert "b: 100.0 to 111.0" in gate.note
    assert length_gate("sft", {"a": 50.0}, {"a": 45.5}).passed  # shorter counts as well
    assert not length_gate("sft", {"a": 50.0}, {"a": 44.5}).passed
    assert length_gate("rft", {}, {}).passed is None


def test_the_spread_of_five_seeds():
    close, apart = [0.60, 0.61, 0.62, 0.63, 0.64], [0.60, 0.61, 0.62, 0.63, 0.70]
    gate = spread_gate({"a": close, "b": apart})
    assert (gate.value, gate.passed) == (pytest.approx(100 * np.std(apart, ddof=1)), False)
    assert "a: 1.58 (60.0, " in gate.note
    assert "b: 3.96 (60.0, " in gate.note
    assert spread_gate({"a": close}).passed
    assert spread_gate({"a": close[:4]}).passed is None
    assert spread_gate({}).passed is None


def test_agreement_of_two_estimates():
    """κ of a table worked out by hand: p_o = 6/8, p_e = (2·3 + 2·2 + 2·1 + 2·2)/64 = 1/4, κ = 2/3."""
    a = np.array([EASY, EASY, MIDDLE, MIDDLE, HARD, HARD, UNSOLVED, UNSOLVED])
    b = np.array([EASY, EASY, MIDDLE, EASY, HARD, MIDDLE, UNSOLVED, UNSOLVED])
    kappa, again = agreement_gates(a, b, 16)
    assert (kappa.value, kappa.passed) == (pytest.approx(2 / 3), True)
    assert (again.value, again.passed) == (pytest.approx(200 / 3), True)  # one of two, and one of one
    kappa, again = agreement_gates(a, b[::-1], 16)
    assert (kappa.passed, again.value, again.passed) == (False, 0.0, False)
    kappa, again = agreement_gates(a[:2], a[:2], 16)
    assert (kappa.passed, again.passed) == (None, None)


def test_levels_of_the_pool():
    a = np.repeat([EASY, MIDDLE, HARD, UNSOLVED], [4, 3, 2, 1])
    b = np.repeat([EASY, MIDDLE, HARD, UNSOLVED], [4, 4, 1, 1])
    smallest, counts = level_gates(a, b, 16)
    assert (smallest.value, smallest.passed) == (pytest.approx(10.0), True)  # unsolved
    assert (counts.value, counts.passed, counts.note) == (3.0, True, "1, 2, 3 of 16")
    smallest, counts = level_gates(a[:9], b[:9], 8)
    assert (smallest.value, smallest.passed) == (0.0, False)
    assert (counts.value, counts.passed, counts.note) == (1.0, False, "1 of 8")
    assert level_gates(a, b, 4)[1].value == 0.0


@pytest.mark.parametrize(
    ("zero", "passed"), [(0.52, True), (0.48, True), (0.54, False), (0.46, False), (None, None)]
)
def test_pass_rates_of_the_two_modes(zero, passed):
    trials = np.arange(2000) % 2 == 0
    assert modes_gate(zero, 1024, trials, {}).passed is passed


def test_a_right_answer_by_a_wrong_step_counts_in_both_modes():
    """Evaluations do not look at steps: what rounds refuse for one is no difference between the modes."""
    trials = np.arange(100) < 40
    steps = {
        "easy": StepCounts(correct=35, checked=35, false_positives=0, unreadable=0, refused=4),
        "hard": StepCounts(correct=5, checked=5, false_positives=0, unreadable=0, refused=6),
    }
    gate = modes_gate(0.5, 1600, trials, steps)
    assert (gate.value, gate.passed) == (pytest.approx(0.0), True)
    assert "few-shot 50.0 % of 100; 10 of the few-shot answers were refused for a step" in gate.note
    assert modes_gate(0.5, 1600, trials, {}).value == pytest.approx(10.0)


def test_false_positives_of_all_rounds():
    rounds = [
        {"easy": StepCounts(correct=60, checked=50, false_positives=1, unreadable=1)},
        {"hard": StepCounts(correct=40, checked=30, false_positives=3, unreadable=2, refused=7)},
    ]
    gate = false_positive_gate(rounds, "count")
    assert (gate.value, gate.passed) == (pytest.approx(5.0), True)
    assert "refused" not in gate.note
    assert not false_positive_gate(rounds[1:], "count").passed
    clean = [{"hard": StepCounts(correct=40, checked=30, false_positives=0, unreadable=0, refused=7)}]
    gate = false_positive_gate(clean, "refuse")
    assert (gate.value, gate.passed) == (0.0, True)
    assert "7 more refused" in gate.note
    assert false_positive_gate([{}], "ignore").passed is None


def test_room_on_the_strata_that_the_base_model_does_not_solve():
    base = {"small": of_level(0.9, 50), "deep": of_level(0.2, 30), "large": of_level(0.4, 10)}
    last = {"small": of_level(0.9, 50), "deep": of_level(0.8, 30), "large": of_level(0.6, 10)}
    gate = room_gate(base, last, "in_domain")
    assert (gate.value, gate.passed) == (pytest.approx(25.0), True)  # 75 % of 40
    assert "deep, large" in gate.note
    assert not room_gate(base, {**last, "deep": of_level(0.95, 30)}, "in_domain").passed
    assert room_gate({"small": base["small"]}, last, "in_domain").passed is None
    assert room_gate({}, {}, "").passed is None
