"""Bad input: one sentence that names the file, key or row; the correct exit code; no traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dast_jax.assets import resolve_path
from dast_jax.train import main
from tests.integration.conftest import arguments, command, run_command, summary

GOOD_ROW = {"question": "1+1=?", "answer": "so 2\n#### 2"}


def _rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _model_copy(path: Path) -> Path:
    return Path(shutil.copytree(resolve_path("asset:base_model"), path))


def _edit_json(path: Path, **changes: object) -> None:
    value = json.loads(path.read_text())
    for key, change in changes.items():
        value.pop(key, None) if change is None else value.update({key: change})
    path.write_text(json.dumps(value))


def _refused(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_unknown_key_offers_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = arguments(tmp_path / "run", "training.learning_rat=1e-4")
    _refused(capsys, argv, "training.learning_rat", "training.learning_rate")


def test_mistyped_value_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, arguments(tmp_path / "run", "training.epochs=many"), "training.epochs", "many")


def test_missing_config(capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, ["--config", "quickstrat"], "quickstrat", "quickstart")


def test_missing_model_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(capsys, arguments(tmp_path / "run", f"model.path={tmp_path}/none"), f"{tmp_path}/none")


def test_model_that_is_not_a_llama(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model_copy(tmp_path / "model")
    _edit_json(model / "config.json", model_type="gpt2", architectures=["GPT2LMHeadModel"])
    _refused(capsys, arguments(tmp_path / "run", f"model.path={model}"), str(model), "gpt2")


def test_tokenizer_without_eos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model_copy(tmp_path / "model")
    _edit_json(model / "config.json", eos_token_id=None)
    (model / "generation_config.json").unlink(missing_ok=True)
    _edit_json(model / "tokenizer_config.json", eos_token=None)
    (model / "special_tokens_map.json").unlink(missing_ok=True)
    _refused(capsys, arguments(tmp_path / "run", f"model.path={model}"), str(model), "EOS")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("no such",)),
        ("", ("empty",)),
        ('{"question": "1+1=?", "answer": "#### 2"}\nnot json\n', ("2",)),
        (
            '{"question": "1+1=?"}\n{"question": "1+1=?", "answer": "#### 2"}\n{"answer": "#### 2"}\n',
            ("1", "3", "question"),
        ),
    ],
    ids=["missing", "empty", "not-jsonl", "lacking"],
)
def test_bad_data_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: tuple[str, ...]
) -> None:
    data = tmp_path / "train.jsonl"
    if content is not None:
        data.write_text(content)
    _refused(capsys, arguments(tmp_path / "run", f"data.train={data}"), str(data), *words)


def test_overlong_prompt_is_skipped_and_named_and_the_run_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {**GOOD_ROW, "id": f"row-{i}", "question": f"{i}+1=?", "answer": f"so {i + 1}\n#### {i + 1}"}
        for i in range(6)
    ]
    rows.append({**GOOD_ROW, "id": "endless", "question": "+".join(["1"] * 400) + "=?"})
    data = _rows(tmp_path / "train.jsonl", *rows)
    run_dir = tmp_path / "run"
    assert main(arguments(run_dir, f"data.train={data}", "run.rounds=0")) == 0
    error = capsys.readouterr().err
    assert "endless" in error
    assert "1 quer" in error
    assert summary(run_dir)["data"]["train"]["skipped"] == ["endless"]
    assert summary(run_dir)["data"]["train"]["queries"] == 6


def test_round_without_a_correct_response_is_reported_and_the_run_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"{i}+1=?", "answer": "so\n#### 123456789"} for i in range(6)]
    data = _rows(tmp_path / "train.jsonl", *rows)
    run_dir = tmp_path / "run"
    assert main(arguments(run_dir, f"data.train={data}")) == 0
    error = capsys.readouterr().err
    assert "round 0: none of 30 responses was correct" in error
    assert "reference solutions" in error
    for entry in summary(run_dir)["rounds"]:
        assert entry["sampling"]["correct"] == 0
        assert entry["training"]["examples"] == entry["training"]["reference_examples"] > 0


def test_diverging_loss_stops_with_the_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    argv = arguments(run_dir, "training.learning_rate=1e18", "training.epochs=20")
    assert main(argv) == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "diverged at step 2" in error
    assert any((run_dir / "checkpoints" / "training").iterdir())


def test_a_contaminated_test_set_gives_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"{i}+1=?", "answer": f"so {i + 1}\n#### {i + 1}"} for i in range(6)]
    data = _rows(tmp_path / "train.jsonl", *rows)
    test = _rows(tmp_path / "test.jsonl", {**rows[3], "id": "seen-before"}, GOOD_ROW | {"question": "9+9=?"})
    run_dir = tmp_path / "run"
    argv = arguments(run_dir, f"data.train={data}", f"evaluation.sets={{mine: {test}}}", "run.rounds=0")
    assert main(argv) == 0
    assert "seen-before" in capsys.readouterr().err
    assert summary(run_dir)["data"]["evaluation"]["mine"]["contaminated"] == 1


def test_full_disk_stops_cleanly_and_the_same_command_resumes(tmp_path: Path) -> None:
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"', str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip(
            "needs permission to mount a small tmpfs in a user namespace, which this system does not grant"
        )
    result = run_command([*mount, *command(tmp_path / "run")])
    assert result.returncode == 75, result.stderr
    error = result.stderr.strip().splitlines()[-1]
    assert "disk" in error
    assert "full" in error
    assert "the same command" in error
    assert "Traceback" not in result.stderr
