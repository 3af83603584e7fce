"""`key=value` overrides of the command line, applied to nested mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dast_jax.errors import UserError
from dast_jax.options.yaml_text import parse_yaml

__all__ = ["apply_overrides"]


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `mapping` with `a.b.c=value` overrides applied in order; values are read as YAML.

    Raises `UserError` for an override that is not `key=value` or that goes below a value.
    """
    result: dict[str, Any] = _copied(mapping)
    for text in overrides:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise UserError(
                f"{text!r}: an override is written key=value, for example training.learning_rate=1e-5"
            )
        section = result
        for depth, part in enumerate(parts[:-1]):
            below = section.get(part)
            if below is None:
                below = section[part] = {}
            elif not isinstance(below, dict):
                above = ".".join(parts[: depth + 1])
                raise UserError(f"{key}: {above} is a value, not a section, so nothing can be set below it")
            section = below
        section[parts[-1]] = parse_yaml(raw, where=key)
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value
