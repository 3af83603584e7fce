"""What a round did for the queries, on made-up rounds whose numbers are counted by hand."""

import dataclasses

import numpy as np
import pytest

from dast_jax.loop.analysis import analyze
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set, text_set, union
from dast_jax.records import (
    FinishReason,
    Pool,
    PromptKind,
    Query,
    Responses,
    Rollout,
    TrainingSet,
    Verdict,
    VerdictKind,
)
from dast_jax.store.analysis_results import LevelProgress, OriginCount, StepCounts

FEW, HINT, ZERO = PromptKind.FEW_SHOT, PromptKind.RATIONALIZED, PromptKind.ZERO_SHOT


def pool_of(n, questions=None, labels=None):
    return Pool(
        tuple(
            Query(
                id=f"q{i}",
                question=questions[i] if questions else f"{i}?",
                answer="1",
                solution=f"s{i}",
                level=labels[i] if labels else None,
            )
            for i in range(n)
        )
    )


def round_of(number, outcomes, *, kind=FEW, first=0, text="a"):
    """Responses of a round: query → string of 0 and 1, one a trial."""
    rows = [(q, t + first, c == "1") for q, row in outcomes.items() for t, c in enumerate(row)]
    rollouts = [
        Rollout(
            query=q,
            trial=t,
            kind=kind,
            text=text if isinstance(text, str) else text[q][t - first],
            tokens=(1,),
            logprob=0.0,
            entropy=0.5,
            finish_reason=FinishReason.EOS,
        )
        for q, t, _ in rows
    ]
    verdicts = [Verdict(VerdictKind.CORRECT if c else VerdictKind.INCORRECT) for *_, c in rows]
    return Responses.of(number, rollouts, verdicts)


def correct_set(responses):
    return text_set(responses, np.flatnonzero(responses.correct))


NOTHING = TrainingSet(query=np.zeros(0, np.int32), text=np.zeros(0, object), is_reference=np.zeros(0, bool))


def test_reach_by_level_over_three_rounds():
    """Queries 0 easy, 1 hard, 2 and 3 unsolved by the method; 2 is solved in round 1, 3 with a hint only."""
    pool, levels = pool_of(4), np.array([0, 2, 3, 3], np.int8)
    tables = []
    first = round_of(0, {0: "11111", 1: "00100", 2: "00000", 3: "00000"})
    table, zero = analyze(pool, tables, first, reference_set(pool), levels)
    tables.append(table)
    own = round_of(1, {1: "000", 2: "0110"})
    table, one = analyze(pool, tables, own, union(reference_set(pool), correct_set(own)), levels)
    tables.append(table)
    own = Responses.concatenate([round_of(2, {1: "1", 2: "1"}), round_of(2, {3: "01"}, kind=HINT)])
    table, two = analyze(pool, tables, own, correct_set(own), levels)

    def reach(queries, sampled, solved, newly_solved, covered, covered_so_far, rows):
        values = (queries, sampled, solved, newly_solved, covered, covered_so_far, rows)
        names = [f.name for f in dataclasses.fields(LevelProgress)]
        return LevelProgress(**dict(zip(names, values, strict=True)))

    assert zero.levels_from == one.levels_from == "method"
    assert zero.progress == {
        "easy": reach(1, 1, 1, 1, 0, 0, 1),
        "hard": reach(1, 1, 1, 1, 0, 0, 1),
        "unsolved": reach(2, 2, 0, 0, 0, 0, 2),
    }
    assert one.progress == {
        "easy": reach(1, 0, 1, 0, 0, 0, 1),
        "hard": reach(1, 1, 1, 0, 0, 0, 1),
        "unsolved": reach(2, 1, 1, 1, 1, 1, 4),
    }
    assert two.progress == {
        "easy": reach(1, 0, 1, 0, 0, 0, 0),
        "hard": reach(1, 1, 1, 0, 1, 1, 1),
        "unsolved": reach(2, 2, 1, 0, 2, 2, 2),
    }
    # Hard query 1 was solved by M_0 itself, in the round of its level: nothing that training has bought.
    assert [a.newly_solved_hard for a in (zero, one, two)] == [0, 1, 0]
    # Rows: query 0 two, 1 two and one, 2 two, two more and one, 3 two and one.
    assert zero.frequency == {"0": 0, "1": 4}
    assert one.frequency == {"0": 0, "1": 0, "2": 3, "3-4": 1}
    assert two.frequency == {"0": 0, "1": 0, "2": 1, "3-4": 2, "5-8": 1}


def test_transitions_by_the_rounds_own_plain_trials():
    pool, levels = pool_of(4), np.array([0, 2, 3, 3], np.int8)
    table, zero = analyze(pool, [], round_of(0, {0: "11111", 1: "00100"}), NOTHING, levels)
    own = Responses.concatenate(
        [round_of(1, {0: "10101", 1: "1111", 2: "00001"}), round_of(1, {1: "1"}, kind=HINT, first=4)]
    )
    _, one = analyze(pool, [table], own, NOTHING, levels)
    assert zero.transitions == {}
    nothing = dict.fromkeys(("easy", "middle", "hard", "unsolved", "unknown"), 0)
    assert one.transitions == {
        "easy": nothing | {"middle": 1},
        "hard": nothing | {"unknown": 1},  # four plain trials
        "unsolved": nothing | {"hard": 1, "unknown": 1},
    }


