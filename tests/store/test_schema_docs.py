"""docs/schemas.md matches the types, and is complete."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dast_jax.store import comparison_results, evaluation_results, plan_results, results
from dast_jax.store.schema_docs import documented, filled
from tests.helpers_fake_run import make_run

PATH = Path(__file__).parents[2] / "docs" / "schemas.md"
DOCUMENT = PATH.read_text(encoding="utf-8")


def test_the_document_is_not_stale() -> None:
    assert filled(DOCUMENT) == DOCUMENT, "run: python -m dast_jax.store.schema_docs"


def test_a_changed_document_is_stale() -> None:
    assert filled(DOCUMENT.replace("weights of the model", "weights")) != DOCUMENT.replace(
        "weights of the model", "weights"
    )


def inside(kind: object) -> set[type]:
    """The dataclasses that a type is made of."""
    found = {kind} if dataclasses.is_dataclass(kind) else set()
    parts = typing.get_type_hints(kind).values() if found else typing.get_args(kind)
    return found.union(*map(inside, parts))  # type: ignore[return-value]


@pytest.mark.parametrize("module", [results, evaluation_results, comparison_results, plan_results])
def test_every_type_is_documented(module: object) -> None:
    written = [value for value in vars(module).values() if hasattr(value, "schema")]
    assert written
    reached = set().union(*map(inside, written))
    assert {cls.__name__ for cls in reached} <= documented(DOCUMENT)


def test_every_link_inside_has_its_heading() -> None:
    headings = [
        re.sub(r"[^\w -]", "", h).strip().lower() for h in re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    ]
    anchors = {h.replace(" ", "-") for h in headings}
    anchors |= {f"{a}-1" for a in anchors if headings.count(a) > 1}
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT)) <= anchors


def test_columns_and_lines_of_a_run_are_documented(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    found = set(json.loads((run / "metrics.jsonl").read_text().splitlines()[0]))
    for name in ("difficulty.parquet", "responses"):
        found |= set(pq.read_table(run / "rounds/00" / name).column_names)
    assert {"entropy", "learning_rate", "level"} <= found
    assert [key for key in sorted(found) if f"`{key}`" not in DOCUMENT] == []


def test_examples_are_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        json.loads(block)
