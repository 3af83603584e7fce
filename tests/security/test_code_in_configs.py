"""A config names functions of verifiers and nothing else: its YAML has no tags that make objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dast_jax import compare, train, verify
from dast_jax.errors import UserError
from dast_jax.options.yaml_text import parse_yaml
from tests.security.canary import Canary, refused

TAGS = [
    "!!python/object/apply:canary_of_tests.sing []",
    "!!python/object/new:canary_of_tests.Module []",
    "!!python/object:canary_of_tests.Module {}",
    "!!python/name:canary_of_tests.sing",
    "!!python/module:canary_of_tests",
    "!python/object/apply:canary_of_tests.sing []",
    "!mine {}",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("main", [train.main, compare.main, verify.main])
def test_tags_in_a_file(
    main: Callable[[list[str]], int],
    tag: str,
    tmp_path: Path,
    canary: Canary,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"run:\n  note: {tag}\n")
    files = ["--data", "x", "--out", "y"] if main is verify.main else []
    refused(capsys, main(["--config", str(config), *files]), f"{config} line 2: not valid YAML", "tag")
    canary.assert_silent()


def test_tags_on_the_command_line(canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, train.main(["--config", "quickstart", f"run.note={TAGS[0]}"]), "run.note")
    canary.assert_silent()


@pytest.mark.parametrize(
    "text",
    ["? [a, b]\n: c", "? {a: b}\n: c", "a: !!map [1]", "a: !!bool x", "a: !!timestamp x", "a: !!int x"],
)
def test_what_fits_no_tag_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="not valid YAML") as error:
        parse_yaml(text)
    assert "\n" not in str(error.value)
