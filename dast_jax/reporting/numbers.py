"""Numbers as text, the same on pages and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["number", "out_of", "percent", "signed_points", "tokens"]

_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))
"""From which size on a unit is used; thousands only from 10,000 on."""


def percent(value: float) -> str:
    """Return a fraction as per cent: 0.123 → "12.3 %"."""
    return f"{100 * value:.1f}\u202f%" if math.isfinite(value) else "–"


def signed_points(fraction: float) -> str:
    """Return a difference of fractions in points: 0.0123 → "+1.2", −0.5 → "−50.0", 0.0001 → "0.0"."""
    shown = f"{100 * fraction:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")


def tokens(value: float | None) -> str:
    """Return the mean length of responses: 45.123 → "45.1", None → "–"."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"


def out_of(done: int, planned: int, form: Callable[[int], str]) -> str:
    """Return how much was done, and of how much where it is less than planned: "100 of 340"."""
    return f"{form(done)} of {form(planned)}" if done < planned else form(done)


def number(value: float) -> str:
    """Return a number in short form: 1234567 → "1.23 M", 12.34 → "12.3", 0.01234 → "0.0123"."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    for size, unit in _UNITS:
        if abs(value) >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{scaled:.3g}\u202f{unit}"
    if float(value).is_integer():
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
