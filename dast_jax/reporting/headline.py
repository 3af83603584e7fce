"""The top of the report: what was run, the result in a sentence with numbers, and the warnings."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from dast_jax.metrics.stats import Accuracy, PairedDifference, Score, paired_difference
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html
from dast_jax.reporting.numbers import number, percent, signed_points, tokens
from dast_jax.reporting.page import card, cards, head, notice, table, tile
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.evaluation_results import EvalEntry
from dast_jax.store.results import Summary

__all__ = [
    "accuracy_cell",
    "difference_between",
    "difference_cell",
    "difference_class",
    "difference_text",
    "header",
    "last_round",
    "method_name",
    "run_difference",
    "sentence",
    "warnings",
]


def header(runs: Sequence[RunData]) -> Html:
    """Title, facts, the result in a sentence, a tile per evaluation set, warnings."""
    if len(runs) > 1:
        top = head(f"{len(runs)} runs compared", {}, [(run.label, sentence(run)) for run in runs])
        return Html(top + _comparison(runs) + warnings(runs))
    (run,) = runs
    return Html(head(run.label, _facts(run), [("", sentence(run))]) + _tiles(run) + warnings(runs))


def sentence(run: RunData) -> str:
    """Return what the run was and its result, with numbers, in one sentence."""
    summary = run.summary
    method = method_name(summary, "self-training").upper().replace("_", "-")
    what = f"{method} on {_model_name(summary)}"
    results = []
    for name in run.sets:
        base, last = base_point(run, name), last_round(run, name)
        if base is None:
            continue
        before = _with_length(base.evaluation[name])
        if last is None:
            results.append(f"{name} starts at {before}")
            continue
        after = _with_length(last.evaluation[name])
        change = difference_text(last.paired.get(name), words=True)
        results.append(
            f"{name} accuracy went from {before} to {after} by {last.name}"
            + (f" ({change})" if change else "")
        )
    state = "" if run.finished else f" The run is unfinished: {_progress(run)}."
    if not results:
        return f"{what}: nothing has been evaluated yet.{state}"
    return f"{what}: {'; '.join(results)}.{state}"


def _with_length(entry: EvalEntry) -> str:
    return f"{percent(entry.accuracy)} ({tokens(entry.mean_length)} tokens a response)"


def base_point(run: RunData, name: str) -> Point | None:
    return next((p for p in run.evaluated(name) if p.round is None), None)


def last_round(run: RunData, name: str) -> Point | None:
    """Return the last round in which set `name` was evaluated."""
    rounds = [p for p in run.evaluated(name) if p.round is not None]
    return rounds[-1] if rounds else None


def difference_text(paired: PairedDifference | None, *, words: bool = False) -> str:
    """Return "+8.8 points [+5.0, +12.4]", in words with `words`; "" where there is none."""
    if paired is None:
        return ""
    low, high = map(signed_points, paired.interval)
    change = f"{signed_points(paired.difference)} points"
    if words:
        return f"{change}, paired 95\u202f% interval {low} to {high}"
    return f"{change} [{low}, {high}]"


def difference_cell(paired: PairedDifference | None) -> Html:
    """Return the difference and its interval, colored when the interval leaves zero out."""
    if paired is None:
        return Html("–")
    low, high = map(signed_points, paired.interval)
    change = signed_points(paired.difference)
    return Html(f'<span class="{difference_class(paired)}">{change}</span> <small>[{low}, {high}]</small>')


def difference_class(paired: PairedDifference) -> str:
    """Return gain, loss, or same where the interval holds zero."""
    low, high = paired.interval
    return "gain" if low > 0 else "loss" if high < 0 else "same"


def accuracy_cell(entry: Accuracy | Score | None, length: float | None = None) -> Html:
    """Return "55.0 % [50.6, 59.3] · 45.1 tokens", the mean length of an evaluation's or of `length`."""
    if entry is None:
        return Html("–")
    low, high = entry.interval
    length = entry.mean_length if isinstance(entry, EvalEntry | LevelAccuracy) else length
    note = "" if length is None else f" · {tokens(length)} tokens"
    return Html(f"{percent(entry.accuracy)} <small>[{100 * low:.1f}, {100 * high:.1f}]{note}</small>")


def difference_between(a: Mapping[str, float], b: Mapping[str, float]) -> PairedDifference | None:
    """Return the paired a − b over the queries that both scored; None where they share none."""
    shared = [i for i in a if i in b]
    if not shared:
        return None
    return paired_difference([a[i] for i in shared], [b[i] for i in shared])


