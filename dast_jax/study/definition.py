"""What a study is: several methods × seeds over one base config, as read from YAML. No jax here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dast_jax.config import SECTIONS, RunConfig, build_config, config_path
from dast_jax.errors import UserError
from dast_jax.options import OptionInfo, build, describe, load_yaml, nearest, opt

__all__ = ["Entry", "Study", "StudyOptions", "build_study", "merged", "run_directory", "study_keys"]


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """A study's own keys, besides `entries`, `settings` and `quick`."""

    name: str = opt("study", "name of the study, and of its folder in runs/")
    base: str = opt(help="the config that every run starts from: a file, or the name of a packaged one")
    seeds: tuple[int, ...] = opt((0, 1, 2), "each entry is run once with each of these seeds", min=0)
    gates: bool = opt(
        False, "measure the gates before the first run: whether this study can tell methods apart"
    )
    baselines: tuple[str, ...] = opt((), "labels of the entries that the others are compared with")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry: its label, and what it sets on top of the base config, by section."""

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to run. Settings are laid over the base config in this order: `settings`, an entry's own,
    `over_all`."""

    options: StudyOptions
    entries: tuple[Entry, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    over_all: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)

    def shortened(self) -> Study:
        """Return the study that its section `quick` describes: fewer seeds and entries, other settings."""
        chosen = self.quick.get("entries") or [entry.label for entry in self.entries]
        entries = tuple(entry for entry in self.entries if entry.label in chosen)
        labels = {entry.label for entry in entries}
        options = dataclasses.replace(
            self.options,
            name=f"{self.options.name}-quick",
            seeds=tuple(self.quick.get("seeds") or self.options.seeds),
            baselines=tuple(label for label in self.options.baselines if label in labels),
        )
        over_all = merged(self.quick.get("settings") or {}, self.over_all)
        return dataclasses.replace(self, options=options, entries=entries, over_all=over_all, quick={})

    def config(self, entry: Entry, seed: int, out: Path) -> RunConfig:
        """Return the config of one run. Raises `UserError` that names the entry."""
        mapping: dict[str, Any] = load_yaml(config_path(self.options.base))
        for settings in (self.settings, entry.settings, self.over_all):
            mapping = merged(mapping, settings)
        run = {"dir": str(run_directory(out, entry.label, seed)), "seed": seed}
        try:
            return build_config(merged(mapping, {"run": run}))
        except UserError as error:
            raise UserError(f"entry {entry.label}: {error}") from error

    @property
    def plain(self) -> dict[str, Any]:
        """The study as nested plain values; `build_study` takes it back."""
        return {
            **dataclasses.asdict(self.options),
            "settings": dict(self.settings),
            "entries": [{"label": entry.label, **entry.settings} for entry in self.entries],
            "quick": dict(self.quick),
            **self.over_all,
        }


def run_directory(out: Path, label: str, seed: int) -> Path:
    """Where the study in `out` keeps one of its runs."""
    return out / "runs" / f"{label}-s{seed}"


# --- reading ----------------------------------------------------------------------------------------


def study_keys() -> list[OptionInfo]:
    """Return the keys that `--help` lists."""
    texts = {
        "entries": "what is compared: a list of `label` and sections of a run's config, usually `method`",
        "settings": "sections of a run's config, on top of the base config of every entry",
        "quick": "`seeds`, `entries` (labels) and `settings` that --quick uses instead",
        "KEY": "any key of a run's config (training.epochs=1): for every run, overriding everything else",
    }
    extra = [
        OptionInfo(key=key, type="section", default=None, help=text, choices=None, changes_result=True)
        for key, text in texts.items()
    ]
    return [*describe(StudyOptions), *extra]


