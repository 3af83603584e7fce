"""Every training row says where its text comes from, in memory and in train.parquet."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from simulated_policy import responses, run_rounds
from test_every_method import SETTINGS, labelled_pool, make, rising

from dast_jax.methods.training_sets import reference_set, text_set, union
from dast_jax.records import Origin, Pool, PreferenceSet, Query, TrainingSet
from dast_jax.store.training_sets import from_table, to_table


def texts_of(training_set):
    """Each side of a set: its texts, their origin, and which are reference solutions."""
    if isinstance(training_set, PreferenceSet):
        none = np.zeros(len(training_set), bool)
        yield training_set.chosen, training_set.chosen_origin, training_set.chosen_is_reference
        yield training_set.rejected, training_set.rejected_origin, none
    else:
        yield training_set.text, training_set.origin, training_set.is_reference


@pytest.mark.parametrize("name", SETTINGS)
def test_every_text_is_the_one_that_its_origin_names(name):
    pool = labelled_pool(60)
    results = run_rounds(make(name, pool), rising(60, texts=5, cut=0.1), pool, 3)
    seen = 0
    for training_set, made in results:
        sampled = {
            (q, r, t): (text, kind)
            for q, r, t, text, kind in zip(
                made.query, made.round, made.trial, made.text, made.kind, strict=True
            )
        }
        for texts, origin, is_reference in texts_of(training_set):
            assert len(origin) == len(training_set)
            np.testing.assert_array_equal(origin.round < 0, is_reference)
            for i, query in enumerate(training_set.query):
                if is_reference[i]:
                    assert texts[i] == pool.queries[query].solution
                    assert (origin.trial[i], origin.kind[i]) == (-1, -1)
                else:
                    name_of = query, origin.round[i], origin.trial[i]
                    assert sampled[name_of] == (texts[i], origin.kind[i])
                seen += 1
        assert_read_as_written(pool, training_set)
    assert seen


def assert_read_as_written(pool, training_set):
    read = from_table(to_table(pool, training_set))
    for (_, after, _), (_, before, _) in zip(texts_of(read), texts_of(training_set), strict=True):
        for column in ("round", "trial", "kind"):
            np.testing.assert_array_equal(getattr(after, column), getattr(before, column), strict=True)


def test_the_columns_of_the_file(tmp_path):
    pool = Pool(tuple(Query(id=f"q{i}", question="?", answer="1", solution=f"s{i}") for i in range(2)))
    made = responses([0, 1, 1], [4, 0, 7], [True] * 3, round=2, kind=[2, 0, 3])
    pq.write_table(
        to_table(pool, union(reference_set(pool), text_set(made, np.array([0, 2])))), tmp_path / "f"
    )
    rows = pq.read_table(tmp_path / "f").to_pylist()
    columns = ("text", "is_reference", "round", "policy", "prompt", "trial")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("s0", True, None, None, None, None),
        ("r2 q0 t4", False, 2, "M_2", "matched", 4),
        ("s1", True, None, None, None, None),
        ("r2 q1 t7", False, 2, "M_2", "rationalized", 7),
    ]


def test_a_method_that_does_not_say_is_written_and_read_as_unknown():
    pool = Pool((Query(id="q", question="?", answer="1"),))
    query, text = np.zeros(2, np.int32), np.array(["a", "b"], object)
    silent = TrainingSet(query=query, text=text, is_reference=np.zeros(2, bool))
    table = to_table(pool, silent)
    assert table.column("policy").to_pylist() == [None, None]
    assert from_table(table).origin is None
    known = text_set(responses([0], [0], [True]), np.array([0]))
    assert union(silent, known).origin is None
    assert len(Origin.concatenate([known.origin, Origin.references(2)])) == 3
