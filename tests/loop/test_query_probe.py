"""The probe's numbers, on made-up trials counted by hand, and which queries and exemplars it takes."""

import numpy as np
import pytest

from dast_jax.inference.evaluation import Outcome
from dast_jax.loop.query_probe import Probed, choose, probe_counts, probe_result
from dast_jax.records import FinishReason, Pool, Query, Rollout, SamplingStats, Verdict, VerdictKind


def pool_of(n, solved=None):
    return Pool(
        tuple(
            Query(id=f"q{i}", question=f"{i}?", answer="1", solution=f"s{i}" if has else None)
            for i, has in enumerate(solved or [True] * n)
        )
    )


def outcome(trials, *, lengths=1, entropy=0.5, texts=None):
    """Trials by query, as strings of 0 and 1; trial t has the text `texts[query][t]`, or its number."""
    rollouts = tuple(
        tuple(
            Rollout(
                query=q,
                trial=t,
                kind=0,
                text=texts[q][t] if texts else str(t),
                tokens=(1,) * (lengths * (q + 1)),
                logprob=0.0,
                entropy=entropy * (t + 1),
                finish_reason=FinishReason.EOS,
            )
            for t in range(len(row))
        )
        for q, row in enumerate(trials)
    )
    kinds = {"1": VerdictKind.CORRECT, "0": VerdictKind.INCORRECT}
    return Outcome(
        queries=pool_of(len(trials)).queries,
        rollouts=rollouts,
        verdicts=tuple(tuple(Verdict(kinds[c]) for c in row) for row in trials),
        sampling=SamplingStats(trials=sum(map(len, trials))),
    )


def test_numbers_of_a_probe_by_hand():
    texts = [["a", "A ", "b", "c"], ["x", "y", "z", "z"]]
    zero = outcome(["1110", "0001"], lengths=5, texts=texts)
    found = probe_result(Probed(zero_shot=zero, few_shot=None), None).zero_shot
    assert (found.n, found.accuracy) == (2, 0.5)
    assert found.mean_length == 7.5
    # pass@2: 1 − C(1,2)/C(4,2) = 1 and 1 − C(3,2)/C(4,2) = 1/2.
    assert {k: score.accuracy for k, score in found.pass_at.items()} == {"1": 0.5, "2": 0.75, "4": 1.0}
    assert found.mean_entropy == pytest.approx(0.5 * (1 + 2 + 3 + 4) / 4)
    assert found.distinct_correct == 1.5  # "a" and "b"; "z"


def test_levels_and_queries_move_from_m_0_by_the_few_shot_trials():
    unused = outcome(["00000"] * 4)
    base = probe_counts(Probed(zero_shot=unused, few_shot=outcome(["11111", "10000", "00000", "10000"])))
    assert base.few_shot == (5, 1, 0, 1)
    after = Probed(zero_shot=unused, few_shot=outcome(["11100", "11110", "01000", "00000"]))
    found = probe_result(after, base)
    nothing = dict.fromkeys(("easy", "middle", "hard", "unsolved", "unknown"), 0)
    assert found.transitions == {
        "easy": nothing | {"middle": 1},
        "hard": nothing | {"easy": 1, "unsolved": 1},
        "unsolved": nothing | {"hard": 1},
    }
    assert (found.solved, found.lost) == (1, 1)
    assert after.cost.trials == 40


def test_four_trials_give_no_levels_but_solved_queries():
    base = probe_counts(Probed(zero_shot=outcome(["0000", "1000"]), few_shot=None))
    found = probe_result(Probed(zero_shot=outcome(["0001", "0000"]), few_shot=None), base)
    assert (found.transitions, found.solved, found.lost, found.few_shot) == ({}, 1, 1, None)
    first = probe_result(Probed(zero_shot=outcome(["0001"]), few_shot=None), None)
    assert (first.solved, first.lost) == (None, None)


def test_queries_and_exemplars_are_the_seeds_and_never_the_same():
    asked, exemplars = choose(pool_of(50), 20, seed=3)
    again = choose(pool_of(50), 20, seed=3)
    np.testing.assert_array_equal(asked, again[0])
    assert exemplars == again[1]
    assert (len(asked), len(set(asked)), len(set(exemplars))) == (20, 20, 4)
    assert not {f"{i}?" for i in asked} & {e.question for e in exemplars}
    assert not np.array_equal(asked, choose(pool_of(50), 20, seed=4)[0])


def test_without_enough_other_solutions_there_are_no_exemplars():
    assert choose(pool_of(10), 10, 0)[1] == ()
    asked, exemplars = choose(pool_of(10, solved=[False] * 7 + [True] * 3), 2, 0)
    assert (len(asked), exemplars) == (2, ())
