"""One config for a run, composed of the packages' options; read from YAML, overridden, checked, compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dast_jax.data.options import DataOptions, PromptOptions
from dast_jax.distributed.options import DistributedOptions
from dast_jax.errors import UserError
from dast_jax.inference.options import EvaluationOptions
from dast_jax.loop.options import RunOptions
from dast_jax.methods import METHODS, MethodOptions, method_name, options_class
from dast_jax.models.options import AUTOMATIC as OF_DEVICE
from dast_jax.models.options import ModelOptions, RunMeshOptions
from dast_jax.options import OptionInfo, apply_overrides, build, describe, load_yaml, nearest, to_dict
from dast_jax.sampling.options import AUTOMATIC, SamplingOptions
from dast_jax.store.settings import LoggingOptions, RunSettings
from dast_jax.training.options import TrainingOptions
from dast_jax.verifiers.families import check_config_task
from dast_jax.verifiers.options import VerifierOptions

__all__ = [
    "SECTIONS",
    "RunConfig",
    "build_config",
    "config_dict",
    "config_path",
    "describe_config",
    "load_config",
    "override",
    "packaged_configs",
    "result_keys",
    "run_settings",
    "study_path",
]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that describes a run. `method` holds the `Options` of the method's module."""

    run: RunOptions
    model: ModelOptions
    mesh: RunMeshOptions
    distributed: DistributedOptions
    data: DataOptions
    prompts: PromptOptions
    sampling: SamplingOptions
    verifier: VerifierOptions
    method: MethodOptions
    training: TrainingOptions
    evaluation: EvaluationOptions
    logging: LoggingOptions
    profile: bool = False

    def __post_init__(self) -> None:
        check_config_task(self.data.task, self.verifier.functions)

    @property
    def method_name(self) -> str:
        """The `method.name` whose options these are."""
        return method_name(self.method)


_PLAIN_SECTIONS: dict[str, type] = {
    "run": RunOptions,
    "model": ModelOptions,
    "mesh": RunMeshOptions,
    "distributed": DistributedOptions,
    "data": DataOptions,
    "prompts": PromptOptions,
    "sampling": SamplingOptions,
    "verifier": VerifierOptions,
    "training": TrainingOptions,
    "evaluation": EvaluationOptions,
    "logging": LoggingOptions,
}

SECTIONS = (*_PLAIN_SECTIONS, "method", "profile")
"""The top-level keys of a run's config."""

_METHOD_NAME = OptionInfo(
    key="method.name",
    type="text",
    default="dast",
    help="self-training method: one of this package, or the full name of a module that defines one",
    choices=None,
    changes_result=True,
)
_PROFILE = OptionInfo(
    key="profile",
    type="bool",
    default=False,
    help="write a JAX profiler trace into the run's folder",
    choices=None,
    changes_result=False,
)


# --- reading ----------------------------------------------------------------------------------------


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the config in the file `path`, or packaged under that name, under `key=value` overrides.

    Raises `UserError` that names the file or the key.
    """
    mapping = load_yaml(config_path(path)) if path is not None else {}
    return build_config(override(mapping, overrides))


def override(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `mapping` with `key=value` overrides applied.

    With another `method.name`, the options of the mapping's method are dropped, as they do not apply to it.
    """
    changed = apply_overrides(mapping, overrides)
    if _split_method(changed)[0] != _split_method(mapping)[0]:
        changed = apply_overrides({**mapping, "method": {}}, overrides)
    return changed


def build_config(mapping: Mapping[str, Any]) -> RunConfig:
    """Make a `RunConfig` from nested mappings, strictly checked."""
    for name in mapping:
        if name not in SECTIONS:
            raise UserError(f"{name}: unknown key{nearest(str(name), SECTIONS)}")
    sections: dict[str, Any] = {
        name: build(cls, mapping.get(name), where=name) for name, cls in _PLAIN_SECTIONS.items()
    }
    name, method_mapping = _split_method(mapping)
    method_options = options_class(name)
    _refuse_other_methods_keys(name, method_options, method_mapping)
    method: Any = build(method_options, method_mapping, where="method")
    profile = mapping.get("profile", False)
    if not isinstance(profile, bool):
        raise UserError(f"profile: expected true or false, got {profile!r}")
    return RunConfig(**sections, method=method, profile=profile)


def config_path(name: str | Path) -> Path:
    """Return the file that `--config NAME` refers to: a path, else a packaged config.

    Both `papers/dast` and `configs/papers/dast.yaml` find the packaged one from any folder.
    Raises `UserError` that offers the nearest packaged name.
    """
    return _find(name, packaged_configs(), ("configs",))


