"""A canary on the import path of this process, of its workers, and of every command it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.security.canary import Canary


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Canary:
    folder = tmp_path / "canary"
    folder.mkdir()
    found = Canary(folder)
    monkeypatch.syspath_prepend(str(folder))
    path = os.pathsep.join(p for p in (str(folder), os.environ.get("PYTHONPATH", "")) if p)
    monkeypatch.setenv("PYTHONPATH", path)
    return found
