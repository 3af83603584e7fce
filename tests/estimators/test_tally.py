import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.estimators.tally import TallyCounter
from dast_jax.records import FinishReason, Requests
from tests.estimators.response_columns import columns


@settings(deadline=None)
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
