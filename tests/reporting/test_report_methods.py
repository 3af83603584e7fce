"""What methods report about their rounds is in the report: coverage and targets, and their own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dast_jax.methods.coverage import coverage
from dast_jax.records import Pool, Query
from dast_jax.reporting.report import render_report
from tests.helpers_fake_run import make_run

POOL = Pool(tuple(Query(id=str(i), question="q", answer="a", level="12"[i % 2]) for i in range(4)))
COVERAGE = coverage(POOL, np.array([0, 0, 2, 3]), np.array([2, 2, 1, 0]), np.array([2, 2, 4, 4]))


def page_of(tmp_path: Path, method: dict) -> str:
    path = make_run(tmp_path / "run")
    summary = json.loads((path / "summary.json").read_text())
    del summary["digest"]
    summary["rounds"][1]["method"] = method
    (path / "summary.json").write_text(json.dumps(summary))
    return render_report([path]).replace("\u202f", " ")


def test_coverage_by_level_and_label(tmp_path: Path) -> None:
    page = page_of(tmp_path, {"coverage": COVERAGE})
    assert "What the method reports" in page
    row = '<th scope="row">round 1, {}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>'
    assert row.format("all", 4, "75.0 %", 1.25, 3, "50.0 %") in page
    assert row.format("hard", 1, "100.0 %", 1, 4, "0.0 %") in page
    assert row.format("label 2", 2, "50.0 %", 1, 3, "50.0 %") in page


def test_own_numbers(tmp_path: Path) -> None:
    page = page_of(tmp_path, {"beta": 320, "heap_exhausted": False, "alpha": 0.85, "scores": {"<b>": 0.5}})
    assert "<td>320</td><td>no</td><td>0.85</td><td>0.5</td>" in page
    assert "scores, &lt;b&gt;" in page


def test_a_method_that_reports_nothing_has_no_section(tmp_path: Path) -> None:
    assert "What the method reports" not in page_of(tmp_path, {})
