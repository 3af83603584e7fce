import numpy as np
import pytest

from dast_jax.estimators.distinct import Distinct, DistinctCounter, DistinctResponses, usable
from dast_jax.estimators.steps import normalize_text
from dast_jax.records import FinishReason
from tests.estimators.response_columns import columns


def different(distinct, texts, query=0):
    return len({distinct.key(query, text) for text in texts})


def test_text_ignores_case_and_white_space_only():
    same = ["The answer is 5.", " the  answer\nis 5. ", "THE ANSWER IS 5.\n"]
    others = ["7+12", "7-12", "712", "7 + 12", "7+12.", "", "\ud800"]
    text = Distinct("text")
    assert different(text, same) == 1
    assert different(text, others) == len(others)
    assert normalize_text(" A\tb\n") == "a b"
    keys = text.keys(np.zeros(10, np.int32), same + others)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [text.key(0, t) for t in same + others]
    assert len(text.keys(np.zeros(0, np.int32), [])) == 0


def test_steps_ignore_everything_else_and_fall_back_to_the_text():
    steps = Distinct("steps")
    assert different(steps, ["so 27+43 = 70\n#### 70", "27 + 43 = 70", "Thus 27+43=70. Answer: 70"]) == 1
    assert different(steps, ["27+43=70", "43+27=70", "27+40+3=70", "70"]) == 4
    assert different(steps, ["Because of rain.", "because of  rain.", "Because of snow."]) == 2


def test_by_task_takes_steps_where_the_task_has_them():
    tasks = ["math", "number~0.1", "number", "choice", "yes_no", "label", "bool", "list", "own", "math±1e-3"]
    by_task = Distinct("by_task", tasks)
    pair = ["First 2+3 = 5", "then 2 + 3 = 5!"]
    by_steps = [different(by_task, pair, query) == 1 for query in range(len(tasks))]
    assert [task for task, steps in zip(tasks, by_steps, strict=True) if steps] == [
        "math", "number~0.1", "number", "math±1e-3",
    ]  # fmt: skip
    keys = by_task.keys(np.arange(len(tasks), dtype=np.int32), [pair[0]] * len(tasks))
    assert keys.tolist() == [by_task.key(query, pair[0]) for query in range(len(tasks))]


@pytest.mark.parametrize(("how", "expected"), [("steps", [1, 2]), ("text", [2, 2]), ("none", [3, 2])])
def test_counts_one_by_one_and_in_columns(how, expected):
    query, text = [0, 0, 0, 1, 1], ["2+3=5", "so 2+3=5", "2+3=5", "a", "b"]
    one, many = (DistinctCounter(np.zeros(2, np.int64), Distinct(how)) for _ in range(2))
    for q, t in zip(query, text, strict=True):
        one.add_one(q, t)
    many.add(np.array(query, np.int32), np.array(text, object))
    assert one.count.tolist() == many.count.tolist() == expected


@pytest.mark.parametrize(("how", "expected"), [("steps", [0]), ("text", [1]), ("none", [2])])
def test_what_is_known_is_not_new(how, expected):
    counter = DistinctResponses(1, Distinct(how), count_rejectable=False)
    counter.know(np.zeros(1, np.int32), np.array(["2+3 = 5\n#### 5"], object))
    counter.add(columns([0, 0], [True, True], ["2+3 = 5\n#### 5\n#### 5", "Well, 2+3 = 5\n#### 5"]))
    assert counter.usable.tolist() == expected


def test_usable_is_correct_and_whole():
    assert usable(columns([0, 0], [True, False], "ab")).tolist() == [True, False]
    assert usable(columns([0, 0], [True, True], "ab", FinishReason.STOP)).tolist() == [True, True]
    assert not usable(columns([0, 0], [True, True], "ab", FinishReason.LENGTH)).any()
