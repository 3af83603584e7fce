from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.estimators.difficulty import (
    Cuts,
    TallyCounter,
    fail_rate,
    level_counts,
    level_shares,
    levels_from_counts,
    normalise_text,
    pass_at_k,
    response_key,
    response_keys,
    smallest_trials,
    usable,
)
from dast_jax.records import LEVELS, FinishReason, Requests, Responses, VerdictKind


def columns(query, correct, text, finish=FinishReason.EOS):
    n = len(query)
    kinds, reasons = tuple(VerdictKind), tuple(FinishReason)
    verdict = np.where(correct, kinds.index(VerdictKind.CORRECT), kinds.index(VerdictKind.INCORRECT))
    return Responses(
        query=np.array(query, np.int32),
        round=np.zeros(n, np.int32),
        trial=np.arange(n, dtype=np.int32),
        kind=np.zeros(n, np.int8),
        verdict=verdict.astype(np.int8),
        length=np.ones(n, np.int32),
        finish=np.full(n, reasons.index(finish), np.int8),
        text=np.array([*text, None], dtype=object)[:-1],
        extracted=np.full(n, None, dtype=object),
        logprob=np.zeros(n, np.float32),
        entropy=np.zeros(n, np.float32),
    )


def test_levels_follow_the_cut_points():
    levels = levels_from_counts(np.arange(17), 16)
    names = [LEVELS[i] for i in levels]
    assert names == ["unsolved"] + ["hard"] * 3 + ["middle"] * 8 + ["easy"] * 5
    assert levels.dtype == np.int8


@pytest.mark.parametrize("trials", [5, 7, 8, 10, 12, 100])
def test_cut_points_belong_to_the_easier_level(trials):
    correct = np.arange(trials + 1)
    for c, level in zip(correct, levels_from_counts(correct, trials), strict=True):
        p = c / trials
        expected = 3 if p == 0 else 0 if p >= 0.75 else 1 if p >= 0.25 else 2
        assert level == expected


def test_levels_with_trials_per_query_and_own_cuts():
    assert levels_from_counts(np.array([1, 1, 0]), np.array([2, 20, 0])).tolist() == [1, 2, 3]
    assert levels_from_counts(np.array([9, 5]), 10, Cuts(easy=0.95, hard=0.6)).tolist() == [1, 2]


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="correct"):
        levels_from_counts(np.array([3]), 2)
    with pytest.raises(ValueError, match="cut points"):
        levels_from_counts(np.array([1]), 2, Cuts(easy=0.2, hard=0.3))


@pytest.mark.parametrize(("hard", "trials"), [(0.25, 5), (0.5, 3), (0.1, 11), (0.3, 4)])
def test_smallest_trials_is_the_first_with_a_hard_level(hard, trials):
    assert smallest_trials(Cuts(easy=0.9, hard=hard)) == trials
    assert 2 in levels_from_counts(np.arange(trials + 1), trials, Cuts(easy=0.9, hard=hard))
    assert 2 not in levels_from_counts(np.arange(trials), trials - 1, Cuts(easy=0.9, hard=hard))


def test_shares_of_queries_and_of_rows():
    levels = np.array([0, 0, 1, 3], np.int8)
    assert level_counts(levels).tolist() == [2, 1, 0, 1]
    assert level_shares(levels) == {"easy": 0.5, "middle": 0.25, "hard": 0.0, "unsolved": 0.25}
    assert level_shares(levels, np.array([3, 3, 3, 0]))["unsolved"] == 0.75
    assert sum(level_shares(levels, np.zeros(0, np.int32)).values()) == 0


def test_fail_rate():
    assert fail_rate(np.array([0, 1, 4]), 4).tolist() == [1, 0.75, 0]
    assert fail_rate(np.array([0]), 0).tolist() == [1]


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_closed_form(nck):
    n, c, k = nck
    assert pass_at_k(np.array([c]), n, k)[0] == pytest.approx(1 - comb(n - c, k) / comb(n, k), abs=1e-12)


def test_pass_at_k_stays_in_range_for_many_trials_and_refuses_too_few():
    assert pass_at_k(np.array([0, 1, 20_000]), 20_000, 10_000) == pytest.approx([0, 0.5, 1])
    with pytest.raises(ValueError, match="at least 5"):
        pass_at_k(np.array([1]), np.array([4]), 5)


def test_keys_ignore_case_and_white_space_only():
    same = ["The answer is 5.", " the  answer\nis 5. ", "THE ANSWER IS 5.\n"]
    assert len({response_key(t) for t in same}) == 1
    different = ["7+12", "7-12", "712", "7 + 12", "7+12.", "", "\ud800"]
    assert len({response_key(t) for t in different}) == len(different)
    assert normalise_text(" A\tb\n") == "a b"
    keys = response_keys(same + different)
    assert keys.dtype == np.uint64
    assert [format(k, "016x") for k in keys] == [response_key(t) for t in same + different]
    assert len(response_keys([])) == 0


def test_usable_is_correct_and_whole():
    assert usable(columns([0, 0], [True, False], "ab")).tolist() == [True, False]
    assert usable(columns([0, 0], [True, True], "ab", FinishReason.STOP)).tolist() == [True, True]
    assert not usable(columns([0, 0], [True, True], "ab", FinishReason.LENGTH)).any()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from("abAB")), max_size=30),
    st.randoms(),
)
def test_tally_does_not_depend_on_order_or_batches(items, random):
    def tally(items, carried):
        counter = TallyCounter(4, columns(*zip(*items[:carried], strict=True)) if carried else None)
        rest = items[carried:]
        query = np.array([q for q, _, _ in rest], np.int32)
        counter.request(Requests(query, np.zeros(len(rest), np.int32), np.zeros(len(rest), np.int8)))
        cut = len(rest) // 2
        if cut:
            counter.add(columns(*zip(*rest[:cut], strict=True)))
        for q, c, t in rest[cut:]:
            counter.finish(q, correct=c, truncated=False, text=t)
        return counter.tally

    shuffled = items.copy()
    random.shuffle(shuffled)
    a, b = tally(items, 0), tally(shuffled, len(items) // 3)
    for name in ("requested", "finished", "correct", "distinct"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    for q in range(4):
        texts = [t.lower() for i, c, t in items if i == q and c]
        assert (a.correct[q], a.distinct[q]) == (len(texts), len(set(texts)))
        assert a.requested[q] == a.finished[q] == sum(i == q for i, _, _ in items)


def test_truncated_responses_are_correct_but_not_distinct():
    counter = TallyCounter(1)
    counter.finish(0, correct=True, truncated=True, text="a")
    counter.add(columns([0], [True], ["b"], FinishReason.LENGTH))
    assert (counter.tally.correct[0], counter.tally.distinct[0]) == (2, 0)


def test_a_long_stream_of_single_responses_is_counted_exactly():
    counter = TallyCounter(50)
    for i in range(70_000):  # more than are held in the small set
        counter.finish(i % 50, correct=True, truncated=False, text=f"text {i % 66_000}")
    assert counter.tally.distinct.sum() == 66_000
    counter.add(columns([0, 1], [True, True], ["text 0", "text 0"]))  # new for query 1 alone
    assert counter.tally.distinct[:2].tolist() == [1320, 1321]
