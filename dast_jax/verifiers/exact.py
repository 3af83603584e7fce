"""Deciding whether two parsed answers have one value, without rounding anything to zero.

Runs in the workers, behind their limits. Rational numbers are compared exactly. Other constants are compared
by the difference of both: sympy evaluates it with a bound on its error, to as many digits as it takes to tell
it from zero, and to at most as many as powers and factorials of that size can cancel. What has variables
is refuted by its value at rational points, which are decided the same way.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any

import sympy
from sympy.core.evalf import PrecisionExhausted

__all__ = ["certainly_different", "equal_constants", "imaginary_unit"]

_LEAST_DIGITS = 200
_MOST_DIGITS = 30_000
_POINTS = ((7, 5), (11, 3), (13, 17), (5, 19), (23, 7), (29, 31))


def equal_constants(reference: Any, answer: Any, decimals: int) -> bool | None:
    """Return whether two constants are equal; None where either is none, or cannot be evaluated.

    Next to a number without one, a number with a decimal point is a rounded value: it may be off by half a
    unit of the `decimals`-th significant digit (`1.414214` for the root of two).
    """
    if not all(_is_constant(side) for side in (reference, answer)):
        return None
    rounded = bool(reference.atoms(sympy.Float)) != bool(answer.atoms(sympy.Float))
    a, b = _exact(reference), _exact(answer)
    if any(side.has(sympy.nan, sympy.zoo) for side in (a, b)):
        return False
    if a.has(sympy.oo, -sympy.oo) or b.has(sympy.oo, -sympy.oo):
        return bool(a == b)
    difference = a - b
    differs = _is_nonzero(difference)
    if not differs or not rounded or (a.is_Rational and b.is_Rational):
        return None if differs is None else not differs
    slack = sympy.Rational(1, 2 * 10**decimals) * min(
        1, abs(sympy.Rational(str(a.evalf(20)))) if a.is_real else 1
    )
    return bool(abs(difference.evalf(20)) <= slack)


def imaginary_unit(sides: list[Any]) -> list[Any]:
    """Return both answers with `i` as the imaginary unit where it is the only letter in them: `(1+i)^2`.

    Next to other letters it may be an index, and stays one.
    """
    if not all(isinstance(side, sympy.Expr) and not side.has(sympy.Sum, sympy.Product) for side in sides):
        return sides
    letters = set().union(*(side.free_symbols for side in sides))
    if {letter.name for letter in letters} != {"i"}:
        return sides
    return [side.xreplace(dict.fromkeys(letters, sympy.I)) for side in sides]


def certainly_different(a: Any, b: Any) -> bool:
    """Return whether two parsed answers have different values; False where that cannot be seen.

    Sets, tuples, matrices and intervals are compared by their parts, `x = 5` by its right side.
    """
    if a == b:
        return False
    a, b = _right_side(a), _right_side(b)
    if isinstance(a, sympy.Interval) and isinstance(b, sympy.Interval):
        return certainly_different(a.start, b.start) or certainly_different(a.end, b.end)
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape != b.shape or any(map(certainly_different, a.flat(), b.flat()))
    if isinstance(a, sympy.Tuple) and isinstance(b, sympy.Tuple):
        return any(certainly_different(x, y) for x, y in zip_longest(a.args, b.args))
    if isinstance(a, sympy.FiniteSet) and isinstance(b, sympy.FiniteSet):
        return any(
            all(certainly_different(x, y) for y in other.args)
            for side, other in ((a, b), (b, a))
            for x in side.args
        )
    if not (isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)):
        return False
    try:
        return _differs_at_points(_exact(a) - _exact(b))
    except MemoryError:
        raise
    except Exception:  # sympy fails in too many ways to name: then nothing was seen
        return False


def _right_side(value: Any) -> Any:
    return value.rhs if isinstance(value, sympy.Eq) and value.lhs.is_Symbol else value


def _differs_at_points(difference: sympy.Expr) -> bool:
    names = sorted(difference.free_symbols, key=str)
    if len(names) > len(_POINTS):
        return False
    seen = 0
    for shift in range(2):
        points = {name: sympy.Rational(*_POINTS[(i + shift) % len(_POINTS)]) for i, name in enumerate(names)}
        seen += _is_nonzero(difference.subs(points)) is True
        if not names:
            break
    return seen > 0 and seen == (2 if names else 1)


def _is_constant(value: Any) -> bool:
    return isinstance(value, sympy.Expr) and not value.free_symbols and value.is_commutative is not False


def _exact(value: Any) -> Any:
    """Return `value` with decimals as fractions, and evaluated."""
    floats = {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    return value.xreplace(floats).doit()


def _is_nonzero(difference: sympy.Expr) -> bool | None:
    """Return whether a constant is not zero; None where it cannot be evaluated."""
    if difference.is_Rational:
        return not difference.is_zero
    digits = int(min(_MOST_DIGITS, _LEAST_DIGITS + _cancelling_digits(difference)))
    try:
        value = difference.evalf(3, maxn=digits, strict=True)
    except PrecisionExhausted:
        return False  # zero to that many digits
    except MemoryError:
        raise
    except Exception:  # sympy fails in too many ways to name
        return None
    return (
        bool(value != 0)
        if value.is_number and not value.atoms(sympy.Symbol) and value.is_comparable is not None
        else None
    )


def _cancelling_digits(value: sympy.Expr) -> float:
    """Return how many digits the parts of a constant have, as 2^100 has 31: so many may cancel out."""
    digits = 0.0
    for part in sympy.preorder_traversal(value):
        if part.is_Integer:
            digits += math.log10(abs(int(part)) + 1)
        elif (part.is_Pow and part.exp.is_number) or isinstance(part, sympy.exp):
            base, power = part.as_base_exp()
            digits += abs(float(power.evalf(5, chop=False).as_real_imag()[0])) * _size(base)
        elif isinstance(part, sympy.factorial) and part.args[0].is_number:
            digits += math.lgamma(abs(float(part.args[0])) + 1) / math.log(10)
    return 2 * digits


def _size(base: sympy.Expr) -> float:
    """Return the digits of a base, at least those of 10 (0 has none, and a half has some)."""
    value = abs(complex(base.evalf(5))) if base.is_number else 10.0
    return max(1.0, abs(math.log10(value))) if 0 < value < math.inf else 1.0
