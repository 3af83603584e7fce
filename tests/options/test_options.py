"""Options: what is accepted, what is refused and with which message, and that YAML round-trips."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from dast_jax.errors import UserError
from dast_jax.options import REQUIRED, apply_overrides, build, describe, opt, to_dict
from dast_jax.options.yaml_text import dump_yaml, load_yaml, parse_yaml


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = opt(3, "a size", min=1, max=10)
    name: str = opt(help="must be given")


@dataclass(frozen=True, kw_only=True)
class Options:
    learning_rate: float = opt(1e-3, "peak", min=0)
    count: int = opt(4, "how many")
    flag: bool = opt(False, "a switch", changes_result=False)
    dtype: str = opt("float32", "precision", choices=("float32", "bfloat16"))
    stop: tuple[str, ...] = opt(("\n\n",), "stop strings")
    pair: tuple[int, float] = opt((1, 0.5), "two numbers")
    limit: int | None = opt(None, "a limit")
    multipliers: dict[str, float] = opt(
        {"easy": 1.0, "hard": 3.0}, "by level", choices=("easy", "hard"), min=0
    )
    sets: dict[str, str] = opt({}, "named sources")
    mode: Literal["a", "b"] = opt("a", "which")

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("count: 13 brings bad luck")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = opt(Inner)


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("learning_rate", 1, 1.0),
        ("learning_rate", "1e-5", 1e-5),
        ("learning_rate", "2E5", 2e5),
        ("count", 2e6, 2_000_000),
        ("count", "1e3", 1000),
        ("stop", ["a", "b"], ("a", "b")),
        ("stop", [], ()),
        ("pair", [2, 3], (2, 3.0)),
        ("limit", None, None),
        ("limit", 5, 5),
        ("multipliers", {"hard": 4}, {"easy": 1.0, "hard": 4.0}),
        ("sets", {"gsm8k": "openai/gsm8k"}, {"gsm8k": "openai/gsm8k"}),
        ("mode", "b", "b"),
    ],
)
def test_accepted(key: str, given: Any, expected: Any) -> None:
    value = getattr(build(Options, {key: given}), key)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rate": "fast"}, "training.learning_rate: expected a number, got 'fast'"),
        ({"learning_rate": True}, "training.learning_rate: expected a number, got true"),
        ({"learning_rate": math.nan}, "training.learning_rate: expected a number, got nan"),
        ({"learning_rate": math.inf}, "training.learning_rate: expected a number, got inf"),
        ({"learning_rate": "1e999"}, "training.learning_rate: expected a number, got inf"),
        ({"learning_rate": 10**400}, "training.learning_rate: expected a number, got 1000"),
        ({"learning_rate": -1}, "training.learning_rate: must be at least 0, got -1"),
        ({"learningrate": 1}, "training.learningrate: unknown key; did you mean training.learning_rate?"),
        ({"rate": 1}, "training.rate: unknown key; did you mean training.learning_rate?"),
        ({"count": 1.5}, "training.count: expected a whole number, got 1.5"),
        ({"count": True}, "training.count: expected a whole number, got true"),
        ({"count": None}, "training.count: expected a whole number, got null"),
        ({"count": 13}, "training: count: 13 brings bad luck"),
        ({"flag": 1}, "training.flag: expected true or false, got 1"),
        ({"flag": "yes"}, "training.flag: expected true or false, got 'yes'"),
        ({"dtype": "float16"}, "training.dtype: expected one of float32, bfloat16, got 'float16'"),
        ({"dtype": 32}, "training.dtype: expected text, got 32; put it in quotes"),
        ({"stop": "x"}, "training.stop: expected a list such as ["),
        ({"stop": ["x", 3]}, "training.stop[1]: expected text, got 3"),
        ({"pair": [1]}, "training.pair: expected a list of 2, got 1"),
        (
            {"multipliers": {"hrad": 2}},
            "training.multipliers.hrad: unknown key; did you mean training.multipliers.hard?",
        ),
        ({"multipliers": {"hard": -2}}, "training.multipliers.hard: must be at least 0"),
        ({"multipliers": 2}, "training.multipliers: expected keys with values, got 2"),
        ({"mode": "c"}, "training.mode: expected one of a, b, got 'c'"),
    ],
)
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Options, given, where="training")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_sections_are_built_and_named() -> None:
    assert build(Outer, {"inner": {"name": "x"}}).inner == Inner(name="x")
    for given in ({}, {"inner": None}, {"inner": {}}):
        with pytest.raises(UserError, match=r"^inner\.name: this key is required"):
            build(Outer, given)
    with pytest.raises(UserError, match=r"^inner: expected a section of keys, got 3"):
        build(Outer, {"inner": 3})
    with pytest.raises(UserError, match=r"^inner\.size: must be at most 10, got 11"):
        build(Outer, {"inner": {"name": "x", "size": 11}})


def test_default_containers_are_not_shared() -> None:
    first = build(Options, {})
    first.multipliers["easy"] = 99.0
    assert build(Options, {}).multipliers["easy"] == 1.0


def test_describe_flattens_and_knows_all() -> None:
    infos = {info.key: info for info in describe(Outer, where="outer")}
    assert list(infos) == ["outer.inner.size", "outer.inner.name"]
    assert infos["outer.inner.name"].default is REQUIRED
    infos = {info.key: info for info in describe(Options)}
    assert infos["limit"].type == "int or null"
    assert infos["stop"].type == "list of text"
    assert infos["mode"].choices == ("a", "b")
    assert not infos["flag"].changes_result
    assert infos["count"].changes_result


@pytest.mark.parametrize(
    "text",
    [
        "1e-5",
        "\n\n",
        "no",
        "10:30",
        "1",
        "",
        "null",
        "a: b",
        "1_0",
        "0x10",
        "2024-01-01",
        "1.",
        "é\u2028",
        "#x",
        "010",
    ],
)
def test_yaml_keeps_text_as_it_is(text: str) -> None:
    assert parse_yaml(dump_yaml({"a": text, "b": [text]})) == {"a": text, "b": [text]}


def test_options_round_trip_through_yaml() -> None:
    options = build(
        Options, {"learning_rate": 1e-7, "stop": ["\n\n", "1e5"], "limit": 3, "sets": {"x": "no"}}
    )
    assert build(Options, parse_yaml(dump_yaml(to_dict(options)))) == options


def test_yaml_scalars_are_those_of_version_1_2() -> None:
    text = "a: 1e-5\nb: no\nc: 10:30\nd: 2024-01-01\ne: true\nf: 12\ng: ~\nh: .5\ni: on\nj: 1_000"
    values = [1e-5, "no", "10:30", "2024-01-01", True, 12, None, 0.5, "on", 1000]
    assert parse_yaml(text) == dict(zip("abcdefghij", values, strict=True))


def test_config_files_that_cannot_be_read(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(UserError, match=r"c\.yaml: no such config file"):
        load_yaml(path)
    path.write_text("")
    assert load_yaml(path) == {}
    for text, message in [
        ("a: 1\nb: [", r"c\.yaml line \d: not valid YAML"),
        ("a:\n  x: 1\n  x: 2\n", r"c\.yaml line 3: not valid YAML \(key 'x' is given twice"),
        ("- 1\n", r"c\.yaml: a config is sections of keys"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_yaml(path)
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match=r"c\.yaml: cannot be read as a config \(it is not UTF-8"):
        load_yaml(path)
    with pytest.raises(UserError, match="cannot be read as a config"):
        load_yaml(tmp_path)


def test_overrides_are_laid_over_a_copy() -> None:
    base = {"a": {"b": 1, "c": [1]}}
    given = ["a.b=2", "c.d=1e-5", "e=no", "g=[1, 2]", "h={x: 1}", "p=a=b"]
    assert apply_overrides(base, given) == {
        "a": {"b": 2, "c": [1]}, "c": {"d": 1e-5}, "e": "no", "g": [1, 2], "h": {"x": 1}, "p": "a=b",
    }  # fmt: skip
    assert base == {"a": {"b": 1, "c": [1]}}


@pytest.mark.parametrize("text", ["a.b", "=1", "a..b=1", ".a=1"])
def test_overrides_of_wrong_form(text: str) -> None:
    with pytest.raises(UserError, match="an override is written key=value"):
        apply_overrides({}, [text])


def test_overrides_below_a_value() -> None:
    with pytest.raises(UserError, match=r"^a\.b\.c: a\.b is a value, not a section"):
        apply_overrides({"a": {"b": 1}}, ["a.b.c=2"])
    with pytest.raises(UserError, match=r"^a: not valid YAML|^a line 1: not valid YAML"):
        apply_overrides({}, ["a=["])


def _doubling(value: str) -> str:
    """Return sixteen keys, each twice the one before."""
    return "".join(f"{n}: &{n} {value.format(m)}\n" for m, n in itertools.pairwise("abcdefghijklmnopq"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, 1]\n" + _doubling("[*{0}, *{0}]"), "aliases stand for"),
        ("a: &a {x: 1}\n" + _doubling("{{!!merge <<: [*{0}, *{0}]}}"), "aliases stand for"),
        ("[" * 100_000, "within each other"),
        ("- " * 50_000, "within each other"),
        ("{a: " * 30_000, "within each other"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: {c: *a}}", "contains itself"),
        ("{" + "a, " * 40_000 + "}", "keys and values"),
        ("a: " + "x" * 200_000, "more than 131,072"),
    ],
)
def test_yaml_that_stands_for_more_than_a_config(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_yaml(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_ordinary_aliases_are_read() -> None:
    assert parse_yaml("a: &a [1, {b: 2}]\nc: *a\nd: [*a, *a]") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": [[1, {"b": 2}], [1, {"b": 2}]],
    }


def test_bidi_marks_are_written_as_escapes() -> None:
    value = {"a\u202eb": ["\u200fx", "y\\u202e", "ü"], "long": "x \u2066" * 60}
    text = dump_yaml(value)
    assert not set(text) & set("\u200f\u202e\u2066")
    assert parse_yaml(text) == value
