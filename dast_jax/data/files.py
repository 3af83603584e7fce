"""The rows of data files: JSONL, JSON, CSV and Parquet. What cannot be read whole is refused."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.data.limits import TooLargeError, check_parquet
from dast_jax.data.table import Table, one_line, rows_have
from dast_jax.errors import UserError

__all__ = ["FORMATS", "read_file"]

Row = Mapping[str, Any]

FORMATS = (".jsonl", ".json", ".parquet", ".csv")


def read_file(source: str, path: Path) -> Table:
    """Return the rows of a file; raise `UserError` naming `source` where it is damaged or ambiguous."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            return Table(path.stem, _read_jsonl(source, path))
        if suffix == ".json":
            text = path.read_text(encoding="utf-8-sig")
            return Table(path.stem, _numbered(source, _json(text)))
        if suffix == ".csv":
            return Table(path.stem, _read_csv(source, path))
        if suffix == ".parquet":
            rows, classes = _read_parquet(path)
            return Table(path.stem, _numbered(source, rows), classes)
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: is not UTF-8 text (byte {error.start})") from error
    except TooLargeError as error:
        raise UserError(f"{source}: cannot be read whole ({error})") from error
    except RecursionError as error:
        raise UserError(f"{source}: {_NESTED}") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{source}: is not readable as {suffix[1:]} ({one_line(error)})") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or one_line(error)})") from error
    raise UserError(f"{source}: unknown kind of data file; known are {', '.join(FORMATS)}")


_NESTED = "is not JSON that can be read (too many lists or objects within each other)"
_LONGEST_NUMBER = 4_000


def _json(text: str) -> Any:
    """Return what JSON text holds; raise `ValueError` for a repeated key and a number out of range."""
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal)


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text):,} digits; write it as text")
    return int(text)


def _decimal(text: str) -> float:
    """Return the number; one beyond what a float holds would become infinite (`1e999`)."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large; write it as text")
    return value


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise `ValueError` for a repeated key, of which one value would be lost."""
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r} appears twice in one object; remove one of them")
    return found


def _read_jsonl(source: str, path: Path) -> list[tuple[int, Row]]:
    rows: list[tuple[int, Row]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = _json(line)
            except RecursionError as error:
                raise UserError(f"{source} row {number}: {_NESTED}") from error
            except ValueError as error:
                raise UserError(f"{source} row {number}: is not JSON ({one_line(error)})") from error
            if not isinstance(row, dict):
                raise UserError(f"{source} row {number}: is not a JSON object with named columns")
            rows.append((number, row))
    return rows


def _read_csv(source: str, path: Path) -> list[tuple[int, Row]]:
    """Return the rows by the header's columns; a row that is short has None in the rest.

    Quotes that are not closed, or closed in mid-cell, would swallow the rows after them, and a row with more
    cells than the header has an unquoted comma: both are refused.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = [record for record in csv.reader(file, strict=True) if record]
    if not records:
        return []
    header, *cells = records
    repeated = [name for name, count in Counter(header).items() if name and count > 1]
    if repeated:
        raise UserError(f"{source}: has two columns {repeated[0]!r}; rename or remove one of them")
    wide = [number for number, record in enumerate(cells, 1) if len(record) > len(header)]
    if wide:
        raise UserError(
            f"{source}: {rows_have(wide)} more cells than the header's {len(header)} columns; put cells that "
            'hold a comma in double quotes ("1,200")'
        )
    width = len(header)
    return [
        (number, dict(zip(header, [*record, *[None] * (width - len(record))], strict=True)))
        for number, record in enumerate(cells, 1)
    ]


def _read_parquet(path: Path) -> tuple[list[Row], dict[str, list[str]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        check_parquet(path)
        table = pyarrow.parquet.read_table(path)
        if len(set(table.column_names)) != table.num_columns:
            raise ValueError("two of its columns have the same name")
        return table.to_pylist(), _class_names(table.schema.metadata or {})
    except pyarrow.ArrowException as error:
        raise ValueError(error) from error


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of classes that `datasets` writes into a Parquet file, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        classes = {column: f["names"] for column, f in features.items() if f.get("_type") == "ClassLabel"}
    except (ValueError, LookupError, TypeError, AttributeError):  # written by something else
        return {}
    return {column: names for column, names in classes.items() if isinstance(names, list)}


def _numbered(source: str, rows: Any) -> list[tuple[int, Row]]:
    if not isinstance(rows, list):
        raise UserError(f"{source}: should hold a list of rows, and holds {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{source} row {number}: is not an object with named columns")
    return list(enumerate(rows, 1))