def test_levels_of_a_method_without_any_come_from_the_first_trials():
    """Query 0 has five trials after round 1, query 1 after round 2; later trials change no level."""
    pool, tables, found = pool_of(3), [], []
    for number, outcomes in enumerate([{0: "00", 1: "1"}, {0: "001", 1: "11"}, {0: "11111", 1: "11"}]):
        table, analysis = analyze(pool, tables, round_of(number, outcomes), NOTHING, None)
        tables.append(table)
        found.append(analysis)
    assert [a.levels_from for a in found] == ["none", "trials", "trials"]
    assert [{name: p.queries for name, p in a.progress.items()} for a in found] == [
        {"unknown": 3},
        {"hard": 1, "unknown": 2},
        {"easy": 1, "hard": 1, "unknown": 1},
    ]
    assert [a.newly_solved_hard for a in found] == [0, 0, 0]  # it was solved as its level became known
    assert found[2].transitions["hard"]["easy"] == 1


def test_reliability_where_the_levels_are_estimated_and_nowhere_else():
    pool, levels = pool_of(2), np.array([0, 3], np.int8)
    own = round_of(0, {0: "1111", 1: "0010"})
    table, zero = analyze(pool, [], own, NOTHING, levels)
    assert (zero.reliability.trials, zero.reliability.same_level) == (2, 0.5)
    again = round_of(1, {0: "1111", 1: "0000"})
    assert analyze(pool, [table], again, NOTHING, levels)[1].reliability is None
    assert analyze(pool, [table], again, NOTHING, np.array([0, 2], np.int8))[1].reliability is not None
    assert analyze(pool, [], own, NOTHING, levels, by_pass_rate=False)[1].reliability is None
    assert analyze(pool, [], round_of(0, {0: "1", 1: "0"}), NOTHING, levels)[1].reliability is None


def test_origins_of_examples_and_of_pairs():
    pool = pool_of(2)
    earlier, own = round_of(0, {0: "1"}), round_of(2, {0: "11", 1: "1"}, kind=ZERO, first=1)
    both = Responses.concatenate([earlier, own])
    _, found = analyze(pool, [], own, union(reference_set(pool), correct_set(both)), None)
    assert found.origin == (
        OriginCount(part="example", policy=None, prompt="reference", rows=2),
        OriginCount(part="example", policy="M_0", prompt="few_shot", rows=1),
        OriginCount(part="example", policy="M_2", prompt="zero_shot", rows=3),
    )
    mixed = round_of(1, {0: "10"}, text={0: ["good", "bad"]})
    pairs = draw_pairs(*candidates(mixed, 2, [0]), np.array([1, 1]))
    _, found = analyze(pool, [], mixed, pairs, None)
    assert found.origin == (
        OriginCount(part="chosen", policy="M_1", prompt="few_shot", rows=1),
        OriginCount(part="rejected", policy="M_1", prompt="few_shot", rows=1),
    )
    silent = dataclasses.replace(correct_set(own), origin=None)
    (count,) = analyze(pool, [], own, silent, None)[1].origin
    assert count == OriginCount(part="example", policy=None, prompt=None, rows=3)


def test_false_positives_by_level():
    """Only correct responses to arithmetic questions count; those without readable steps are not checked."""
    questions = ["((7+12)*3)-5=?", "(2+3)*4=?", "How many?"]
    text = {
        0: ["57, 52", "58, 52", "(19*3-5, 52", "#### 52", "58, 53"],
        1: ["5*4 = 20", "(20) = 5*4 = 20"],
        2: ["58, 52"],
    }
    own = round_of(0, {0: "11110", 1: "11", 2: "1"}, text=text)
    _, found = analyze(pool_of(3, questions), [], own, NOTHING, np.array([2, -1, 0], np.int8))
    assert found.steps == {
        "hard": StepCounts(correct=4, checked=2, false_positives=1, unreadable=1),
        "unknown": StepCounts(correct=2, checked=2, false_positives=0, unreadable=0),
    }


def test_refused_responses_are_those_with_the_right_answer():
    """Their verdict is incorrect; a wrong answer was not refused, and `ignore` counts nothing."""
    pool = pool_of(2, ["((7+12)*3)-5=?", "How many?"])
    text = {0: ["57, 52", "58, 52", "58, 53"], 1: ["58, 52"]}
    own = round_of(0, {0: "100", 1: "0"}, text=text)
    extracted = np.array(["52", "52", "53", "52"], object)
    own = dataclasses.replace(own, extracted=extracted)
    levels = np.array([2, 0], np.int8)
    _, found = analyze(pool, [], own, NOTHING, levels, steps="refuse")
    assert found.steps == {
        "hard": StepCounts(correct=1, checked=1, false_positives=0, unreadable=0, refused=1)
    }
    _, found = analyze(pool, [], own, NOTHING, levels, steps="count")
    assert found.steps == {"hard": StepCounts(correct=1, checked=1, false_positives=0, unreadable=0)}
    assert analyze(pool, [], own, NOTHING, levels, steps="ignore")[1].steps == {}


@pytest.mark.parametrize("kinds", [2, 12, 13])
def test_reach_by_the_datas_own_labels(kinds):
    labels = [str(i % kinds) for i in range(26)]
    _, found = analyze(pool_of(26, labels=labels), [], round_of(0, {0: "1"}), NOTHING, None)
    assert len(found.by_label) == (0 if kinds == 13 else kinds)
    if found.by_label:
        assert found.by_label["0"].solved == 1
        assert found.by_label["1"].solved == 0


def test_a_round_without_responses():
    _, found = analyze(pool_of(2), [], Responses.none(), reference_set(pool_of(2)), None)
    assert (found.levels_from, found.reliability, found.transitions, found.steps) == ("none", None, {}, {})
    assert found.progress["unknown"].rows == 2
