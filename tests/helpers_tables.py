"""What every table in the terminal keeps to: 80 columns, and no broken word."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from dast_jax.reporting.terminal import WIDTH


def rendered(show: Callable[..., None], *args: Any, width: int = WIDTH) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(*args, console=console)
    return console.file.getvalue()


def check_fits(show: Callable[..., None], *args: Any) -> str:
    """Assert that what `show(*args, console=…)` prints fits, and return it."""
    shown, wide = (rendered(show, *args, width=width) for width in (WIDTH, 1_000))
    for line in shown.splitlines():
        assert len(line) <= WIDTH, line
    words, expected = ({w for w in text.split() if not set(w) <= {"─"}} for text in (shown, wide))
    assert words == expected, words ^ expected
    return shown
