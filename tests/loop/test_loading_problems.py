"""The checks of a run's queries as they are loaded."""

import json
import logging

import pytest

from dast_jax.config import build_config
from dast_jax.loop.problems import load_problems


def load(tmp_path, answers, task):
    rows = [{"question": f"Is {i} odd?", "answer": answer, "task": task} for i, answer in enumerate(answers)]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    needed = {"run": {"dir": "x"}, "model": {"path": "m"}, "data": {"train": str(path)}}
    return load_problems(build_config(needed), lambda question: True)


@pytest.mark.parametrize(
    ("answers", "task", "warned"),
    [
        (["yes"] * 10, "yes_no", "the answer of 10 of 10 queries is yes"),
        (["no"] + ["yes"] * 9, "yes_no", "the answer of 9 of 10 queries is yes"),
        (["A"] * 10, "choice", "the answer of 10 of 10 queries is A"),
        (["neutral"] * 10, "label", "the answer of 10 of 10 queries is neutral"),
        (["no"] * 2 + ["yes"] * 8, "yes_no", None),
        (["7"] * 10, "math", None),
    ],
)
def test_data_with_hardly_more_than_one_answer_gives_a_warning_and_is_kept(
    tmp_path, caplog, answers, task, warned
):
    with caplog.at_level(logging.WARNING):
        problems = load(tmp_path, answers, task)
    assert [query.answer for query in problems.pool.queries] == answers
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [] if warned is None else len(warnings) == 1 and warned in warnings[0]


def test_queries_without_a_solution_are_counted_and_named_where_others_have_one(tmp_path, caplog):
    rows = [
        {"id": f"q{i}", "question": f"{i}?", "answer": "1", "solution": "so 1" * (i % 2)} for i in range(14)
    ]
    path = tmp_path / "train.jsonl"
    for some, warned in ((rows, True), (rows[1::2], False), (rows[::2], False)):
        caplog.clear()
        path.write_text("\n".join(map(json.dumps, some)))
        needed = {"run": {"dir": "x"}, "model": {"path": "m"}, "data": {"train": str(path)}}
        load_problems(build_config(needed), lambda question: True)
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == warned
        if warned:
            assert "7 of 14 queries have no solution" in warnings[0]
            assert warnings[0].endswith("q0, q2, q4, q6, q8 and 2 more")
