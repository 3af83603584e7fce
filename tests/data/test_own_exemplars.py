"""`prompts.exemplars`: solved problems of the user's, and which of them a prompt shows."""

import json
from pathlib import Path

import pytest

from dast_jax.data.own_exemplars import read_exemplars, shown
from dast_jax.errors import UserError

SAMPLE = Path(__file__).parent / "gsm8k_sample.jsonl"


def test_the_first_ones_are_shown_but_never_the_question_itself():
    solved = read_exemplars(str(SAMPLE))
    first = shown(solved, 2, "What is 1+1?")
    assert [e.question for e in first] == [q.question for q in solved[:2]]
    assert first[0].response == solved[0].solution
    others = shown(solved, 2, solved[0].question)
    assert [e.question for e in others] == [q.question for q in solved[1:3]]
    assert len(shown(solved, 99, "")) == 20
    assert shown(solved, 0, "") == ()
    hinted = shown(solved, 1, "", with_hint=True)[0]
    assert hinted.question == f"{solved[0].question} (hint: the answer is 72)"


def test_no_file_means_none():
    assert read_exemplars("") == ()


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"question": "1+1?", "answer": "2"}], r"d\.jsonl: row 1 has no solution to show; add it"),
        ([{"question": "1+1?"}], r"d\.jsonl: row 1 has no question or no answer"),
        ([], r"d\.jsonl: is empty"),
    ],
)
def test_what_cannot_be_shown_is_refused(rows, why, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"^prompts\.exemplars: .*" + why):
        read_exemplars(str(path))
