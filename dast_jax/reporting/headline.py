"""The top of the report: what was run, what came out in a sentence with numbers, and what to beware of."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.metrics.stats import paired_difference
from dast_jax.reporting.load import Point, RunData
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.page import card, cards, table
from dast_jax.reporting.svg import number, percent

__all__ = [
    "accuracy_cell",
    "difference_between",
    "difference_cell",
    "difference_class",
    "difference_text",
    "header",
    "last_round",
    "run_difference",
    "sentence",
    "warnings",
]


def header(runs: Sequence[RunData]) -> Html:
    """Title, facts, the result in a sentence, a tile per evaluation set, warnings."""
    if len(runs) > 1:
        return Html(
            f"<h1>{len(runs)} runs compared</h1>"
            + "".join(f'<p class="lede"><b>{text(run.label)}</b>: {text(sentence(run))}</p>' for run in runs)
            + _comparison(runs)
            + warnings(runs)
        )
    (run,) = runs
    return Html(
        f"<h1>{text(run.label)}</h1>{_chips(run)}"
        f'<p class="lede">{text(sentence(run))}</p>{_tiles(run)}{warnings(runs)}'
    )


def sentence(run: RunData) -> str:
    """What the run was and what came of it, with numbers, in words of one sentence."""
    summary = run.summary
    method = str((summary.get("method") or {}).get("name") or "self-training").upper().replace("_", "-")
    what = f"{method} on {_model_name(summary)}"
    results = []
    for name in run.sets:
        base, last = base_point(run, name), last_round(run, name)
        if base is None:
            continue
        before = base.evaluation[name]["accuracy"]
        if last is None:
            results.append(f"{name} starts at {percent(before)}")
            continue
        after = last.evaluation[name]["accuracy"]
        change = difference_text((last.entry.get("paired") or {}).get(name), words=True)
        results.append(
            f"{name} accuracy went from {percent(before)} to {percent(after)} by {last.name}"
            + (f" ({change})" if change else "")
        )
    state = "" if run.finished else f" The run is unfinished: {_progress(run)}."
    if not results:
        return f"{what}: nothing has been evaluated yet.{state}"
    return f"{what}: {'; '.join(results)}.{state}"


def base_point(run: RunData, name: str) -> Point | None:
    return next((p for p in run.evaluated(name) if p.round is None), None)


def last_round(run: RunData, name: str) -> Point | None:
    """The last round in which set `name` was evaluated."""
    rounds = [p for p in run.evaluated(name) if p.round is not None]
    return rounds[-1] if rounds else None


def difference_text(paired: Mapping[str, Any] | None, *, words: bool = False) -> str:
    """ "+8.8 points [+5.0, +12.4]", in words with `words`; "" where there is nothing to say."""
    if not paired or paired.get("difference") is None:
        return ""
    low, high = (100 * v for v in paired["interval"])
    change = f"{_signed(100 * paired['difference'])} points"
    if words:
        return f"{change}, paired 95\u202f% interval {_signed(low)} to {_signed(high)}"
    return f"{change} [{_signed(low)}, {_signed(high)}]"


def difference_cell(paired: Mapping[str, Any] | None) -> Html:
    """The difference with its interval below it, coloured when the interval leaves zero out."""
    if not paired or paired.get("difference") is None:
        return Html("–")
    low, high = (_signed(100 * v) for v in paired["interval"])
    change = _signed(100 * paired["difference"])
    return Html(f'<span class="{difference_class(paired)}">{change}</span> <small>[{low}, {high}]</small>')


def difference_class(paired: Mapping[str, Any]) -> str:
    """gain, loss, or same where the interval holds zero."""
    low, high = paired["interval"]
    return "gain" if low > 0 else "loss" if high < 0 else "same"


def accuracy_cell(entry: Mapping[str, Any] | None) -> Html:
    """ "55.0 % [50.6, 59.3]"."""
    if not entry or entry.get("accuracy") is None:
        return Html("–")
    low, high = entry["interval"]
    return Html(f"{percent(entry['accuracy'])} <small>[{100 * low:.1f}, {100 * high:.1f}]</small>")


def difference_between(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, Any] | None:
    """Paired a − b over the queries that both scored; None where they share none."""
    shared = [i for i in a if i in b]
    if not shared:
        return None
    return paired_difference([a[i] for i in shared], [b[i] for i in shared])


def run_difference(run: RunData, other: RunData, name: str) -> dict[str, Any] | None:
    """Last evaluated round of `run` minus that of `other` on set `name`, paired by query id."""
    mine, theirs = last_round(run, name), last_round(other, name)
    if mine is None or theirs is None:
        return None
    return difference_between(run.scores(mine, name), other.scores(theirs, name))


def warnings(runs: Sequence[RunData]) -> Html:
    """What the runs warned of; empty when nothing."""
    lines = [
        (f"{run.label}: " if len(runs) > 1 else "") + str(line)
        for run in runs
        for line in run.summary.get("warnings") or ()
    ]
    if not lines:
        return Html("")
    items = "".join(f"<li>{text(line)}</li>" for line in dict.fromkeys(lines))
    return Html(f'<div class="warnings" role="note"><b>Warnings</b><ul>{items}</ul></div>')


def _tiles(run: RunData) -> Html:
    tiles = []
    for name in run.sets:
        base, last = base_point(run, name), last_round(run, name)
        shown = last or base
        if shown is None:
            continue
        entry = shown.evaluation[name]
        was = f"from {percent(base.evaluation[name]['accuracy'])}" if last and base else "before training"
        paired = (shown.entry.get("paired") or {}).get(name)
        change = (
            f'<div class="{difference_class(paired)}">{text(difference_text(paired))}'
            f"{'' if difference_class(paired) != 'same' else ': no clear change'}</div>"
            if paired
            else ""
        )
        tiles.append(
            card(
                Html(f'<div class="name">{text(name)} · {entry["n"]} questions</div>'),
                Html(
                    f'<div class="big">{percent(entry["accuracy"])} '
                    f'<span class="was" style="font-weight:400">{was}</span></div>{change}'
                ),
                kind="tile",
            )
        )
    return cards(tiles)


def _chips(run: RunData) -> Html:
    summary = run.summary
    total, data = summary.get("total") or {}, summary.get("data") or {}
    train = data.get("train") or {}
    method = dict(summary.get("method") or {})
    rounds = [p.round for p in run.rounds]
    facts = {
        "status": "finished" if run.finished else _progress(run),
        "method": method.get("name"),
        "model": _model_name(summary),
        "seed": summary.get("seed"),
        "rounds": f"{rounds[0]}–{rounds[-1]}" if rounds else None,
        "training queries": train.get("queries"),
        "device": summary.get("device"),
        "time": _duration(total.get("seconds")),
        "memory": f"{total['peak_memory_gib']:.1f} GiB" if total.get("peak_memory_gib") else None,
        "dast_jax": (summary.get("versions") or {}).get("dast_jax"),
        "as of": _as_of(run),
    }
    items = "".join(f"<li>{text(k)} <b>{text(v)}</b></li>" for k, v in facts.items() if v not in (None, ""))
    return Html(f'<ul class="chips">{items}</ul>')


def _comparison(runs: Sequence[RunData]) -> Html:
    """One row a run: what it used, what it reached, and its paired difference to the first run."""
    sets = list(dict.fromkeys(name for run in runs for name in run.sets))
    rows: list[list[object]] = [["run", "method", "seed", "trained examples", "sampled tokens", "time"]]
    for name in sets:
        rows[0] += [name, "− base", f"− {runs[0].label}"]
    for run in runs:
        training = [p.entry.get("training") or {} for p in run.rounds]
        sampling = [p.entry.get("sampling") or {} for p in run.rounds]
        row: list[object] = [
            run.label,
            (run.summary.get("method") or {}).get("name", "–"),
            run.summary.get("seed", "–"),
            number(sum(t.get("examples") or 0 for t in training)),
            number(sum(s.get("tokens") or 0 for s in sampling)),
            _duration((run.summary.get("total") or {}).get("seconds")) or "–",
        ]
        for name in sets:
            last = last_round(run, name)
            row.append(accuracy_cell(last.evaluation[name]) if last else "–")
            row.append(difference_cell((last.entry.get("paired") or {}).get(name)) if last else "–")
            versus = None if run is runs[0] else run_difference(run, runs[0], name)
            row.append(difference_cell(versus))
        rows.append(row)
    caption = "Last evaluated round of each run; 95\u202f% intervals; differences are paired by question."
    return card(table(rows, caption=caption))


def _model_name(summary: Mapping[str, Any]) -> str:
    model = str(summary.get("model") or "its model").rstrip("/").rsplit("/", 1)[-1]
    parameters = summary.get("parameters")
    return f"{model} ({number(parameters)} parameters)" if parameters else model


def _progress(run: RunData) -> str:
    rounds = run.rounds
    return f"{rounds[-1].name} under way or done" if rounds else "no round done yet"


def _duration(seconds: float | None) -> str:
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


def _signed(value: float) -> str:
    shown = f"{value:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")
