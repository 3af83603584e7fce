"""A row may not name code: every command, every kind of source. A config may, and a row may use its names."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dast_jax import agreement, compare, evaluate, train, verify
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError
from tests.integration.conftest import arguments
from tests.security.canary import TASK, Canary, refused

GOOD = {"question": "1+1=?", "answer": "2", "solution": "1+1=2. The answer is 2.", "task": "math"}
BAD = GOOD | {"question": "2+1=?", "task": TASK}
REFUSED = f"row 3: task {TASK!r} names code, and data may not; "


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Data of which the third row names the canary."""
    return write_rows(tmp_path / "rows.jsonl", [GOOD, GOOD | {"question": "3+1=?"}, BAD])


def study(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: s\nbase: quickstart\nseeds: [0]\nsettings: {{data: {{train: '{data}'}}}}\n"
        "entries:\n  - {label: sft, method: {name: sft}}\n  - {label: rft, method: {name: rft}}\n"
    )
    return path


# --- every command --------------------------------------------------------------------------------


@pytest.mark.parametrize("main", [evaluate.main, agreement.main])
def test_evaluate_and_agreement(
    main: Callable[[list[str]], int], rows: Path, canary: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, main(["--model", "asset:base_model", "--data", str(rows)]), f"{rows} {REFUSED}")
    canary.assert_silent()


def test_train(rows: Path, tmp_path: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    code = train.main(arguments(tmp_path / "run", f"data.train={rows}"))
    refused(capsys, code, f"{rows} {REFUSED}set data.task or verifier.functions in the config")
    canary.assert_silent()


def test_train_on_test_sets(
    rows: Path, tmp_path: Path, canary: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    code = train.main(arguments(tmp_path / "run", f"evaluation.sets.mine={rows}", "evaluation.limit=1"))
    refused(capsys, code, f"{rows} {REFUSED}")
    canary.assert_silent()


def test_compare(rows: Path, tmp_path: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    code = compare.main(["--config", str(study(tmp_path, rows)), "--out", str(tmp_path / "out")])
    refused(capsys, code, f"{rows} {REFUSED}")
    canary.assert_silent()


@pytest.mark.parametrize(
    "task", [TASK, "shutil:rmtree", "cProfile:run", "os.path:join", f" {TASK} ", "a:b()"]
)
def test_verify(task: str, tmp_path: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    good = {"reference": "1", "prediction": "1"}
    pairs = write_rows(
        tmp_path / "pairs.jsonl", [good, {"reference": str(victim), "prediction": "1", "task": task}]
    )
    out = tmp_path / "out.jsonl"
    code = verify.main(["--data", str(pairs), "--out", str(out)])
    refused(
        capsys, code, f"{pairs} row 2: task {task!r} names code, and data may not; ", "verifier.functions"
    )
    canary.assert_silent()
    assert victim.exists()
    assert not out.exists()


def test_the_command_line(tmp_path: Path, canary: Canary) -> None:
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"reference": "touch", "prediction": "1", "task": TASK}])
    done = subprocess.run(
        [sys.executable, "-m", "dast_jax.verify", "--data", str(pairs), "--out", str(tmp_path / "out.jsonl")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "row 1: task" in done.stderr
    canary.assert_silent()


# --- every source ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv"])
@pytest.mark.parametrize("named", ["as it is", "another column", "with choices"])
def test_files(kind: str, named: str, tmp_path: Path, canary: Canary) -> None:
    table, options = [GOOD, GOOD, BAD], {}
    if named != "as it is":
        table = [{"kind" if key == "task" else key: value for key, value in row.items()} for row in table]
        options = {"columns": {"question": "question", "answer": "answer", "task": "kind"}}
    if named == "with choices":
        table = [row | {"options": '["2", "3"]'} for row in table]
        options["columns"]["choices"] = "options"
    source = write_rows(tmp_path / f"rows.{kind}", table)
    with pytest.raises(UserError) as error:
        load_queries(str(source), options=DataOptions(train=str(source), **options))
    assert str(error.value).startswith(f"{source} {REFUSED}")
    canary.assert_silent()


def test_the_hub(tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    logging.getLogger("datasets").setLevel(logging.ERROR)
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    write_rows(folder / "train.jsonl", [GOOD, GOOD, BAD])
    with pytest.raises(UserError, match=r"owner/name:default:train row 3: task .* names code"):
        load_queries("owner/name:default:train", options=DataOptions(train="x"))
    (folder / "name.py").write_text(canary.code)  # a loading script, as the hub once had them
    (folder / "train.jsonl").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load_queries("owner/name:default:train", options=DataOptions(train="x"))
    canary.assert_silent()


def test_what_the_config_names_is_still_refused_in_a_row(rows: Path, canary: Canary) -> None:
    options = DataOptions(train="x", task=TASK)
    with pytest.raises(UserError, match="row 3: task"):
        load_queries(str(rows), options=options, functions={"mine": TASK})
    canary.assert_silent()


# --- what a config may ----------------------------------------------------------------------------


def test_a_row_may_use_a_name_of_the_config(tmp_path: Path, canary: Canary) -> None:
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"reference": "a", "prediction": "b", "task": "mine"}])
    out = tmp_path / "out.jsonl"
    code = verify.main(
        ["--data", str(pairs), "--out", str(out), f"verifier.functions.mine={TASK}", "verifier.workers=1"]
    )
    assert code == 0
    assert json.loads(out.read_text())["verdict"] == "correct"
    canary.assert_sang()


def test_names_in_a_config_file(tmp_path: Path, canary: Canary) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"verifier:\n  workers: 1\n  functions:\n    mine: {TASK}\n")
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"reference": "a", "prediction": "b", "task": "mine"}])
    out = tmp_path / "out.jsonl"
    assert verify.main(["--config", str(config), "--data", str(pairs), "--out", str(out)]) == 0
    canary.assert_sang()


