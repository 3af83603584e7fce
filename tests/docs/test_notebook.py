"""The example notebook runs in a kernel of its own, as a reader would run it."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra [docs]")
pytest.importorskip("ipykernel", reason="ipykernel is in the extra [docs]")

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(tmp_path, monkeypatch) -> None:
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "first_run.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept in the repository"
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert printed.count("in_domain:") == 2, "the base model and round 0"
    assert printed.count("correct") == 2, "a verdict for each prompt, correct or incorrect"
    assert (tmp_path / "report.html").stat().st_size > 10_000
