"""When a stage counts as done whose result is written in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dast_jax.config import load_config, run_settings
from dast_jax.errors import InterruptedRunError
from dast_jax.loop.stages import Stages, Written
from dast_jax.metrics.flops import Flops
from dast_jax.store.results import (
    DataFacts,
    EvaluationResult,
    RunFacts,
    TrainedResult,
    TrainingResult,
    TrainingSource,
)
from dast_jax.store.run_store import RunStore

TRAINED = TrainedResult(training=TrainingResult(), flops=Flops())
EVALUATED = EvaluationResult(evaluation={}, paired={}, length_ratio=None, probe=None, flops=Flops())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    needed = [f"run.dir={tmp_path / 'run'}", "model.path=m", "data.train=t", "logging.tensorboard=false"]
    source = TrainingSource(source="t", queries=1, skipped=(), digest="d")
    data = DataFacts(train=source, evaluation={})
    with RunStore.open(run_settings(load_config(None, needed))) as opened:
        opened.annotate(RunFacts(parameters=7, model_digest="m", mesh={}, data=data, device="cpu"))
        yield opened


def on_disk(store: RunStore) -> list[str]:
    """Return the stages that are done for whoever opens the run now."""
    return list(RunStore.read(store.path).stages)


def ignore() -> None:
    pass


def test_a_stage_is_done_as_soon_as_its_result_is_written_and_the_next_one_does_not_wait(
    store: RunStore,
) -> None:
    durable, forgotten, finished = threading.Event(), threading.Event(), []

    def evaluate() -> EvaluationResult:
        assert on_disk(store) == []
        durable.set()
        assert forgotten.wait(60)
        assert on_disk(store) == ["00/train"]
        assert not finished
        return EVALUATED

    written = Written(lambda: durable.wait(60), forgotten.set, lambda: finished.append(on_disk(store)))
    with Stages(store) as stage:
        stage("00/train", lambda: TRAINED, written=written)
        stage("00/evaluate", evaluate)
        assert on_disk(store) == ["00/train", "00/evaluate"]
        stage("00/evaluate", pytest.fail, "it is done")
    assert finished == [["00/train"]]


def test_a_stopped_run_waits_for_what_is_written(store: RunStore) -> None:
    durable = threading.Event()
    with pytest.raises(InterruptedRunError, match="stopped"), Stages(store) as stage:
        stage("00/train", lambda: TRAINED, written=Written(lambda: durable.wait(60), ignore, ignore))
        threading.Timer(0.1, durable.set).start()
        raise InterruptedRunError("stopped")
    assert on_disk(store) == ["00/train"]


def fail() -> None:
    raise InterruptedRunError("the disk is full")


def test_what_could_not_be_written_is_not_done_and_ends_the_run(store: RunStore) -> None:
    with pytest.raises(InterruptedRunError, match="the disk is full"), Stages(store) as stage:
        stage("00/train", lambda: TRAINED, written=Written(fail, pytest.fail, pytest.fail))
        stage("00/evaluate", lambda: EVALUATED)
    assert on_disk(store) == []


def test_what_could_not_be_written_is_logged_where_another_error_ends_the_run(
    store: RunStore, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InterruptedRunError, match="stopped"), Stages(store) as stage:
        stage("00/train", lambda: TRAINED, written=Written(fail, pytest.fail, pytest.fail))
        raise InterruptedRunError("stopped")
    assert on_disk(store) == []
    assert "the disk is full" in caplog.text
