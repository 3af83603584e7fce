"""Run a study: several methods × seeds, one after the other in one process.

Every run is an ordinary run directory, DIR/runs/LABEL-sSEED, so a study that was stopped resumes and skips
what is finished. Runs share what does not depend on the method: M_0's evaluation (copied here), its trials in
round 0 and compiled programs (`study.sharing`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.config import RunConfig, build_config, run_settings
from dast_jax.errors import DivergedError, UserError
from dast_jax.runtime.progress import OnProgress, silent
from dast_jax.store.comparison_results import Gates
from dast_jax.store.durable import FolderLock
from dast_jax.store.results import EvaluationResult
from dast_jax.store.run_store import RunStore
from dast_jax.store.trial_cache import TrialCache
from dast_jax.store.typed_json import write_result
from dast_jax.study.definition import Study
from dast_jax.study.gate_runs import gate_configs, gates_of
from dast_jax.study.sharing import base_fingerprint, sharing_tools

__all__ = ["Diverged", "run_gates", "run_study"]

Diverged = Mapping[tuple[str, int], str]
"""(label, seed) → the message, of runs whose training diverged."""

log = logging.getLogger(__name__)


def run_study(
    study: Study,
    out: Path,
    *,
    after_each: Callable[[Diverged], None] | None = None,
    on_progress: OnProgress = silent,
) -> dict[tuple[str, int], str]:
    """Run or resume every entry with every seed; all entries of a seed come before the next seed.

    A run whose training diverges is noted, and the others continue. Returns the notes, by (label, seed);
    `after_each` gets them after every run.
    Raises `UserError` for user errors, as many as can be found before anything is run, and
    `InterruptedRunError` as `selftrain.run` does.
    """
    configs = [
        (entry.label, seed, study.config(entry, seed, out))
        for seed in study.options.seeds
        for entry in study.entries
    ]
    return _run_locked(configs, out, after_each, on_progress)


def run_gates(study: Study, out: Path, *, on_progress: OnProgress = silent) -> Gates:
    """Run or resume what the study's gates are measured by; write `out`/gates.json and return it.

    Runs of the study among these are not repeated by `run_study`. Raises as it does.
    """
    _run_locked(gate_configs(study, out), out, None, on_progress)
    found = gates_of(study, out)
    write_result(out / "gates.json", found)
    return found


def _run_locked(
    configs: Sequence[tuple[str, int, RunConfig]],
    out: Path,
    after_each: Callable[[Diverged], None] | None,
    on_progress: OnProgress,
) -> dict[tuple[str, int], str]:
    _make_folder(out)
    lock = FolderLock(out)
    try:
        return _run_all(configs, out, after_each, on_progress)
    finally:
        lock.close()


def _run_all(
    configs: Sequence[tuple[str, int, RunConfig]],
    out: Path,
    after_each: Callable[[Diverged], None] | None,
    on_progress: OnProgress,
) -> dict[tuple[str, int], str]:
    from dast_jax.loop.selftrain import run

    diverged: dict[tuple[str, int], str] = {}
    trials: dict[str, TrialCache] = {}
    engines: dict[Any, Any] = {}
    directories = [Path(config.run.dir) for _, _, config in configs]
    for number, (label, seed, config) in enumerate(configs, start=1):
        log.info("run %d of %d: %s, seed %d", number, len(configs), label, seed)
        fingerprint = base_fingerprint(config)
        if fingerprint not in trials:  # seeds come one after the other: the last one's can go
            trials = {fingerprint: TrialCache(out / "shared" / f"trials-{fingerprint}.parquet")}
        try:
            _copy_base_evaluation(config, directories)
            run(config, on_progress=on_progress, tools=sharing_tools(config, trials[fingerprint], engines))
        except DivergedError as error:
            log.warning("%s, seed %d: %s", label, seed, error)
            diverged[label, seed] = str(error)
        except UserError as error:
            raise UserError(f"entry {label}, seed {seed}: {error}") from error
        if after_each is not None:
            after_each(diverged)
    return diverged


def _copy_base_evaluation(config: RunConfig, directories: Sequence[Path]) -> None:
    """Copy M_0's evaluation from another run of the study into a run that has not begun."""
    target = Path(config.run.dir)
    if (target / "manifest.json").exists():
        return
    for directory in directories:
        if directory == target or not (directory / "manifest.json").exists():
            continue
        other = RunStore.read(directory)
        found = other.result("base/evaluate", EvaluationResult)
        if found is None or other.damage("base/evaluate"):
            continue
        # What this run leaves to be chosen was chosen there, and would be the same here.
        same = build_config(run_settings(config).kept(other.config))
        if base_fingerprint(build_config(other.config)) != base_fingerprint(same):
            continue
        with RunStore.open(run_settings(config)) as store:
            shutil.copytree(directory / "rounds" / "base", target / "rounds" / "base", dirs_exist_ok=True)
            for name, entry in found.evaluation.items():
                store.log_metrics("evaluation", round=-1, set=name, accuracy=entry.accuracy)
            if other.facts is not None:
                store.annotate(other.facts)  # the run compares its own data with those of the evaluation
            store.mark_done("base/evaluate", found, shared_from=directory.name)
        return


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be used ({error.strerror}); name another folder") from error
