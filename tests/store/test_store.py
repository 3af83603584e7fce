"""The run directory: whole files or none, one writer, refusals on resume, responses that replay exactly."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dast_jax.config import RunConfig, build_config, load_config, run_settings
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.metrics.flops import Flops
from dast_jax.records import (
    FinishReason,
    Pool,
    Query,
    Responses,
    Rollout,
    TrainingSet,
    Verdict,
    VerdictKind,
)
from dast_jax.store import durable
from dast_jax.store.analysis_results import Contamination
from dast_jax.store.evaluation_results import EvalFile, SampleRow, SetLevels
from dast_jax.store.metrics_log import SAMPLE_COLUMNS, read_metrics
from dast_jax.store.query_table import query_table
from dast_jax.store.response_log import ResponseLog
from dast_jax.store.results import (
    DataFacts,
    EvaluationResult,
    EvaluationSource,
    RunFacts,
    TrainedResult,
    TrainingResult,
    TrainingSource,
)
from dast_jax.store.run_store import RunStore

ROOT = Path(__file__).parent.parent


def _open(config: RunConfig) -> RunStore:
    return RunStore.open(run_settings(config))


def _config(folder: Path, *overrides: str) -> RunConfig:
    needed = [f"run.dir={folder}", "model.path=m", "data.train=t.jsonl", "logging.tensorboard=false"]
    return load_config(None, [*needed, *overrides])


def _rollout(query: int, trial: int, text: str = "1 + 1 = 2") -> Rollout:
    return Rollout(
        query=query,
        trial=trial,
        kind=1,
        text=text,
        tokens=(5, 7, 11 + trial),
        logprob=-1.0 / 3.0 - trial,
        entropy=0.1 + 0.2,
        finish_reason=FinishReason.EOS,
    )


def _child(code: str, *args: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True, env=env)


# --- atomic files -------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "a" / "x.json"
    durable.write_json(path, {"n": np.int32(3), "x": float("nan"), "a": np.arange(2), "p": Path("q")})
    assert json.loads(path.read_text()) == {"n": 3, "x": None, "a": [0, 1], "p": "q"}
    with pytest.raises(RuntimeError), durable.atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text())["n"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_write_replaces_and_never_edits(tmp_path) -> None:
    path, old = tmp_path / "x.txt", tmp_path / "old.txt"
    durable.write_text(path, "first")
    os.link(path, old)
    durable.write_text(path, "second")
    assert (path.read_text(), old.read_text()) == ("second", "first")


def test_a_killed_write_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "x.txt"
    durable.write_text(path, "whole")
    child = _child(
        "import sys, time; from pathlib import Path; from dast_jax.store.durable import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('ready', flush=True); time.sleep(60)",
        str(path),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.communicate(timeout=20)
    assert path.read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2
    assert durable.remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_interruption_that_names_the_file(tmp_path) -> None:
    path = tmp_path / "x.txt"
    durable.write_text(path, "whole")
    (tmp_path / f".x.txt.{os.getpid()}.partial").symlink_to("/dev/full")  # the kernel's own full disk
    with pytest.raises(InterruptedRunError, match=r"^disk full \(writing .*x\.txt\); free space") as caught:
        durable.write_text(path, "more " * 10_000)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_round_trip(tmp_path) -> None:
    arrays = {"a": np.arange(5, dtype=np.int8), "b": np.array(["x", "yz"]), "c": np.zeros((0, 2), np.float32)}
    durable.write_arrays(tmp_path / "s.npz", arrays)
    read = durable.read_arrays(tmp_path / "s.npz")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    with pytest.raises(TypeError, match="objects cannot be kept: d"):
        durable.write_arrays(tmp_path / "s.npz", {"d": np.array([None])})
    with pytest.raises(UserError, match="no such file"):
        durable.read_arrays(tmp_path / "none.npz")


# --- responses ----------------------------------------------------------------------------------------


def test_responses_replay_bit_for_bit(tmp_path) -> None:
    verdicts = [
        Verdict(VerdictKind.CORRECT, "2", "same number"),
        Verdict(VerdictKind.NO_ANSWER),
        Verdict(VerdictKind.TIMED_OUT, "9**9", "1 s of CPU"),
    ]
    log = ResponseLog(tmp_path / "responses", 3, flush_responses=2)
    expected = {}
    for i, (query, trial) in enumerate([(4, 1), (0, 2), (4, 0), (0, 0), (9, 7)]):
        rollout, verdict = _rollout(query, trial, f"é\n\u2028 {i}\x00"), verdicts[i % 3]
        log.append(rollout, verdict)
        expected[query, trial] = (rollout, verdict)
    names = [p.name for p in sorted((tmp_path / "responses").iterdir())]
    assert [name[: len("part-000000-")] for name in names] == ["part-000000-", "part-000001-"]
    assert log.stored() == expected  # two parts and one response still held
    assert len(log) == 5
    del log
    reopened = ResponseLog(tmp_path / "responses", 3)
    assert len(reopened) == 4
    with reopened:
        reopened.append(*expected[9, 7])
    assert reopened.stored() == expected

    columns = reopened.responses()
    assert columns.query.tolist() == [0, 0, 4, 4, 9]
    assert columns.trial.tolist() == [0, 2, 0, 1, 7]
    assert set(columns.round) == {3}
    assert columns.length.tolist() == [3] * 5
    assert columns.correct.tolist() == [expected[k][1].correct for k in sorted(expected)]
    assert columns.text.tolist() == [expected[k][0].text for k in sorted(expected)]
    assert columns.extracted.tolist() == [expected[k][1].extracted for k in sorted(expected)]
    for name, kind in [("query", np.int32), ("kind", np.int8), ("verdict", np.int8), ("logprob", np.float32)]:
        assert getattr(columns, name).dtype == kind
    assert isinstance(Responses.concatenate([columns, columns.take(columns.correct)]), Responses)


def test_no_response_is_doubled(tmp_path) -> None:
    with ResponseLog(tmp_path, 0) as log:
        log.append(_rollout(1, 1), Verdict(VerdictKind.CORRECT))
    again = ResponseLog(tmp_path, 0)
    with pytest.raises(ValueError, match="trial 1 of query 1 is in the log already"):
        again.append(_rollout(1, 1), Verdict(VerdictKind.CORRECT))


def test_rows_that_appear_in_two_parts_count_once(tmp_path) -> None:
    with ResponseLog(tmp_path, 0) as log:
        for query, trial in [(0, 0), (0, 1), (1, 1)]:
            log.append(_rollout(query, trial), Verdict(VerdictKind.CORRECT))
    part = next(tmp_path.glob("part-*"))
    shutil.copy(part, part.with_name(part.name.replace("000000", "000001")))
    columns = ResponseLog(tmp_path, 0).responses()
    assert list(zip(columns.query, columns.trial, strict=True)) == [(0, 0), (0, 1), (1, 1)]
    assert len(ResponseLog(tmp_path, 0).stored()) == 3


def test_held_responses_are_written_when_the_block_raises_and_when_time_is_up(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), ResponseLog(tmp_path, 0) as log:
        log.append(_rollout(0, 0), Verdict(VerdictKind.CORRECT))
        raise KeyboardInterrupt
    assert len(ResponseLog(tmp_path, 0)) == 1
    hasty = ResponseLog(tmp_path, 0, flush_seconds=0)
    hasty.append(_rollout(0, 1), Verdict(VerdictKind.CORRECT))
    assert len(ResponseLog(tmp_path, 0)) == 2


def test_a_temporary_part_is_ignored_and_a_broken_one_named(tmp_path) -> None:
    with ResponseLog(tmp_path, 0) as log:
        log.append(_rollout(0, 0), Verdict(VerdictKind.CORRECT))
    (tmp_path / ".part-000001.parquet.99.partial").write_bytes(b"PAR1 half")
    assert len(ResponseLog(tmp_path, 0).stored()) == 1
    (tmp_path / "part-000001.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match=r"part-000001\.parquet: not a readable part"):
        ResponseLog(tmp_path, 0).stored()


def test_an_empty_log_has_empty_columns(tmp_path) -> None:
    columns = ResponseLog(tmp_path / "none", 0).responses()
    assert len(columns) == 0
    assert columns.query.dtype == np.int32
    assert columns.correct.dtype == bool


# --- the run directory ----------------------------------------------------------------------------------


FACTS = RunFacts(
    parameters=7,
    model_digest="m",
    mesh={"data": 1},
    data=DataFacts(
        train=TrainingSource(source="d.jsonl", queries=3, skipped=("q7",), digest="d"),
        evaluation={
            "t": EvaluationSource(
                source="t.jsonl",
                queries=2,
                skipped=(),
                digest="e",
                contaminated=1,
                contamination=Contamination(exact=("t1",), ngrams={"t1": 1.0}, mean_share=0.5, short=0),
            )
        },
    ),
    device="1 x cpu",
)


EVALUATED = EvaluationResult(evaluation={}, paired={}, length_ratio=None, flops=Flops())


def test_stages_and_facts_survive(tmp_path) -> None:
    folder = tmp_path / "runs" / "a"
    with _open(_config(folder)) as store:
        assert not store.is_done("00/train")
        assert store.result("00/train", TrainedResult) is None
        evaluated = EvaluationResult(
            evaluation={}, paired={}, length_ratio=np.float32(0.5), flops=Flops(useful=np.int64(7))
        )
        store.mark_done("base/evaluate", evaluated, seconds=2.0)
        store.mark_done("00/train", TrainedResult(training=TrainingResult(examples=3), flops=Flops()))
        store.annotate(FACTS)
        with pytest.raises(ValueError, match="done already"):
            store.mark_done("00/train", {})
    with _open(_config(folder)) as store:
        assert list(store.stages) == ["base/evaluate", "00/train"]
        assert store.stages["base/evaluate"].seconds == 2.0
        assert store.result("base/evaluate", EvaluationResult).length_ratio == 0.5
        assert store.result("00/train", TrainedResult).training.examples == 3
        assert store.facts == FACTS
        assert store.versions["numpy"] == np.__version__
    read = RunStore.read(folder)
    assert read.is_done("00/train")
    assert build_config(read.config) == _config(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["sessions"]) == 2


def test_a_moved_run_is_read_where_it_is(tmp_path) -> None:
    with _open(_config(tmp_path / "a")) as store:
        store.write_result("levels.json", SetLevels(trials=2, levels=("easy",)))
    (tmp_path / "a").rename(tmp_path / "b")
    assert RunStore.read(tmp_path / "b").read_result(SetLevels, "levels.json").levels == ("easy",)
    with pytest.raises(UserError, match="is not a run"):
        RunStore.read(tmp_path / "a")


def test_changes_that_are_allowed_on_resume(tmp_path) -> None:
    _open(_config(tmp_path / "a")).close()
    changed = _config(
        tmp_path / "a",
        "run.rounds=5",
        "sampling.slots=3",
        "mesh.fsdp=2",
        "logging.log_every=7",
        "profile=true",
    )
    with _open(changed) as store:
        assert store.config["run"]["rounds"] == 5
    assert build_config(RunStore.read(tmp_path / "a").config) == changed


def test_what_was_chosen_is_written_to_the_config_and_kept(tmp_path) -> None:
    """A resumed run keeps chosen shapes; a set key wins, or is refused where it changes the result."""
    folder = tmp_path / "a"
    with _open(_config(folder)) as store:
        store.choose({"sampling.slots": 48, "sampling.tick_steps": 16, "sampling.prompt_buckets": [64, 320]})
        store.mark_done("base/evaluate", EVALUATED)
    for again in (_config(folder), _config(folder, "sampling.tick_steps=16", "sampling.slots=3")):
        with _open(again) as store:
            sampling = store.config["sampling"]
        assert sampling["slots"] == (again.sampling.slots or 48)
        assert (sampling["tick_steps"], sampling["prompt_buckets"]) == (16, [64, 320])
        assert build_config(RunStore.read(folder).config).sampling.tick_steps == 16
    with pytest.raises(UserError, match=r"sampling\.tick_steps: 16 → 8"):
        _open(_config(folder, "sampling.tick_steps=8"))


def test_changes_that_are_refused_are_all_named(tmp_path) -> None:
    with _open(_config(tmp_path / "a", "run.rounds=3")) as store:
        store.mark_done("base/evaluate", EVALUATED)
    before = (tmp_path / "a" / "config.yaml").read_text()
    with pytest.raises(UserError) as caught:
        _open(
            _config(
                tmp_path / "a",
                "training.learning_rate=0.5",
                "run.seed=4",
                "sampling.stop=[x]",
                "run.rounds=1",
                "sampling.slots=3",
            )
        )
    message = str(caught.value)
    for text in (
        "training.learning_rate: 2e-05 → 0.5",
        "run.seed: 0 → 4",
        'sampling.stop: [] → ["x"]',
        "run.rounds: 3 → 1, which may only grow",
    ):
        assert text in message
    assert "slots" not in message
    assert "\n" not in message
    assert (tmp_path / "a" / "config.yaml").read_text() == before
    _open(_config(tmp_path / "a", "run.rounds=3")).close()  # the refusal let go of the lock


def test_one_process_at_a_time(tmp_path) -> None:
    child = _child(
        "import sys, time; from pathlib import Path; from dast_jax.store.durable import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)",
        str(tmp_path),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(UserError, match=rf"another process \(pid {child.pid}\) is working on this run"):
        _open(_config(tmp_path))
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=20)
    _open(_config(tmp_path)).close()


def test_a_folder_with_other_things_is_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"^run\.dir: .* holds other files but no run"):
        _open(_config(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^run\.dir: .* cannot be used"):
        _open(_config(tmp_path / "file"))


def test_a_run_killed_while_it_was_created_is_created_again(tmp_path) -> None:
    with _open(_config(tmp_path)) as store:
        store.write_result("rounds/00/eval.json", EvalFile(sets={}, samples=(), length_ratio=None))
    (tmp_path / "rounds" / "00" / ".eval.json.1.partial").write_text("{")
    _open(_config(tmp_path)).close()
    assert not (tmp_path / "rounds").exists()  # of no finished stage
    for name in ("manifest.json", "log.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    with _open(_config(tmp_path, "run.seed=8")) as store:  # it had not begun
        assert store.stages == {}


@pytest.mark.parametrize("version", ["dast_jax.run/1", "dast_jax.run/99"])
def test_another_layout_version_is_refused(version, tmp_path) -> None:
    _open(_config(tmp_path)).close()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    durable.write_json(tmp_path / "manifest.json", {**manifest, "schema": version})
    with pytest.raises(UserError, match=rf"manifest\.json: its schema is '{version}'"):
        _open(_config(tmp_path))


def test_training_sets_and_difficulty_round_trip(tmp_path) -> None:
    pool = Pool(tuple(Query(id=f"q{i}", question=f"{i}?", answer=str(i)) for i in range(3)))
    text = np.array(["a = 1\n\n", "б", ""], object)
    training_set = TrainingSet(
        query=np.array([2, 0, 2], np.int32),
        text=text,
        is_reference=np.array([True, False, False]),
        shortfall={"hard": 4},
    )
    with _open(_config(tmp_path)) as store:
        store.write_training_set(1, pool, training_set)
        read = store.read_training_set(1)
        assert read.shortfall == {"hard": 4}
        for name in ("query", "text", "is_reference"):
            np.testing.assert_array_equal(getattr(read, name), getattr(training_set, name), strict=True)
        with store.response_log(1) as log:
            for trial, kind in enumerate([VerdictKind.CORRECT, VerdictKind.INCORRECT]):
                log.append(_rollout(2, trial), Verdict(kind))
        levels = np.array([3, -1, 1], np.int8)
        written = query_table(levels, log.responses(), training_set, 3)
        store.write_difficulty(1, pool, written)
        table = store.read_difficulty(1)
        for name in ("level", "trials", "correct", "plain_trials", "plain_correct"):
            np.testing.assert_array_equal(getattr(table, name), getattr(written, name), strict=True)
        assert table.level.tolist() == [3, -1, 1]
        assert (table.trials.tolist(), table.correct.tolist()) == ([0, 0, 2], [0, 0, 1])
        assert (table.own_rows.tolist(), table.reference_rows.tolist()) == ([1, 0, 1], [0, 0, 1])
        assert table.levels_from == "method"
        with pytest.raises(UserError, match=r"rounds/02/train\.parquet: no such file"):
            store.read_training_set(2)


# --- metrics and log ------------------------------------------------------------------------------------


def test_metrics_survive_a_torn_line_and_a_redone_stage(tmp_path) -> None:
    with _open(_config(tmp_path)) as store:
        store.log_metrics("train", round=1, step=1, loss=np.float32(2.0))
        store.log_metrics("train", round=1, step=2, loss=float("nan"))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "train", "rou')
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    with _open(_config(tmp_path)) as store:
        store.log_metrics("train", round=1, step=2, loss=1.5)
        store.log_metrics("evaluation", round=1, set="test", accuracy=0.25)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["stage"], line.get("step"), line.get("loss")) for line in lines] == [
        ("train", 1, 2.0),
        ("train", 2, 1.5),
        ("evaluation", None, None),
    ]
    for text in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(text)


def test_log_every_thins_training_steps(tmp_path) -> None:
    with _open(_config(tmp_path, "logging.log_every=3")) as store:
        for step in range(1, 8):
            store.log_metrics("train", round=0, step=step, loss=1.0)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 3, 6]


def test_tensorboard_events_are_written(tmp_path) -> None:
    with _open(_config(tmp_path, "logging.tensorboard=true")) as store:
        store.log_metrics("train", round=1, step=1, loss=2.0)
        store.log_metrics("evaluation", round=1, set="test", accuracy=0.25)
    for name, tag in (("round_01", b"train/loss"), ("rounds", b"evaluation/test/accuracy")):
        events = list((tmp_path / "tensorboard" / name).glob("events.*"))
        assert len(events) == 1
        assert tag in events[0].read_bytes()


def test_a_missing_wandb_package_is_reported(tmp_path) -> None:
    if "wandb" in sys.modules or _installed("wandb"):
        pytest.skip("wandb is installed here, so its absence cannot be tried")
    with (
        _open(_config(tmp_path, "logging.wandb=true")) as store,
        pytest.raises(UserError, match=r"^logging\.wandb: the wandb package is not installed"),
    ):
        store.log_metrics("train", round=0, step=1, loss=1.0)


SAMPLES = tuple(
    SampleRow(
        set=name, id=f"{name}-{i}", level=None, question="1|1?", reference="2", text="*two*\nor <b>\x1b",
        tokens=9, verdict="incorrect", extracted=None, truncated=bool(i), runaway=False,
    )
    for name in ("mine", "theirs") for i in (0, 1)
)  # fmt: skip


def test_tensorboard_has_tables_of_samples_without_markup(tmp_path) -> None:
    with _open(_config(tmp_path, "logging.tensorboard=true")) as store:
        store.log_samples(-1, SAMPLES)
        store.log_samples(0, SAMPLES)
    (events,) = (tmp_path / "tensorboard" / "rounds").glob("events.*")
    content = events.read_bytes()
    assert content.count(b"samples/mine/text_summary") == content.count(b"samples/theirs/text_summary") == 2
    assert b"| mine\\-1 |  | 1\\|1? | 2 | \\*two\\*<br>or &lt;b&gt;\\\\x1b | incorrect" in content
    assert not (tmp_path / "metrics.jsonl").read_text()


def test_wandb_has_tables_of_samples(tmp_path, monkeypatch) -> None:
    """In its offline mode, which writes what it would send."""
    pytest.importorskip("wandb", reason="wandb is not installed (extra [wandb])")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with _open(_config(tmp_path, "logging.wandb=true")) as store:
        store.log_metrics("evaluation", round=0, set="mine", accuracy=0.5)
        store.log_samples(0, SAMPLES)
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/samples/mine_*.table.json")
    found = json.loads(table.read_text())
    assert found["columns"] == list(SAMPLE_COLUMNS)
    assert [row[0] for row in found["data"]] == ["mine-0", "mine-1"]
    assert found["data"][1][4] == "*two*\nor <b>\\x1b"


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_the_log_goes_to_a_file(tmp_path) -> None:
    with _open(_config(tmp_path)):
        logging.getLogger("dast_jax.anything").info("hello from a module")
    logging.getLogger("dast_jax.anything").info("after the end")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO hello from a module" in text
    assert "after the end" not in text
