"""Nothing from outside acts on the terminal, the log or the page that shows it."""

from __future__ import annotations

import io
import logging
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dast_jax.cli import Arguments, Flag, command
from dast_jax.cli.progress_display import ProgressDisplay
from dast_jax.errors import UserError
from dast_jax.options import opt
from dast_jax.reporting.terminal import make_table, plain, print_tables
from dast_jax.runtime.progress import Progress
from dast_jax.runtime.visible import VisibleFormatter, visible

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202eb\u2066\u200f\u2028\ud800\rc"


def acting(character: str) -> bool:
    """Whether Unicode says that a terminal or a reader is steered by the character."""
    bidi = unicodedata.bidirectional(character) in (
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    )
    marks = character in "\u061c\u200e\u200f"
    return bidi or marks or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


RAW = {character for character in HOSTILE if acting(character)}


def test_every_character_that_acts_is_escaped_and_no_other() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        assert (visible(character) != character) == acting(character), hex(ord(character))


@given(st.text(st.characters()))
def test_escapes_can_be_read_back(text: str) -> None:
    doubled = text.replace("\\", "\\\\")
    shown = visible(doubled)
    shown.encode("utf-8")
    back = shown.encode("ascii", "backslashreplace").decode("unicode_escape")
    assert back.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_lines_that_are_meant_stay() -> None:
    assert visible("a\nb\x1b\t", keep="\n") == "a\nb\\x1b\\t"


@dataclass(frozen=True, kw_only=True)
class _Options:
    name: str = opt("a", "a name")


@pytest.mark.parametrize("kind", [UserError, RuntimeError])
def test_errors_and_tracebacks(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main(argv: object = None) -> None:
        raise kind(HOSTILE)

    assert main([]) != 0
    err = capsys.readouterr().err
    assert "\\x1b[2J" in err
    assert not RAW & set(err)


def test_logs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(VisibleFormatter("%(message)s"))
    log = logging.getLogger("dast_jax.tests")
    log.addHandler(handler)

    @command
    def main(argv: object = None) -> None:
        log.warning("skipped: %s", f"{HOSTILE}\nerror: none")
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("failed")

    assert main([]) == 0
    log.removeHandler(handler)
    handler.close()
    for text in (capsys.readouterr().err, file.read_text(encoding="utf-8")):
        assert "\\x1b[2J" in text
        assert "\\nerror: none" in text
        assert "\nValueError" in text
        assert not RAW & set(text)


def test_help_and_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = Arguments("x", "Do.", _Options, Flag("--out", help="a file"))
    file = tmp_path / "c.yaml"
    file.write_text('name: "a\\e[2J\\u202E\\u009b"\n')

    @command
    def main(argv: list[str]) -> None:
        arguments.parse(argv)

    assert main(["--config", str(file), "--help"]) == 0
    assert main(["--config", str(file), "--print-config"]) == 0
    assert not RAW & set(capsys.readouterr().out)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [io.StringIO, _Terminal])
def test_progress(kind: type[io.StringIO]) -> None:
    file = kind()
    display = ProgressDisplay(file)
    title = f"{HOSTILE}[/bold]"  # which would end the bar with an error if it were markup
    for state in ("started", "running", "finished"):
        display(Progress(title=title, state=state, done=1, total=2, info=title))
    shown = file.getvalue()
    assert "\\x1b[2J" in shown
    for raw in ("\x1b]0", "\x1b[2J\x9b", "\x07", "\x9b", "\u202e", "\u2066", "\ud800"):
        assert raw not in shown


def test_tables() -> None:
    from rich.console import Console

    table = make_table(HOSTILE, HOSTILE)
    table.add_row(plain(HOSTILE))
    file = io.StringIO()
    print_tables([table], Console(file=file, width=200))
    assert file.getvalue().count("\\x1b[2J") == 3
    assert not RAW & set(file.getvalue())
