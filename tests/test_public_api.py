"""The package's public names: light to import, complete, and used as the README shows."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dast_jax

ROOT = Path(__file__).parents[1]


def _python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=cwd)


def test_importing_the_package_loads_nothing_else(tmp_path) -> None:
    code = (
        "import sys; import dast_jax; dir(dast_jax); "
        "print([m for m in sys.modules if m.split('.')[0] in ('jax', 'numpy') or m.startswith('dast_jax.')])"
    )
    assert _python(code, tmp_path).stdout.strip() == "['dast_jax.version']"


def test_every_public_name_is_what_type_checkers_see() -> None:
    block = next(
        node
        for node in ast.parse((ROOT / "dast_jax" / "__init__.py").read_text()).body
        if isinstance(node, ast.If)
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(seen) | {"__version__"} == set(dast_jax.__all__)
    for name, module in seen.items():
        assert getattr(dast_jax, name) is getattr(importlib.import_module(str(module)), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = dast_jax.runn
    with pytest.raises(ImportError):
        exec("from dast_jax import no_such_name")


def test_the_example_of_the_readme_runs(tmp_path) -> None:
    text = (ROOT / "README.md").read_text()
    found = re.search(r"## From Python\n.*?```python\n(.*?)```", text, re.S)
    assert found is not None
    lines = [line for line in found[1].splitlines() if line.strip()]
    assert len(lines) < 10
    done = _python(found[1], tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy, text = done.stdout.splitlines()[0], done.stdout
    assert 0 < float(accuracy) <= 1
    assert "correct" in text
    assert done.stderr == "", "the library draws no progress"
    assert (tmp_path / "runs" / "from_python" / "summary.json").is_file()
