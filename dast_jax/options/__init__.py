"""Options as frozen dataclasses: declared with `opt`, read from YAML, overridden by `key=value`, checked."""

from dast_jax.options.build import build
from dast_jax.options.declaration import REQUIRED, OptionInfo, describe, field_help, opt, to_dict
from dast_jax.options.overrides import apply_overrides
from dast_jax.options.text import nearest
from dast_jax.options.yaml_text import dump_yaml, load_yaml, parse_yaml

__all__ = [
    "REQUIRED",
    "OptionInfo",
    "apply_overrides",
    "build",
    "describe",
    "dump_yaml",
    "field_help",
    "load_yaml",
    "nearest",
    "opt",
    "parse_yaml",
    "to_dict",
]
