"""Queries from files, embedded assets and the Hugging Face hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dast_jax.data.options import DataOptions
from dast_jax.data.schemas import detect_schema, read_row, rename_columns
from dast_jax.errors import UserError
from dast_jax.paths import resolve_path
from dast_jax.records import Query
from dast_jax.verifiers.families import read_task

__all__ = ["load_queries", "read_rows"]

Row = Mapping[str, Any]

_FORMATS = (".jsonl", ".json", ".parquet", ".csv")
_HUB_ID = re.compile(
    r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^:@\s]+))?(:(?P<subset>[^:\s]*))?(:(?P<split>[^:\s]+))?"
)


def load_queries(source: str, *, options: DataOptions) -> tuple[Query, ...]:
    """The queries of `source` in its order, all of them or the subset that `options` asks for.

    `source` is a file (.jsonl, .json, .parquet, .csv), `asset:NAME`, or a hub data set
    `owner/name[@revision][:subset][:split]` (split "train" unless named). Ids are those of the
    data, else the source's name and the row. Raises `UserError` when it is missing, empty or
    unreadable, when rows lack a question or an answer, and when ids repeat.
    """
    name, rows = read_rows(source)
    if not rows:
        raise UserError(f"{source}: is empty; it should hold one query a row")
    schema = options.schema
    if options.columns and _has_columns(source, rows, options):
        rows, schema = rename_columns(rows, options.columns), "plain"
    elif schema == "auto":
        schema = detect_schema([row for _, row in rows[:100]]) or _no_schema(source, rows)
    queries, lacking = [], []
    for number, row in rows:
        query = read_row(row, schema, options, id=f"{name}-{number}", source=f"{source} row {number}")
        if query is None:
            lacking.append(number)
        else:
            queries.append(query)
    if lacking:
        raise UserError(
            f"{source}: {_rows(lacking)} no question or no answer (read as {schema}); "
            "mend the rows or set data.schema"
        )
    _check_tasks(queries)
    _check_ids(source, queries)
    return _subset(queries, options)


def read_rows(source: str) -> tuple[str, list[tuple[int, Row]]]:
    """A short name of `source`, and its rows with their numbers (the line in a JSONL file, else from 1)."""
    hub = _HUB_ID.fullmatch(source)
    path = resolve_path(source)
    if path.is_file():
        return path.stem, _read_file(source, path)
    if path.is_dir():
        raise UserError(f"{source}: is a folder; name a file in it ({', '.join(_FORMATS)})")
    if hub and not source.endswith(_FORMATS) and not source.startswith("asset:"):
        return hub["name"].rpartition("/")[2], _read_hub(source, hub)
    raise UserError(f"{source}: no such data file (nor is it written like a hub id, owner/name:subset:split)")


# --- files ------------------------------------------------------------------------------------------


def _read_file(source: str, path: Path) -> list[tuple[int, Row]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            return _read_jsonl(source, path)
        if suffix == ".json":
            return _numbered(source, json.loads(path.read_text(encoding="utf-8-sig")))
        if suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return _numbered(source, list(csv.DictReader(file)))
        if suffix == ".parquet":
            return _numbered(source, _read_parquet(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: is not UTF-8 text (byte {error.start})") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{source}: is not readable as {suffix[1:]} ({_one_line(error)})") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or _one_line(error)})") from error
    raise UserError(f"{source}: unknown kind of data file; known are {', '.join(_FORMATS)}")


def _read_jsonl(source: str, path: Path) -> list[tuple[int, Row]]:
    rows: list[tuple[int, Row]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{source} row {number}: is not JSON ({_one_line(error)})") from error
            if not isinstance(row, dict):
                raise UserError(f"{source} row {number}: is not a JSON object with named columns")
            rows.append((number, row))
    return rows


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(error) from error


def _numbered(source: str, rows: Any) -> list[tuple[int, Row]]:
    if not isinstance(rows, list):
        raise UserError(f"{source}: should hold a list of rows, and holds {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{source} row {number}: is not an object with named columns")
    return list(enumerate(rows, 1))


# --- hub --------------------------------------------------------------------------------------------


def _read_hub(source: str, hub: re.Match[str]) -> list[tuple[int, Row]]:
    import datasets

    split = hub["split"] or "train"
    try:
        data = datasets.load_dataset(
            hub["name"], hub["subset"] or None, split=split, revision=hub["revision"]
        )
    except Exception as error:  # the hub client raises its own, HTTP, file and value errors
        raise UserError(
            f"{source}: no such file, and the hub data set cannot be loaded ({_one_line(error)})"
        ) from error
    return [(number, dict(row)) for number, row in enumerate(data, 1)]


# --- checks -----------------------------------------------------------------------------------------


def _no_schema(source: str, rows: Sequence[tuple[int, Row]]) -> str:
    columns = sorted({str(name) for _, row in rows[:100] for name in row})
    if {"question", "problem", "answer"} & set(columns):
        numbers = [number for number, _ in rows]
        raise UserError(f"{source}: {_rows(numbers)} no question or no answer; mend the rows")
    raise UserError(
        f"{source}: its columns ({', '.join(columns[:8])}) fit no known schema; name them question and "
        "answer (with solution where there is one), or say in data.columns which are which"
    )


def _has_columns(source: str, rows: Sequence[tuple[int, Row]], options: DataOptions) -> bool:
    """Whether the rows have the columns of `data.columns`; training data without them raise `UserError`."""
    columns = {str(name) for _, row in rows[:100] for name in row}
    missing = {name: theirs for name, theirs in options.columns.items() if theirs not in columns}
    if missing and options.training:
        named = ", ".join(f"{theirs} (for {name})" for name, theirs in missing.items())
        raise UserError(
            f"{source}: has no column {named}, as data.columns says; its columns are "
            f"{', '.join(sorted(columns)[:12])}"
        )
    return not missing


def _check_tasks(queries: Sequence[Query]) -> None:
    for task, query in {query.task: query for query in reversed(queries)}.items():
        try:
            read_task(task)
        except UserError as error:
            raise UserError(f"{query.source}: {error}") from error


def _check_ids(source: str, queries: Sequence[Query]) -> None:
    first: dict[str, Query] = {}
    for query in queries:
        other = first.setdefault(query.id, query)
        if other is not query:
            rows = [q.source.rpartition(" ")[2] for q in (other, query)]
            raise UserError(
                f"{source}: rows {rows[0]} and {rows[1]} have the same id {query.id!r}; make ids unique"
            )


def _subset(queries: Sequence[Query], options: DataOptions) -> tuple[Query, ...]:
    """The first `limit` queries, or `limit` drawn by the seed, in the order of the source."""
    if not options.limit or options.limit >= len(queries):
        return tuple(queries)
    if options.subset_seed is None:
        return tuple(queries[: options.limit])
    rng = np.random.default_rng(options.subset_seed)
    chosen = np.sort(rng.permutation(len(queries))[: options.limit])
    return tuple(queries[i] for i in chosen)


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    if len(numbers) == 1:
        return f"row {shown} has"
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""
    return f"rows {shown}{more} have"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
