"""Verdicts for a file: JSONL rows of references and predictions in, the same rows with verdicts out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dast_jax.errors import UserError
from dast_jax.records import VerdictKind
from dast_jax.runtime import interruption
from dast_jax.verifiers.functions import Functions
from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.verifier import Verifier

__all__ = ["read_pairs", "verify_file"]

_SHOWN_ROWS = 5
_IN_FLIGHT = 4_096


def verify_file(data: Path, out: Path, options: VerifierOptions) -> Counter[VerdictKind]:
    """Verify the rows of `data` into `out`, written whole or not at all; return the count of each verdict.

    Raises `UserError` where `data` cannot be used, before anything is verified.
    """
    rows = read_pairs(data, options.functions)
    counts: Counter[VerdictKind] = Counter()
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with Verifier(options) as verifier, temporary.open("w", encoding="utf-8") as sink:
            for row in _verified(verifier, rows):
                counts[VerdictKind(row["verdict"])] += 1
                sink.write(_json_line(row))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _verified(verifier: Verifier, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows with their verdicts, in order; a few thousand are in progress at a time."""
    for start in range(0, len(rows), _IN_FLIGHT):
        chunk = rows[start : start + _IN_FLIGHT]
        pending = [verifier.submit(r["reference"], r["prediction"], r.get("task") or "math") for r in chunk]
        for row, future in zip(chunk, pending, strict=True):
            verdict = future.result()
            yield row | {
                "verdict": verdict.kind.value,
                "extracted": verdict.extracted,
                "reason": verdict.reason,
            }
        interruption.check()


def read_pairs(path: Path, functions: Functions = MappingProxyType({})) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file of pairs; their tasks may be names of the config's `functions`.

    Raises `UserError` naming the file and the rows at fault.
    """
    from dast_jax.verifiers.families import FAMILIES, read_task

    if not path.is_file():
        raise UserError(f"{path}: no such file; --data takes JSONL rows with reference and prediction")
    rows: list[dict[str, Any]] = []
    broken, lacking, unknown = [], [], []
    with path.open("rb") as source:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                broken.append(number)
                continue
            if not isinstance(row, dict):
                broken.append(number)
                continue
            for key in ("reference", "prediction"):
                if isinstance(row.get(key), int | float) and not isinstance(row[key], bool):
                    row[key] = str(row[key])
            if not isinstance(row.get("reference"), str) or not isinstance(row.get("prediction"), str):
                lacking.append(number)
            else:
                task = str(row.get("task") or "math")
                if ":" in task:
                    raise UserError(
                        f"{path} row {number}: task {task!r} names code, and data may not; give the function "
                        "a name in verifier.functions of the config"
                    )
                try:
                    read_task(task, functions)
                    rows.append(row)
                except UserError:
                    unknown.append(number)
    if broken:
        raise UserError(f"{path}: {_named(broken)} not a JSON object; the file must be JSONL")
    if lacking:
        raise UserError(f"{path}: {_named(lacking)} without text in reference or prediction; add them")
    if unknown:
        known = ", ".join([*FAMILIES, *functions])
        raise UserError(
            f"{path}: {_named(unknown)} of an unknown task; known are {known}, and what verifier.functions "
            "of the config names"
        )
    if not rows:
        raise UserError(f"{path}: holds no rows; --data takes JSONL rows with reference and prediction")
    return rows


def _named(numbers: Sequence[int]) -> str:
    """Return `row 3 is`, or `7 rows (3, 5, 8, 9, 11, …) are`."""
    if len(numbers) == 1:
        return f"row {numbers[0]} is"
    shown: Iterable[str] = (str(n) for n in numbers[:_SHOWN_ROWS])
    more = ", …" if len(numbers) > _SHOWN_ROWS else ""
    return f"{len(numbers)} rows ({', '.join(shown)}{more}) are"


def _json_line(row: dict[str, Any]) -> str:
    """Return the row as JSON in UTF-8, escaped where it holds lone surrogates, which UTF-8 cannot."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(row)
    return text + "\n"
