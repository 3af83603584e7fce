"""The runs that a study's gates are measured by, and the gates from their results.

The runs of `sft`, and that of `rft` with the first seed, are the study's own where it has them, and are then
not repeated; in `gates/` are round 0 of `rft` with the other seeds, and `estimate`, with twice the trials of
the study's level estimate, behind the same exemplars: two estimates, from every other trial, and beside them
M_0 probed without exemplars on the same queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dast_jax.config import RunConfig, build_config
from dast_jax.errors import UserError
from dast_jax.estimators.levels import DEFAULT_CUTS, Cuts, levels_from_counts
from dast_jax.records import Responses
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.comparison_results import Gate, Gates
from dast_jax.store.results import Summary
from dast_jax.store.run_store import RunStore
from dast_jax.store.typed_json import read_result
from dast_jax.study import gates as of
from dast_jax.study.definition import Entry, Study, merged, run_directory

__all__ = ["gate_configs", "gates_of", "two_estimates"]

_ALL = 1_000_000_000
_PROBE_TRIALS = 16


def gates_of(study: Study, out: Path) -> Gates:
    """Return the gates by the runs of `gate_configs` that have finished."""
    return Gates(name=study.options.name, gates=tuple(_gates(study, out)))


def gate_configs(study: Study, out: Path) -> list[tuple[str, int, RunConfig]]:
    """Return the configs of the runs by which the gates are measured, with their labels and seeds."""
    entries = {entry.label: entry for entry in study.entries}
    first, *others = _seeds(study)
    wanted = [("sft", seed) for seed in (first, *others)] + [("rft", first)]
    configs = [
        (label, seed, study.config(entries[label], seed, out)) for label, seed in wanted if label in entries
    ]
    if "rft" in entries:
        short = Entry(label="rft", settings=merged(entries["rft"].settings, {"run": {"rounds": 0}}))
        configs += [("rft, round 0", seed, study.config(short, seed, out / "gates")) for seed in others]
    return [*configs, ("estimate", first, _estimate_config(study, out))]


def _seeds(study: Study) -> list[int]:
    """Return the study's seeds, filled up by further ones to as many as `sft` needs."""
    seeds = list(study.options.seeds)
    further = (seed for seed in range(max(seeds) + 1, max(seeds) + 1 + of.SEEDS) if seed not in seeds)
    while len(seeds) < of.SEEDS:
        seeds.append(next(further))
    return seeds[: of.SEEDS]


def _estimate_config(study: Study, out: Path) -> RunConfig:
    """Return the config of round 0 of DAST with twice the trials of the study's estimate.

    Raises `UserError` where no entry, nor the base config, estimates levels as DAST does.
    """
    seed = study.options.seeds[0]
    candidates = [*study.entries, Entry(label="estimate", settings={})]
    configs = (study.config(entry, seed, out) for entry in candidates)
    options = next((config.method for config in configs if config.method_name == "dast"), None)
    if options is None:
        raise UserError("gates: no entry has method dast, whose level estimate they measure; add one")
    kept = ("trials", "easy_cut", "hard_cut", "exemplars", "max_trials")
    method = {"name": "dast", **{key: getattr(options, key) for key in kept}}
    method["trials"] *= 2
    method["max_trials"] = max(method["trials"], method["max_trials"])
    settings = {
        "run": {"rounds": 0},
        "method": method,
        "evaluation": {"limit": 1, "probe": _ALL, "probe_trials": _PROBE_TRIALS, "length_probe": 0},
        "training": {"max_steps": 1},
    }
    return study.config(Entry(label="estimate", settings=settings), seed, out / "gates")


# --- results ------------------------------------------------------------------------------------------


def _gates(study: Study, out: Path) -> Iterator[Gate]:
    """Yield the gates, in the order of docs/comparison.md."""
    seeds = _seeds(study)
    sft = [summary for seed in seeds if (summary := _summary(run_directory(out, "sft", seed)))]
    rft = _summary(run_directory(out, "rft", seeds[0]))
    others = [_summary(run_directory(out / "gates", "rft", seed)) for seed in seeds[1:]]
    yield of.length_gate("sft", *_lengths(sft))
    yield of.length_gate("rft", *_lengths([summary for summary in (rft, *others) if summary]))
    sets = dict.fromkeys(name for summary in sft for name in summary.rounds[-1].evaluation)
    yield of.spread_gate({s: [x.rounds[-1].evaluation[s].accuracy for x in sft] for s in sets})
    yield from _estimate_gates(run_directory(out / "gates", "estimate", seeds[0]))
    steps = [r.analysis.steps for r in rft.rounds if r.analysis] if rft else []
    mode = study.config(study.entries[0], seeds[0], out).verifier.steps
    yield of.false_positive_gate(steps, mode)
    name, base, last = _levels(rft)
    yield of.room_gate(base, last, name)


def _estimate_gates(directory: Path) -> Iterator[Gate]:
    store, summary = RunStore.read(directory), read_result(Summary, directory / "summary.json")
    options = build_config(store.config).method
    cuts = getattr(options, "cuts", DEFAULT_CUTS)
    responses = store.response_log(0).responses()
    a, b, trials = two_estimates(responses, cuts)
    yield from of.agreement_gates(a, b, trials)
    yield from of.level_gates(a, b, trials, cuts)
    zero_shot = summary.base.probe.zero_shot if summary.base and summary.base.probe else None
    analysis = summary.rounds[0].analysis
    yield of.modes_gate(
        zero_shot.accuracy if zero_shot else None,
        zero_shot.n * _PROBE_TRIALS if zero_shot else 0,
        responses.correct,
        analysis.steps if analysis else {},
    )


def two_estimates(responses: Responses, cuts: Cuts = DEFAULT_CUTS) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the levels, int8 [n] each, by the even and by the odd trials of a round, and how many these are.

    Every query has had equally many trials.
    """
    query, odd = responses.query, responses.trial % 2 == 1
    n = int(query.max()) + 1
    trials = int(np.bincount(query, minlength=n).min()) // 2
    a, b = (
        levels_from_counts(
            np.bincount(query[side & responses.correct], minlength=n),
            np.bincount(query[side], minlength=n),
            cuts,
        )
        for side in (~odd, odd)
    )
    return a, b, trials


def _summary(directory: Path) -> Summary | None:
    """Return the summary of a finished run, or None."""
    path = directory / "summary.json"
    summary = read_result(Summary, path) if path.exists() else None
    return summary if summary and summary.status == "finished" else None


def _lengths(runs: Sequence[Summary]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean length by evaluation set of M_0 and of the first policy, over `runs`."""
    base = [run.base.evaluation for run in runs if run.base]
    first = [run.rounds[0].evaluation for run in runs if run.base]
    names = list(base[0]) if base else []
    if any(name not in sets for sets in first for name in names):  # evaluation.every_round=false
        return {}, {}
    before, after = (
        {name: float(np.mean([sets[name].mean_length for sets in side])) for name in names}
        for side in (base, first)
    )
    return before, after


def _levels(
    summary: Summary | None,
) -> tuple[str, Mapping[str, LevelAccuracy], Mapping[str, LevelAccuracy]]:
    """Return the first evaluation set, and its accuracies by level of M_0 and of the last policy."""
    if summary is None or summary.base is None or not summary.base.evaluation:
        return "", {}, {}
    name = next(iter(summary.base.evaluation))
    return name, summary.base.evaluation[name].by_level, summary.rounds[-1].evaluation[name].by_level
