"""`python -m dast_jax.agreement` on the embedded model, and its errors for bad input."""

from __future__ import annotations

import json

import pytest

from dast_jax.agreement import main

SMALL = [
    "--config=quickstart",
    "data.limit=10",
    "mesh.cpu_data=0",
    "trials=5",
    "exemplars=1",
    "sampling.max_new_tokens=80",
    "sampling.slots=16",
    "sampling.prompt_buckets=[128]",
]


def test_every_pair_is_compared(tmp_path, capsys):
    out = tmp_path / "agreement.json"
    assert main([*SMALL, "--data", "asset:problems/train.jsonl", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    names = ["sampled", "fail_rate", "self_aware", "label", "uncertainty"]
    assert result["schema"] == "dast_jax.agreement/2"
    assert list(result["estimators"]) == names
    assert len(result["pairs"]) == 10
    assert (result["queries"], result["trials"]) == (10, 5)
    for pair in result["pairs"]:
        assert sum(map(sum, pair["confusion"])) == 10
    first = result["pairs"][0]
    assert (first["a"], first["b"], first["spearman"]) == ("sampled", "fail_rate", pytest.approx(1))
    assert list(result["diversity"]["by_level"]) == ["easy", "middle", "hard", "unsolved"]
    assert all(len(scores) == 10 for scores in result["scores"].values())
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for text in (
        "sampled / uncertainty",
        "Levels by sampled (rows) and fail_rate",
        "self-BLEU",
        "10 queries",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["estimators=[sampled]"], "at least two"),
        (["estimators=[sampled,judge]"], "judge.endpoint"),
        (["estimators=[sampled,lable]"], "lable"),
        (["level_shares=[0.5,0.5]"], "four that sum to 1"),
        (["sampling.temperature=0"], "greedy trials are all the same"),
        (["easy_cut=0.2"], "hard_cut < easy_cut"),
        (["judge.endpoint=https://me:secret@host/v1"], "no user, password or query"),
    ],
)
def test_bad_input_is_one_sentence(more, words, capsys):
    assert main([*SMALL, "--data", "asset:problems/train.jsonl", *more]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
    assert "secret" not in error
