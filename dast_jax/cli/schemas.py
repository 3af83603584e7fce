"""How each command's config is read, overridden, built and described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Generic, TypeVar

from dast_jax.config import (
    SECTIONS,
    RunConfig,
    build_config,
    config_dict,
    config_path,
    describe_config,
    override,
)
from dast_jax.options import OptionInfo, apply_overrides, build, describe, load_yaml, to_dict

__all__ = ["RunSchema", "Schema"]

T = TypeVar("T")


class Schema(Generic[T]):
    """How a command's config is made from nested mappings and described; subclass it where sections vary."""

    def __init__(self, cls: type[T]):
        self.cls = cls

    def load(self, path: str) -> dict[str, Any]:
        """Read the mapping in the file that `--config` names, without the keys of other commands alone."""
        keys = {info.key for info in self.describe({})}
        mine = {key.split(".")[0] for key in keys}
        theirs = {info.key for info in describe_config({})} - keys
        mapping = load_yaml(config_path(path))
        known = {name: value for name, value in mapping.items() if name in mine or name not in SECTIONS}
        return _without(known, theirs)

    def override(self, mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        """Return `mapping` with the `key=value` overrides of the command line applied."""
        return apply_overrides(mapping, overrides)

    def build(self, mapping: Mapping[str, Any]) -> T:
        """Return the options that `mapping` describes. Raises `UserError` naming the key."""
        return build(self.cls, mapping)

    def describe(self, mapping: Mapping[str, Any]) -> list[OptionInfo]:
        """Return every key that may be set, given what `mapping` already chooses."""
        return describe(self.cls)

    def plain(self, config: T) -> dict[str, Any]:
        """Return `config` as nested plain values; `build` takes it back."""
        return to_dict(config)


class RunSchema(Schema[RunConfig]):
    """A run's config: the method's keys depend on `method.name`."""

    def __init__(self) -> None:
        super().__init__(RunConfig)

    def load(self, path: str) -> dict[str, Any]:
        return load_yaml(config_path(path))

    def override(self, mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        return override(mapping, overrides)

    def build(self, mapping: Mapping[str, Any]) -> RunConfig:
        return build_config(mapping)

    def describe(self, mapping: Mapping[str, Any]) -> list[OptionInfo]:
        return describe_config(mapping)

    def plain(self, config: RunConfig) -> dict[str, Any]:
        return config_dict(config)


def _without(mapping: Mapping[str, Any], keys: Set[str], where: str = "") -> dict[str, Any]:
    """Return `mapping` without the dotted `keys`, and without sections that held nothing else."""
    kept: dict[str, Any] = {}
    for name, value in mapping.items():
        key = f"{where}{name}"
        if key in keys:
            continue
        if isinstance(value, Mapping):
            below = _without(value, keys, f"{key}.")
            if value and not below:
                continue
            value = below
        kept[name] = value
    return kept
