"""Steps of a response, by what ends a step in its task."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.estimators import estimate
from dast_jax.estimators.step_count import STEP_SEPARATORS, count_steps, separators_of, steps_of
from dast_jax.records import Query, Responses
from dast_jax.verifiers.functions import FAMILY_NAMES


def test_every_family_has_its_separators():
    assert set(STEP_SEPARATORS) == set(FAMILY_NAMES)
    assert separators_of("math~0.04") == separators_of("math+-0.1") == STEP_SEPARATORS["math"]
    assert separators_of("my_verifier") == separators_of("package.module:function") == ("\n",)


@pytest.mark.parametrize(
    ("task", "text", "steps"),
    [
        ("number", "16 - 3 - 4 = 9 eggs.\nShe makes 9 * 2 = 18.\n#### 18", 5),
        ("math", "(70+4)+4 = 74+4 = 78\n#### 78", 4),
        ("math", "  \n\n = \n", 0),
        ("choice", "Birds fly. Fish swim! So it is a bird.\nThe answer is B.", 4),
        ("yes_no", "It rained 3.5 mm a day. Yes", 2),
        ("my_verifier", "a = b. c\nd", 2),
        ("math", "", 0),
    ],
)
def test_steps_by_task(task, text, steps):
    assert count_steps(text, separators_of(task)) == steps


@given(st.text(alphabet="ab =\n.", max_size=30))
def test_steps_against_splitting_one_after_another(text):
    parts = [piece for line in text.split("\n") for piece in line.split("=")]
    assert count_steps(text, ("\n", "=")) == sum(bool(part.strip()) for part in parts)


def test_steps_tell_the_embedded_problems_apart_where_lines_do_not():
    """Every reference solution there has two lines; its states are one for each operation, or for two."""
    source = "asset:problems/train.jsonl"
    pool = load_queries(source, options=DataOptions(train=source))
    assert {count_steps(query.solution, ("\n",)) for query in pool} == {2}
    for query in pool:
        operations = sum(query.question.count(sign) for sign in "+-*/")
        assert count_steps(query.solution, separators_of(query.task)) in {
            operations + 1,
            operations // 2 + 1 + operations % 2,
        }


def made(texts):
    n = len(texts)
    return Responses(
        query=np.arange(n, dtype=np.int32),
        round=np.zeros(n, np.int32),
        trial=np.zeros(n, np.int32),
        kind=np.zeros(n, np.int8),
        verdict=np.zeros(n, np.int8),
        length=np.full(n, 7, np.int32),
        finish=np.zeros(n, np.int8),
        text=np.array(texts, object),
        extracted=np.array([None] * n, object),
        logprob=np.zeros(n, np.float32),
        entropy=np.zeros(n, np.float32),
    )


def test_each_query_is_counted_by_its_own_task():
    queries = [Query(id=str(i), question="q", answer="1", task=t) for i, t in enumerate(("number", "choice"))]
    responses = made(["a = b. c = d", "a = b. c = d"])
    assert steps_of(responses, queries).tolist() == [3, 2]
    assert steps_of(responses, queries, (" ",)).tolist() == [6, 6]
    assert np.argsort(estimate("self_aware", queries, responses).score).tolist() == [1, 0]