@pytest.mark.parametrize(
    ("own", "setting"),
    [
        (None, [f"data.task={TASK}"]),
        (None, ["data.task=mine", f"verifier.functions.mine={TASK}"]),
        ("mine", [f"verifier.functions.mine={TASK}"]),
    ],
)
def test_evaluate_with_a_function_of_the_config(
    own: str | None, setting: list[str], tmp_path: Path, canary: Canary
) -> None:
    row = {key: value for key, value in GOOD.items() if key != "task"} | ({"task": own} if own else {})
    data, out = write_rows(tmp_path / "rows.jsonl", [row]), tmp_path / "metrics.json"
    small = ["sampling.slots=2", "sampling.max_new_tokens=8", "verifier.workers=1"]
    code = evaluate.main(
        ["--model", "asset:base_model", "--data", str(data), "--out", str(out), *setting, *small]
    )
    assert code == 0
    assert json.loads(out.read_text())["accuracy"] == 1.0
    canary.assert_sang()


@pytest.mark.parametrize("name", ["math", "list"])
def test_a_name_may_not_be_a_family(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"reference": "a", "prediction": "b"}])
    argv = ["--data", str(pairs), "--out", str(tmp_path / "out.jsonl"), f"verifier.functions.{name}={TASK}"]
    refused(capsys, verify.main(argv), f"verifier: functions.{name}: is the name of a task family")


def test_a_name_that_the_config_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"reference": "a", "prediction": "b", "task": "mine"}])
    argv = ["--data", str(pairs), "--out", str(tmp_path / "out.jsonl"), f"verifier.functions.other={TASK}"]
    refused(capsys, verify.main(argv), "row 1 is of an unknown task", "other", "verifier.functions")


# --- the worker, by itself ------------------------------------------------------------------------


@pytest.mark.parametrize("functions", [{}, {"mine": "builtins:len"}, {"mine": TASK}])
def test_a_worker_imports_nothing_that_its_table_does_not_hold(
    functions: dict[str, str], canary: Canary
) -> None:
    reply = worker(TASK, functions)
    assert reply == ["error", "the config names no such function"]
    canary.assert_silent()


def test_a_worker_imports_what_its_table_holds(canary: Canary) -> None:
    assert worker("mine", {"mine": TASK})[0] == "ready"
    assert canary.files[0].exists()


def worker(task: str, functions: dict[str, str]) -> list[Any]:
    config = {
        "function": task,
        "functions": functions,
        "path": sys.path,
        "memory_mb": 4096,
        "cpu_seconds": 5.0,
        "float_rounding": 6,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dast_jax.verifiers.worker", json.dumps(config)],
        input="",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return json.loads(done.stdout)
