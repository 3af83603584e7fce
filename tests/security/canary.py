"""Shared by the tests of this package: a module that leaves a file behind when it is imported or called."""

from __future__ import annotations

from pathlib import Path

import pytest

TASK = "canary_of_tests:sing"

_MODULE = """
from pathlib import Path

Path({imported!r}).touch()


def sing(*_, **__):
    Path({called!r}).touch()
    return True


class Tokenizer:
    from_pretrained = sing


class Module:
    load = sing
    __init__ = sing
"""


class Canary:
    """The files that the module `canary_of_tests` in `folder` leaves behind."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files = (folder / "imported", folder / "called")
        (folder / "canary_of_tests.py").write_text(self.code)

    @property
    def code(self) -> str:
        return _MODULE.format(imported=str(self.files[0]), called=str(self.files[1]))

    def assert_silent(self) -> None:
        assert [file.name for file in self.files if file.exists()] == []

    def assert_sang(self) -> None:
        assert [file.exists() for file in self.files] == [True, True]


def refused(capsys: pytest.CaptureFixture[str], code: int | None, *words: str) -> str:
    """The one sentence of a command that ended with exit code 2, which has all `words`."""
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert code == 2, captured.err
    assert lines[-1].startswith("error: "), captured.err
    assert "Traceback" not in captured.err
    for word in words:
        assert word in lines[-1]
    return lines[-1]