def build_study(mapping: Mapping[str, Any]) -> Study:
    """Make a study from nested mappings; sections of a run's config at the top override all others.

    Raises `UserError` that names the key or the entry.
    """
    own = {f.name for f in dataclasses.fields(StudyOptions)}
    for name in mapping:
        if name not in own and name not in ("entries", "settings", "quick", *SECTIONS):
            known = (*own, "entries", "settings", "quick", *SECTIONS)
            raise UserError(f"{name}: unknown key of a study{nearest(str(name), known)}")
    options = build(StudyOptions, {name: mapping[name] for name in mapping if name in own})
    study = Study(
        options=options,
        entries=_entries(mapping.get("entries")),
        settings=_settings(mapping.get("settings"), "settings"),
        over_all=_settings({n: v for n, v in mapping.items() if n in SECTIONS}, "the overrides"),
        quick=_quick(mapping.get("quick")),
    )
    labels = [entry.label for entry in study.entries]
    _check_labels(options.baselines, labels, "baselines")
    _check_labels(study.quick.get("entries") or (), labels, "quick.entries")
    for key, seeds in (("seeds", options.seeds), ("quick.seeds", study.quick.get("seeds") or (0,))):
        if not seeds or len(set(seeds)) != len(seeds):
            raise UserError(f"{key}: expected different seeds, at least one, got {list(seeds)}")
    return study


def _entries(value: Any) -> tuple[Entry, ...]:
    if not isinstance(value, list) or not value:
        raise UserError("entries: expected a list of what to compare, each with `label` and `method`")
    entries: list[Entry] = []
    for i, item in enumerate(value):
        if not isinstance(item, Mapping) or not isinstance(item.get("label"), str):
            raise UserError(f"entries[{i}]: expected a section with `label`, a text, got {item!r}")
        label = item["label"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", label):
            raise UserError(
                f"entries[{i}].label: {label!r} must be a folder name; use letters, digits, _, . and -"
            )
        if any(label == entry.label for entry in entries):
            raise UserError(f"entries[{i}].label: there are two entries {label!r}; give each its own label")
        settings = {name: value for name, value in item.items() if name != "label"}
        entries.append(Entry(label=label, settings=_settings(settings, f"entry {label}")))
    return tuple(entries)


def _settings(value: Any, where: str) -> dict[str, Any]:
    """Return sections of a run's config; the study sets `run.dir` and `run.seed` itself."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected sections of a run's config, got {value!r}")
    for name, section in value.items():
        if name not in SECTIONS:
            raise UserError(f"{where}: {name}: unknown key{nearest(str(name), ('label', *SECTIONS))}")
        for key in ("dir", "seed"):
            if name == "run" and isinstance(section, Mapping) and key in section:
                raise UserError(f"{where}: run.{key} is set by the study, from --out and seeds; remove it")
    return dict(value)


def _quick(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"quick: expected a section with seeds, entries, settings, got {value!r}")
    for name in value:
        if name not in ("seeds", "entries", "settings"):
            raise UserError(
                f"quick.{name}: unknown key{nearest(str(name), ('seeds', 'entries', 'settings'))}"
            )
    quick = dict(value)
    for name, kind in (("seeds", int), ("entries", str)):
        items = quick.get(name, [])
        if not isinstance(items, list) or not all(isinstance(item, kind) for item in items):
            raise UserError(f"quick.{name}: expected a list of {kind.__name__}, got {items!r}")
    quick["settings"] = _settings(quick.get("settings"), "quick.settings")
    return quick


def _check_labels(names: Sequence[str], labels: Sequence[str], key: str) -> None:
    for name in names:
        if name not in labels:
            raise UserError(f"{key}: there is no entry {name!r}{nearest(name, labels)}")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `above` merged over `below`; a method of another name replaces the whole section."""
    result = dict(below)
    for name, value in above.items():
        beneath = result.get(name)
        if not isinstance(value, Mapping) or not isinstance(beneath, Mapping):
            result[name] = value
        elif name == "method" and value.get("name", beneath.get("name")) != beneath.get("name"):
            result[name] = dict(value)
        else:
            result[name] = merged(beneath, value)
    return result
