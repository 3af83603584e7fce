"""`python -m dast_jax.verify`: rows in, the same rows with verdicts out, and errors for bad files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dast_jax.verify import main

GSM8K_SAMPLE = Path(__file__).parents[1] / "data" / "gsm8k_sample.jsonl"


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_come_back_in_order_with_verdicts(tmp_path, capsys):
    rows = [
        {"id": 7, "reference": "5", "prediction": "Thus 5 is the answer."},
        {
            "reference": r"\frac{1}{\sqrt2}",
            "prediction": r"\boxed{\frac{\sqrt2}{2}}",
            "task": "math",
            "é": [1],
        },
        {"reference": 18, "prediction": 17.5},
        {"reference": "5", "prediction": ""},
        {"reference": "5", "prediction": "\ud800"},
    ]
    data, out = write(tmp_path / "pairs.jsonl", rows), tmp_path / "verdicts.jsonl"
    assert main(["--data", str(data), "--out", str(out)]) == 0
    got = read(out)
    assert [r["verdict"] for r in got] == ["correct", "correct", "incorrect", "no_answer", "incorrect"]
    assert [r["extracted"] for r in got] == ["5", r"\frac{\sqrt2}{2}", "17.5", None, None]
    assert all(r["reason"] for r in got)
    assert got[0]["id"] == 7
    assert got[1]["é"] == [1]
    assert "5 rows: 2 correct, 2 incorrect, 1 no_answer, 0 timed_out" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.jsonl", "verdicts.jsonl"]


def test_keys_reach_the_verifier(tmp_path):
    data = write(tmp_path / "pairs.jsonl", [{"reference": "50%", "prediction": "0.5"}])
    out = tmp_path / "out.jsonl"
    assert main(["--data", str(data), "--out", str(out), "verifier.percent=unit"]) == 0
    assert read(out)[0]["verdict"] == "incorrect"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["pairs.jsonl", "no such file"]),
        ("", ["pairs.jsonl", "no rows"]),
        ("\n\n", ["pairs.jsonl", "no rows"]),
        ("reference,prediction\n5,5\n", ["2 rows (1, 2)", "JSON"]),
        ('{"reference":"5","prediction":"5"}\n[1]\n', ["row 2 is", "JSON"]),
        ('{"reference":"5"}\n' * 7, ["7 rows (1, 2, 3, 4, 5, …)", "prediction"]),
        ('{"reference":null,"prediction":"5"}\n', ["row 1", "reference"]),
        ('{"reference":"5","prediction":"5","task":"poetry"}\n', ["row 1", "math"]),
        ("[" * 100_000 + "\n", ["row 1", "JSON"]),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, capsys, content, words):
    data, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    if content is not None:
        data.write_text(content)
    assert main(["--data", str(data), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part in error for part in words), error
    assert not out.exists()


def test_unknown_key_and_missing_folder(tmp_path, capsys):
    data = write(tmp_path / "pairs.jsonl", [{"reference": "5", "prediction": "5"}])
    assert main(["--data", str(data), "--out", str(tmp_path / "o"), "verifier.percents=unit"]) == 2
    assert "verifier.percent" in capsys.readouterr().err
    assert main(["--data", str(data), "--out", str(tmp_path / "nowhere" / "o")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_gsm8k_references_verify_against_their_own_solutions(tmp_path):
    if not GSM8K_SAMPLE.exists():
        pytest.skip("tests/data/gsm8k_sample.jsonl is not there")
    solutions = [row["answer"] for row in read(GSM8K_SAMPLE)]
    rows = [{"reference": s.split("####")[-1].strip(), "prediction": s} for s in solutions]
    rows += [{"reference": s.split("####")[-1].strip() + "7", "prediction": s} for s in solutions]
    data, out = write(tmp_path / "pairs.jsonl", rows), tmp_path / "out.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "dast_jax.verify", "--data", str(data), "--out", str(out)], timeout=120
    )
    assert done.returncode == 0
    verdicts = [row["verdict"] for row in read(out)]
    assert verdicts == ["correct"] * len(solutions) + ["incorrect"] * len(solutions)
