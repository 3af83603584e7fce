"""How the `compare` command's study is read; separate from other schemas, as studies load more modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dast_jax.cli.schemas import Schema
from dast_jax.config import study_path
from dast_jax.options import OptionInfo, load_yaml
from dast_jax.study.definition import Study, StudyOptions, build_study, study_keys

__all__ = ["StudySchema"]


class StudySchema(Schema[Study]):
    """A study: entries over a base config."""

    def __init__(self) -> None:
        super().__init__(StudyOptions)  # type: ignore[arg-type]

    def load(self, path: str) -> dict[str, Any]:
        return load_yaml(study_path(path))

    def build(self, mapping: Mapping[str, Any]) -> Study:
        return build_study(mapping)

    def describe(self, mapping: Mapping[str, Any]) -> list[OptionInfo]:
        return study_keys()

    def plain(self, config: Study) -> dict[str, Any]:
        return config.plain
