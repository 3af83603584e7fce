"""A study: several methods × seeds over one base config, run one after the other in one process.

Every run is an ordinary run directory, DIR/runs/LABEL-sSEED, so a study that is stopped goes on where it was
and skips what is finished. Runs share what does not depend on the method (`dast_jax.study.sharing`): the base
model's evaluation, its trials in round 0, compiled programs. No jax here.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dast_jax.config import SECTIONS, RunConfig, build_config, config_path
from dast_jax.errors import DivergedError, UserError
from dast_jax.options import OptionInfo, build, describe, load_yaml, nearest, opt
from dast_jax.store import RunStore
from dast_jax.store.durable import FolderLock
from dast_jax.store.results import EvaluationResult
from dast_jax.study.sharing import Shared, SharedTrials, base_fingerprint

__all__ = ["Entry", "Study", "StudyOptions", "build_study", "run_directory", "run_study", "study_keys"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """A study's own keys, beside `entries`, `settings` and `quick`."""

    name: str = opt("study", "name of the study, and of its folder in runs/")
    base: str = opt(help="the config that every run starts from: a file, or the name of a packaged one")
    seeds: tuple[int, ...] = opt((0, 1, 2), "each entry is run once with each of these seeds", min=0)
    baselines: tuple[str, ...] = opt((), "labels of the entries that the others are compared with")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing compared: its label, and what it sets over the base config, by section."""

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
        """The study that its section `quick` describes: fewer seeds and entries, other settings."""
        chosen = self.quick.get("entries") or [entry.label for entry in self.entries]
        entries = tuple(entry for entry in self.entries if entry.label in chosen)
        labels = {entry.label for entry in entries}
        options = dataclasses.replace(
            self.options,
            name=f"{self.options.name}-quick",
            seeds=tuple(self.quick.get("seeds") or self.options.seeds),
            baselines=tuple(label for label in self.options.baselines if label in labels),
        )
        over_all = _merged(self.quick.get("settings") or {}, self.over_all)
        return dataclasses.replace(self, options=options, entries=entries, over_all=over_all, quick={})

    def config(self, entry: Entry, seed: int, out: Path) -> RunConfig:
        """The config of one run. Raises `UserError` that names the entry."""
        mapping: dict[str, Any] = load_yaml(config_path(self.options.base))
        for settings in (self.settings, entry.settings, self.over_all):
            mapping = _merged(mapping, settings)
        run = {"dir": str(run_directory(out, entry.label, seed)), "seed": seed}
        try:
            return build_config(_merged(mapping, {"run": run}))
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
    """What `--help` lists."""
    texts = {
        "entries": "what is compared: a list of `label` and sections of a run's config, as a rule `method`",
        "settings": "sections of a run's config, over the base config of every entry",
        "quick": "`seeds`, `entries` (labels) and `settings` that --quick takes instead",
        "KEY": "any key of a run's config (training.epochs=1): for every run, over all else",
    }
    extra = [
        OptionInfo(key=key, type="section", default=None, help=text, choices=None, changes_result=True)
        for key, text in texts.items()
    ]
    return [*describe(StudyOptions), *extra]


def build_study(mapping: Mapping[str, Any]) -> Study:
    """A study from nested mappings; sections of a run's config at the top win over all others.

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
                f"entries[{i}].label: {label!r} is to name a folder; use letters, digits, _, . and -"
            )
        if any(label == entry.label for entry in entries):
            raise UserError(f"entries[{i}].label: there are two entries {label!r}; give each its own label")
        settings = {name: value for name, value in item.items() if name != "label"}
        entries.append(Entry(label=label, settings=_settings(settings, f"entry {label}")))
    return tuple(entries)


