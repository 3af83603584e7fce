"""Queries from files, embedded assets and the Hugging Face hub."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from dast_jax.assets import resolve_path
from dast_jax.data.hub import HUB_ID, read_hub
from dast_jax.data.limits import TooLargeError, check_parquet
from dast_jax.data.named import by_columns, unread_choices, with_class_names
from dast_jax.data.options import DataOptions
from dast_jax.data.schemas import detect_schema, read_row
from dast_jax.data.table import Table, one_line, rows_have
from dast_jax.errors import UserError
from dast_jax.records import Query
from dast_jax.verifiers.families import check_config_task
from dast_jax.verifiers.functions import Functions

__all__ = ["load_queries", "read_rows"]

Row = Mapping[str, Any]

_FORMATS = (".jsonl", ".json", ".parquet", ".csv")


def load_queries(
    source: str, *, options: DataOptions, functions: Functions = MappingProxyType({})
) -> tuple[Query, ...]:
    """Return the queries of `source` in its order, all of them or the subset that `options` asks for.

    `source` is a file (.jsonl, .json, .parquet, .csv), `asset:NAME`, or a hub data set
    `owner/name[@revision][:subset][:split]` (split "train" unless named). Ids are those of the
    data, else the source's name and the row. Rows may use the names of `functions`, the config's
    `verifier.functions`, as their task. Raises `UserError` when the source is missing, empty or unreadable,
    when rows lack a question or an answer or name a task that is not known, and when ids repeat.
    """
    check_config_task(options.task, functions)
    table = read_rows(source)
    if not table.rows:
        raise UserError(f"{source}: is empty; it should hold one query per row")
    schema, table = _with_schema(source, table, options)
    queries, lacking = [], []
    for number, row in table.rows:
        query = read_row(
            row,
            schema,
            options,
            id=f"{table.name}-{number}",
            source=f"{source} row {number}",
            functions=functions,
        )
        if query is None:
            lacking.append(number)
        else:
            queries.append(query)
    if lacking:
        raise UserError(
            f"{source}: {rows_have(lacking)} no question or no answer (read as {schema}); "
            "fix the rows or set data.schema"
        )
    _check_ids(source, queries)
    return _subset(queries, options)


def read_rows(source: str) -> Table:
    """Return the rows of `source` unchanged, with a short name of it."""
    hub = HUB_ID.fullmatch(source)
    path = resolve_path(source)
    if path.is_file():
        return _read_file(source, path)
    if path.is_dir():
        raise UserError(f"{source}: is a folder; name a file in it ({', '.join(_FORMATS)})")
    if hub and not source.endswith(_FORMATS) and not source.startswith("asset:"):
        return read_hub(source, hub)
    raise UserError(f"{source}: no such data file, and not a hub id like owner/name:subset:split")


def _with_schema(source: str, table: Table, options: DataOptions) -> tuple[str, Table]:
    """Return the schema to read `table` with, and `table` in that schema's columns.

    Training data are read by `data.columns` wherever they are named. They do not
    apply to a test set of known schema: only to one whose own columns have no known schema, or the plain one.
    """
    schema: str | None = options.schema
    if schema == "auto":
        schema = detect_schema([row for _, row in table.rows[:100]])
    by_name = options.columns and (options.training or schema in (None, "plain"))
    by_name = by_name and _has_columns(source, table, options)
    if schema is None and not by_name:
        _no_schema(source, table)
    if options.schema == "auto" and (by_name or schema in ("plain", "aime24", "amc23")):
        _check_choices(source, table, set(options.columns.values()) if by_name else set(), options)
    if by_name:
        return "plain", by_columns(source, table, options)
    return str(schema), with_class_names(table, {"answer"}) if schema == "plain" else table


# --- files ------------------------------------------------------------------------------------------


def _read_file(source: str, path: Path) -> Table:
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            return Table(path.stem, _read_jsonl(source, path))
        if suffix == ".json":
            return Table(path.stem, _numbered(source, json.loads(path.read_text(encoding="utf-8-sig"))))
        if suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return Table(path.stem, _numbered(source, list(csv.DictReader(file))))
        if suffix == ".parquet":
            rows, classes = _read_parquet(path)
            return Table(path.stem, _numbered(source, rows), classes)
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: is not UTF-8 text (byte {error.start})") from error
    except TooLargeError as error:
        raise UserError(f"{source}: cannot be read whole ({error})") from error
    except RecursionError as error:
        raise UserError(f"{source}: is JSON with too many lists or objects within each other") from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{source}: is not readable as {suffix[1:]} ({one_line(error)})") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or one_line(error)})") from error
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
                raise UserError(f"{source} row {number}: is not JSON ({one_line(error)})") from error
            if not isinstance(row, dict):
                raise UserError(f"{source} row {number}: is not a JSON object with named columns")
            rows.append((number, row))
    return rows


def _read_parquet(path: Path) -> tuple[list[Row], dict[str, list[str]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        check_parquet(path)
        table = pyarrow.parquet.read_table(path)
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


# --- checks -----------------------------------------------------------------------------------------


def _no_schema(source: str, table: Table) -> NoReturn:
    if {"question", "problem", "answer"} & set(table.columns):
        numbers = [number for number, _ in table.rows]
        raise UserError(f"{source}: {rows_have(numbers)} no question or no answer; fix the rows")
    raise UserError(
        f"{source}: its columns ({', '.join(table.columns[:8])}) fit no known schema; name them question and "
        "answer (with solution where there is one), or name them in data.columns"
    )


def _has_columns(source: str, table: Table, options: DataOptions) -> bool:
    """Return whether the rows have the columns of `data.columns`; raise `UserError` for training data."""
    columns = table.columns
    missing = {name: theirs for name, theirs in options.columns.items() if theirs not in columns}
    if missing and options.training:
        named = ", ".join(f"{theirs} (for {name})" for name, theirs in missing.items())
        raise UserError(
            f"{source}: has no column {named}, as data.columns says; its columns are "
            f"{', '.join(columns[:12])}"
        )
    return not missing


def _check_choices(source: str, table: Table, named: set[str], options: DataOptions) -> None:
    """Raise `UserError` where choices would be left out because nothing says how to read their column."""
    column = unread_choices(table, named)
    if column is None:
        return
    whole = "set data.schema=plain" if options.training else "leave the column out"
    raise UserError(
        f"{source}: nothing says how to read the column {column}; name it in data.columns "
        f"(choices: {column}), or {whole} where the questions hold their choices"
    )


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
    """Return the first `limit` queries, or `limit` drawn by the seed, in the order of the source."""
    if not options.limit or options.limit >= len(queries):
        return tuple(queries)
    if options.subset_seed is None:
        return tuple(queries[: options.limit])
    rng = np.random.default_rng(options.subset_seed)
    chosen = np.sort(rng.permutation(len(queries))[: options.limit])
    return tuple(queries[i] for i in chosen)