def run_difference(run: RunData, other: RunData, name: str) -> PairedDifference | None:
    """Return the last evaluated round of `run` minus that of `other` on a set, paired by query id."""
    mine, theirs = last_round(run, name), last_round(other, name)
    if mine is None or theirs is None:
        return None
    return difference_between(run.scores(mine, name), other.scores(theirs, name))


def warnings(runs: Sequence[RunData]) -> Html:
    """Return the warnings of the runs; empty without any."""
    lines = [
        (f"{run.label}: " if len(runs) > 1 else "") + line for run in runs for line in run.summary.warnings
    ]
    return notice("Warnings", list(dict.fromkeys(lines)))


def _tiles(run: RunData) -> Html:
    tiles = []
    for name in run.sets:
        base, last = base_point(run, name), last_round(run, name)
        shown = last or base
        if shown is None:
            continue
        entry = shown.evaluation[name]
        was = f"from {_with_length(base.evaluation[name])}" if last and base else "before training"
        paired = shown.paired.get(name)
        kind = difference_class(paired) if paired else ""
        tiles.append(
            tile(
                f"{name} · {entry.n} questions · mean length {tokens(entry.mean_length)} tokens",
                percent(entry.accuracy),
                was=was,
                change=difference_text(paired) + (": no clear change" if kind == "same" else ""),
                kind=kind,
            )
        )
    return cards(tiles)


def _facts(run: RunData) -> dict[str, object]:
    """Return what the run was, by name; "" where it is not known."""
    summary = run.summary
    total, rounds = summary.total, summary.rounds
    return {
        "status": "finished" if run.finished else _progress(run),
        "method": method_name(summary),
        "model": _model_name(summary),
        "seed": summary.seed if summary.model else "",
        "rounds": f"{rounds[0].round}–{rounds[-1].round}" if rounds else "",
        "training queries": summary.data.train.queries or "",
        "device": summary.device,
        "time": _duration(total.seconds),
        "memory": f"{total.peak_memory_gib:.1f} GiB" if total.peak_memory_gib else "",
        "dast_jax": summary.versions.get("dast_jax", ""),
        "as of": _as_of(run),
    }


def _comparison(runs: Sequence[RunData]) -> Html:
    """One row a run: what it used; then for each set what it reached, and its difference to the first run."""
    used: list[list[object]] = [["run", "method", "seed", "trained examples", "sampled tokens", "time"]]
    for run in runs:
        used.append(
            [
                run.label,
                method_name(run.summary, "–"),
                run.summary.seed,
                number(sum(entry.training.examples for entry in run.rounds if entry.training)),
                number(sum(entry.sampling.tokens for entry in run.rounds)),
                _duration(run.summary.total.seconds) or "–",
            ]
        )
    sets = list(dict.fromkeys(name for run in runs for name in run.sets))
    note = (
        "Last evaluated round of each run; 95\u202f% intervals; differences are paired by question; "
        "tokens are the mean of a response."
    )
    return cards([card(table(used)), *(card(_reached(runs, name, note)) for name in sets)], wide=True)


def _reached(runs: Sequence[RunData], name: str, note: str) -> Html:
    rows: list[list[object]] = [[name, "accuracy", "− base", f"− {runs[0].label}"]]
    for run in runs:
        last = last_round(run, name)
        versus = None if run is runs[0] else run_difference(run, runs[0], name)
        rows.append(
            [
                run.label,
                accuracy_cell(last.evaluation[name]) if last else "–",
                difference_cell(last.paired.get(name)) if last else "–",
                difference_cell(versus),
            ]
        )
    return table(rows, caption=note)


def method_name(summary: Summary, otherwise: str = "") -> str:
    """Return the name of the run's method."""
    return str(summary.method.get("name", otherwise))


def _model_name(summary: Summary) -> str:
    model = summary.model.rstrip("/").rsplit("/", 1)[-1] or "its model"
    return f"{model} ({number(summary.parameters)} parameters)" if summary.parameters else model


def _progress(run: RunData) -> str:
    return f"round {run.rounds[-1].round} in progress or done" if run.rounds else "no round has finished"


def _duration(seconds: float) -> str:
    if not seconds:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _as_of(run: RunData) -> str:
    path = run.path / "summary.json"
    if not path.exists():
        return ""
    return datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
