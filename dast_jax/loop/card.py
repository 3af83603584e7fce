"""What the model card of an exported policy says of its run: method, data, accuracy, how to reproduce it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from dast_jax.config import RunConfig
from dast_jax.loop.chosen_round import evaluation_of
from dast_jax.metrics.stats import Interval
from dast_jax.options import dump_yaml
from dast_jax.store.results import EvaluationResult, TrainedResult
from dast_jax.store.run_store import RunStore

__all__ = ["card_sections"]


def card_sections(store: RunStore, config: RunConfig, round: int, *, selected: bool) -> list[str]:
    """Return the sections of the card, each with its heading; `selected`: the round is the run's best.

    Local paths are named by their last part alone, as in the rest of the card: it may be published.
    """
    return [
        "\n".join(lines)
        for lines in (
            ["## Training", "", *_training(store, config, round)],
            ["## Accuracy", "", *_accuracy(store, config, round, selected)],
            ["## How to reproduce", "", *_reproduce(store)],
        )
    ]


def _training(store: RunStore, config: RunConfig, round: int) -> Iterator[str]:
    yield f"- Method: `{config.method_name}`, {round + 1} rounds (0 to {round}), seed {config.run.seed}."
    facts = store.facts
    sources = [config.data.train, *config.data.mixture]
    count = f", {facts.data.train.queries:,} queries" if facts else ""
    yield f"- Training data: {', '.join(f'`{_shown(source)}`' for source in sources)}{count}."
    totals = [found for r in range(round + 1) if (found := store.result(f"{r:02d}/train", TrainedResult))]
    tokens = sum(found.training.tokens for found in totals)
    examples = ", ".join(f"{found.training.examples:,}" for found in totals)
    yield f"- Examples by round: {examples}; {tokens:,} tokens trained on in total."
    if facts:
        yield f"- Parameters: {facts.parameters:,}; device: {facts.device}."


def _accuracy(store: RunStore, config: RunConfig, round: int, selected: bool) -> Iterator[str]:
    base, after = evaluation_of(store, None), evaluation_of(store, round)
    if not after:
        yield "This round has not been evaluated."
        return
    found = store.result(f"{round:02d}/evaluate", EvaluationResult)
    paired = found.paired if found else {}
    yield "| set | questions | base | this model | difference, paired by question | tokens of a response |"
    yield "|---|---|---|---|---|---|"
    for name, entry in after.items():
        before = base.get(name)
        cells = (
            f"{name} (`{_shown(config.evaluation.sets.get(name, name))}`)",
            f"{entry.n:,}",
            _percent(before.accuracy, before.interval) if before else "–",
            _percent(entry.accuracy, entry.interval),
            _points(paired[name].difference, paired[name].interval) if name in paired else "–",
            f"{entry.mean_length:.1f}",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    trials = config.evaluation.trials
    how = "greedy, one response to each" if trials == 1 else f"the mean of {trials} responses to each"
    shots = config.evaluation.exemplars
    yield f"Brackets are 95 % intervals over questions; {how}, {f'{shots}-shot' if shots else 'zero-shot'}."
    if selected:
        yield "The round was chosen by its accuracy on these sets, which makes it look better than it is."


def _reproduce(store: RunStore) -> Iterator[str]:
    versions = store.versions
    yield f"With dast_jax {versions.get('dast_jax', '?')} and this config (paths are yours to fill in):"
    yield ""
    yield "```"
    yield "dast-jax train --config config.yaml"
    yield "```"
    yield ""
    yield "```yaml"
    yield dump_yaml(_published(store.config)).rstrip()
    yield "```"
    yield ""
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _published(value: Any, key: str = "") -> Any:
    """Return a config with local paths by their last part; endpoints and mirrors are left out."""
    if isinstance(value, Mapping):
        return {_shown(str(k)): _published(v, str(k)) for k, v in value.items() if k != "note"}
    if isinstance(value, list | tuple):
        return [_published(item, key) for item in value]
    if isinstance(value, str):
        return "…" if key in ("endpoint", "mirror") and value else _shown(value)
    return value


_LOCAL = re.compile(r"(?:~|\.{0,2})/|[A-Za-z]:\\|[^\s:]+/.*\.(?:jsonl?|parquet|csv|gguf|jinja|yaml)$")


def _shown(source: str) -> str:
    """Return a source; of a local path only the last part."""
    if source.startswith("asset:") or "\n" in source or not _LOCAL.match(source):
        return source
    return PurePath(source.replace("\\", "/")).name or source


def _percent(value: float, interval: Interval) -> str:
    return f"{100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _points(value: float, interval: Interval) -> str:
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
