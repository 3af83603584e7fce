"""Results survive JSON, whatever they hold, and anything else is refused with its file and field."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dast_jax.errors import UserError
from dast_jax.metrics.flops import Flops
from dast_jax.records import Json
from dast_jax.store import comparison_results, evaluation_results, results
from dast_jax.store.evaluation_results import EvalFile
from dast_jax.store.results import PreferenceResult, Summary, TrainingResult
from dast_jax.store.typed_json import from_json, read_result, to_json, write_result
from tests.helpers_fake_run import make_run

TYPES = [
    value
    for module in (results, evaluation_results, comparison_results)
    for value in vars(module).values()
    if dataclasses.is_dataclass(value)
]
TEXT = st.text(max_size=4)
PLAIN = st.none() | st.booleans() | st.integers() | TEXT
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=3
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    str: TEXT,
    bool: st.booleans(),
    types.NoneType: st.none(),
    Json: JSON,
}


def instances(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a result type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in BY_TYPE:
        return BY_TYPE[kind]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{f.name: instances(hints[f.name]) for f in dataclasses.fields(kind)})
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*map(instances, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(TEXT, instances(arguments[1]), max_size=1)
    if arguments[-1] is Ellipsis:
        return st.lists(instances(arguments[0]), max_size=2).map(tuple)
    return st.tuples(*map(instances, arguments))


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # beartype picks elements by it
@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
def test_json_and_back_is_the_identity(cls: type) -> None:
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(instances(cls))
    def check(value: Any) -> None:
        assert from_json(cls, json.loads(json.dumps(to_json(value))), "x.json") == value

    check()


def test_numbers_that_are_not_finite_become_null_and_nan() -> None:
    written = to_json(TrainingResult(seconds=float("inf"), final_loss=float("nan")))
    assert isinstance(written, dict)
    assert (written["seconds"], written["final_loss"]) == (None, None)
    back = from_json(TrainingResult, written, "x.json")
    assert math.isnan(back.seconds)
    assert back.final_loss is None


def test_numpy_values_are_written_as_plain_ones() -> None:
    assert to_json(Flops(useful=np.int64(3), padded=np.float32(0.5))) == {"useful": 3, "padded": 0.5}


def changed(change: dict[str, Any]) -> dict[str, Any]:
    written = to_json(TrainingResult(preference=None))
    assert isinstance(written, dict)
    return {name: value for name, value in {**written, **change}.items() if value != "gone"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "gone"}, "x.json: steps: missing"),
        ({"stepz": 1}, "x.json: stepz: unknown field"),
        ({"steps": "3"}, "x.json: steps: expected int, got '3'"),
        ({"steps": True}, "x.json: steps: expected int, got True"),
        ({"steps": 1.5}, r"x.json: steps: expected int, got 1\.5"),
        ({"final_loss": []}, r"x.json: final_loss: expected float, got \[\]"),
        ({"preference": 3}, "x.json: preference: expected an object, got 3"),
        ({"preference": {"kl": 1.0}}, r"x.json: preference\.reward_margin: missing"),
    ],
)
def test_fields_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(TrainingResult, changed(change), "x.json")


def test_a_place_inside_lists_and_objects_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rounds=2)
    content = json.loads((run / "summary.json").read_text())
    del content["digest"]
    content["rounds"][1]["evaluation"]["in_domain"]["interval"] = [0.5]
    with pytest.raises(
        UserError, match=r"rounds\[1\]\.evaluation\.in_domain\.interval: expected a list of 2"
    ):
        from_json(Summary, content, "summary.json")


@pytest.mark.parametrize("version", ["dast_jax.eval/1", None, 3])
def test_a_file_of_another_version_is_refused(version: Any, tmp_path: Path) -> None:
    path = tmp_path / "eval.json"
    write_result(path, EvalFile(sets={}, samples=(), length_ratio=None))
    assert read_result(EvalFile, path) == EvalFile(sets={}, samples=(), length_ratio=None)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": version}))
    with pytest.raises(UserError) as caught:
        read_result(EvalFile, path)
    assert str(caught.value) == (
        f"{path}: its schema is {version!r} and this version reads 'dast_jax.eval/4'; "
        "use the version of dast_jax that wrote it"
    )


def test_preference_results_are_read_back() -> None:
    means = dict.fromkeys(PreferenceResult.__dataclass_fields__, 0.5)
    trained = TrainingResult(preference=PreferenceResult(**means))
    assert from_json(TrainingResult, to_json(trained), "x.json") == trained
