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
