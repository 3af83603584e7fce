"""Programs compiled ahead are those that the run then calls: nothing is compiled twice, and nothing else."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import jax
import pytest

from dast_jax.config import build_config, config_path
from dast_jax.errors import InterruptedRunError
from dast_jax.loop import selftrain, training
from dast_jax.loop.selftrain import run
from dast_jax.methods.lookup import trains_on
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.runtime.ahead import one_after_another, wait_for
from dast_jax.runtime.progress import Progress
from dast_jax.sampling import engine
from dast_jax.training import step


@pytest.fixture
def compiled():
    """(program, whether by the main thread) of each compilation, counted."""
    for thread in threading.enumerate():  # an earlier test's, which was not waited for
        if thread.name.startswith("ahead"):
            thread.join()
    found: Counter[tuple[str, bool]] = Counter()

    def note(event: str, seconds: float, **keywords: object) -> None:
        if event.endswith("backend_compile_duration"):
            here = threading.current_thread() is threading.main_thread()
            found[str(keywords.get("fun_name")).removeprefix("jit(").rstrip(")"), here] += 1

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


class Held(ThreadPoolExecutor):
    """Begins its work only when that is waited for, and in any case at the end."""

    def __init__(self) -> None:
        super().__init__(1, "ahead")
        self.released: dict[Future, threading.Event] = {}

    def submit(self, work, /, *arguments):
        release = threading.Event()
        future = super().submit(lambda: (release.wait(20), work(*arguments)))
        self.released[future] = release
        return future


@pytest.fixture
def held(monkeypatch):
    """Make nothing ready before it is needed: what is not waited for is compiled by the main thread."""
    executors: list[Held] = []

    @contextmanager
    def held_back():
        with Held() as executor:
            executors.append(executor)
            try:
                yield executor
            finally:
                for release in executor.released.values():
                    release.set()

    def release_and_wait(future):
        executors[-1].released[future].set()
        wait_for(future)

    monkeypatch.setattr(selftrain, "one_after_another", held_back)
    monkeypatch.setattr(engine, "wait_for", release_and_wait)
    monkeypatch.setattr(training, "wait_for", release_and_wait)


def test_a_run_compiles_each_program_once_and_those_it_can_ahead(tmp_path, compiled, held):
    step._make_train_step.cache_clear()  # another test may have compiled the same
    overrides = (
        f"run.dir={tmp_path / 'run'}", "run.rounds=0", "data.limit=6", "evaluation.limit=2",
        "evaluation.length_probe=0", "evaluation.probe=0", "evaluation.max_new_tokens=24",
        "sampling.max_new_tokens=24", "sampling.slots=8", "training.batch_size=2", "training.epochs=1",
        "logging.tensorboard=false", "method.trials=5", "method.max_trials=6",
        "mesh.cpu_data=0",
    )  # fmt: skip
    config = build_config(apply_overrides(load_yaml(config_path("quickstart")), overrides))

    def stop(event: Progress) -> None:
        if event.title == "round 0: evaluating in_domain":
            raise InterruptedRunError("stopped by the test")

    with pytest.raises(InterruptedRunError):
        run(config, on_progress=stop)
    ahead = {program: count for (program, here), count in compiled.items() if not here}
    assert ahead == {"insert": 2, "decode": 2, "step": 1}  # two engines, one training
    assert not {"insert", "decode", "step"} & {program for program, here in compiled if here}

    step._make_train_step.cache_clear()
    compiled.clear()
    run(config)  # only the evaluation is left
    assert "step" not in {program for program, _ in compiled}


BARE = """
from dataclasses import dataclass
from dast_jax.methods import Method, MethodOptions

@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    pass

class Bare(Method):
    def requests(self, tally, news):
        raise NotImplementedError
    def training_set(self, responses):
        raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rft", (True, False)), ("dpo", (True, True)), ("bare_method_without_types", (True, False))],
)
def test_what_a_method_trains_on(name, expected, tmp_path, monkeypatch):
    (tmp_path / "bare_method_without_types.py").write_text(BARE)
    monkeypatch.syspath_prepend(tmp_path)
    mapping = load_yaml(config_path("quickstart")) | {"method": {"name": name}}
    assert trains_on(build_config(apply_overrides(mapping, ())).method) == expected


def test_work_that_failed_or_was_cancelled_is_left_to_who_needs_it():
    with one_after_another() as executor:
        failed = executor.submit(lambda: 1 / 0)
        wait_for(failed)
        assert isinstance(failed.exception(), ZeroDivisionError)
        begun, go_on = threading.Event(), threading.Event()
        first = executor.submit(lambda: (begun.set(), go_on.wait(60)))
        second: Future[int] = executor.submit(lambda: 2)
        begun.wait(60)
    wait_for(second)
    assert second.cancelled()
    go_on.set()
    wait_for(first)
    assert first.done()