def study_path(name: str | Path) -> Path:
    """As `config_path`, for studies: `quickstart` is the packaged `configs/studies/quickstart.yaml`."""
    return _find(name, packaged_configs("studies"), ("studies", "configs/studies"))


def packaged_configs(below: str = "") -> dict[str, Path]:
    """Name → file of the configs that come with the package; those of studies are `below` "studies".

    The name of one in a folder of its own has that folder before it, as `papers/dast`.
    """
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):  # installed; in a checkout
        files = sorted((folder / below).rglob("*.yaml"))
        found = {p.relative_to(folder / below).with_suffix("").as_posix(): p for p in files}
        if found:
            return {name: p for name, p in found.items() if not name.startswith("studies/")}
    return {}


def _find(name: str | Path, packaged: Mapping[str, Path], folders: Sequence[str]) -> Path:
    """Return the file `name`, else the packaged config of that name, which may be below one of `folders`."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    wanted = path.as_posix().removesuffix(".yaml")
    for prefix in ("", *(f"{folder}/" for folder in folders)):
        if wanted.startswith(prefix) and (found := packaged.get(wanted.removeprefix(prefix))):
            return found
    if path.is_dir():
        raise UserError(f"{name}: is a folder; name a YAML file")
    raise UserError(f"{name}: no such config file{nearest(wanted, packaged)}")


def _split_method(mapping: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    section = mapping.get("method")
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        raise UserError(f"method: expected a section with `name`, got {section!r}")
    rest = dict(section)
    name = rest.pop("name", _METHOD_NAME.default)
    if not isinstance(name, str):
        raise UserError(f"method.name: expected text, got {name!r}")
    return name, rest


def _refuse_other_methods_keys(name: str, options: type, mapping: Mapping[str, Any]) -> None:
    """Raise `UserError` for another method's key, for which this method's nearest key would be misleading."""
    own = {field.name for field in dataclasses.fields(options)}
    for key in mapping:
        if key in own:
            continue
        others = [
            other
            for other in METHODS
            if any(field.name == key for field in dataclasses.fields(options_class(other)))
        ]
        if others:
            raise UserError(
                f"method.{key}: is an option of {', '.join(others)}, and method.name is {name}; "
                "remove it, or name another method"
            )


# --- showing and comparing ----------------------------------------------------------------------------


def config_dict(config: RunConfig) -> dict[str, Any]:
    """Return the whole config as nested plain values; `build_config` takes it back."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "method":
            result["method"] = {"name": config.method_name, **to_dict(value)}
        else:
            result[field.name] = to_dict(value) if dataclasses.is_dataclass(value) else value
    return result


def result_keys(config: RunConfig) -> dict[str, Any]:
    """Dotted key → plain value of every key that changes the result of a run."""
    plain = config_dict(config)
    keys = {}
    for info in _describe(config.method_name):
        if info.changes_result:
            value: Any = plain
            for part in info.key.split("."):
                value = value[part]
            keys[info.key] = value
    return keys


def run_settings(config: RunConfig) -> RunSettings:
    """Return what the run's directory needs to know of `config`."""
    return RunSettings(
        folder=Path(config.run.dir).expanduser(),
        config=config_dict(config),
        fixed=result_keys(config),
        method=config.method_name,
        rounds=config.run.rounds,
        flush_responses=config.run.flush_responses,
        flush_seconds=config.run.flush_seconds,
        logging=config.logging,
        repair=config.run.repair,
        automatic=(
            *(f"sampling.{name}" for name in AUTOMATIC if not getattr(config.sampling, name)),
            *(f"model.{name}" for name in OF_DEVICE if getattr(config.model, name) == "auto"),
        ),
        mirror=config.run.mirror,
    )


def _describe(method_name: str) -> list[OptionInfo]:
    infos: list[OptionInfo] = []
    for field in dataclasses.fields(RunConfig):
        if field.name in _PLAIN_SECTIONS:
            infos += describe(_PLAIN_SECTIONS[field.name], where=field.name)
        elif field.name == "method":
            infos += [_METHOD_NAME, *describe(options_class(method_name), where="method")]
        elif field.name == "profile":
            infos.append(_PROFILE)
    return infos


def describe_config(mapping: Mapping[str, Any]) -> list[OptionInfo]:
    """Every key of a run's config, with the keys of the method that `mapping` names."""
    return _describe(_split_method(mapping)[0])
