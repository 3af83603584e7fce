"""The embedded word problems: correct, as generated, and read as queries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from launch.make_assets.word_problems import FOLDER, rows


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_step_is_right_and_leads_to_the_answer(split: str) -> None:
    queries = load_queries(f"asset:word_problems/{split}.jsonl", options=DataOptions(train=""))
    for query in queries:
        steps = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", query.solution or "")
        values = [
            {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[o] for a, o, b, _ in steps
        ]
        assert values == [int(result) for *_, result in steps]
        assert query.answer == str(values[-1])
        assert query.solution.endswith(f"\nThe answer is {query.answer}.")
        given = set(re.findall(r"\d+", query.question))
        assert set(steps[0][::2]) - set(steps[0][1]) <= given
        assert query.level in "1234"


def test_the_files_are_what_the_script_writes_and_share_no_question() -> None:
    read = {p.stem: [json.loads(line) for line in Path(p).read_text().splitlines()] for p in FOLDER.iterdir()}
    assert read == {split: rows(split) for split in ("train", "test")}
    questions = [row["question"] for found in read.values() for row in found]
    assert len(set(questions)) == len(questions) == 72