def _settings(value: Any, where: str) -> dict[str, Any]:
    """Sections of a run's config, of which the study keeps `run.dir` and `run.seed` for itself."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected sections of a run's config, got {value!r}")
    for name, section in value.items():
        if name not in SECTIONS:
            raise UserError(f"{where}: {name}: unknown key{nearest(str(name), ('label', *SECTIONS))}")
        for key in ("dir", "seed"):
            if name == "run" and isinstance(section, Mapping) and key in section:
                raise UserError(f"{where}: run.{key} is the study's own; it follows from --out and seeds")
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


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`; a method of another name brings its own section, with nothing below it."""
    result = dict(below)
    for name, value in above.items():
        beneath = result.get(name)
        if not isinstance(value, Mapping) or not isinstance(beneath, Mapping):
            result[name] = value
        elif name == "method" and value.get("name", beneath.get("name")) != beneath.get("name"):
            result[name] = dict(value)
        else:
            result[name] = _merged(beneath, value)
    return result


# --- running ----------------------------------------------------------------------------------------


def run_study(
    study: Study,
    out: Path,
    *,
    prepare: Callable[[], None] | None = None,
    after_each: Callable[[Mapping[tuple[str, int], str]], None] | None = None,
) -> dict[tuple[str, int], str]:
    """Run, or go on with, every entry with every seed; all entries of a seed come before the next seed.

    A run whose training diverges is noted and the others go on. Returns the notes, by (label, seed);
    `after_each` gets them after every run; `prepare` is called when the study's config has been checked.
    Raises `UserError` for the person's mistakes, as far as can be told before anything is run, and
    `InterruptedRunError` as `selftrain.run` does.
    """
    configs = [
        (entry.label, seed, study.config(entry, seed, out))
        for seed in study.options.seeds
        for entry in study.entries
    ]
    _make_folder(out)
    lock = FolderLock(out)
    try:
        if prepare is not None:
            prepare()
        return _run_all(configs, out, after_each)
    finally:
        lock.close()


def _run_all(
    configs: Sequence[tuple[str, int, RunConfig]],
    out: Path,
    after_each: Callable[[Mapping[tuple[str, int], str]], None] | None,
) -> dict[tuple[str, int], str]:
    from dast_jax.loop.selftrain import run

    diverged: dict[tuple[str, int], str] = {}
    trials: dict[str, SharedTrials] = {}
    engines: dict[Any, Any] = {}
    directories = [Path(config.run.dir) for _, _, config in configs]
    for number, (label, seed, config) in enumerate(configs, start=1):
        log.info("run %d of %d: %s, seed %d", number, len(configs), label, seed)
        fingerprint = base_fingerprint(config)
        if fingerprint not in trials:  # seeds come one after the other: the last one's can go
            trials = {fingerprint: SharedTrials(out / "shared" / f"trials-{fingerprint}.parquet")}
        try:
            _lend_base(config, fingerprint, directories)
            run(config, Shared(trials=trials[fingerprint], engines=engines))
        except DivergedError as error:
            log.warning("%s, seed %d: %s", label, seed, error)
            diverged[label, seed] = str(error)
        except UserError as error:
            raise UserError(f"entry {label}, seed {seed}: {error}") from error
        if after_each is not None:
            after_each(diverged)
    return diverged


def _lend_base(config: RunConfig, fingerprint: str, directories: Sequence[Path]) -> None:
    """Give a run that has not begun the evaluation of M_0 that another run of the study has made."""
    target = Path(config.run.dir)
    if (target / "manifest.json").exists():
        return
    for directory in directories:
        if directory == target or not (directory / "manifest.json").exists():
            continue
        lender = RunStore.read(directory)
        found = lender.result("base/evaluate", EvaluationResult)
        if found is None or base_fingerprint(lender.config) != fingerprint:
            continue
        with RunStore.open(config) as store:
            shutil.copytree(directory / "rounds" / "base", target / "rounds" / "base", dirs_exist_ok=True)
            for name, entry in found.evaluation.items():
                store.log_metrics("evaluation", round=-1, set=name, accuracy=entry.accuracy)
            store.mark_done("base/evaluate", found, shared_from=directory.name)
        return


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be used ({error.strerror}); name another folder") from error
