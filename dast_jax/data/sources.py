"""Queries from files, embedded assets and the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from dast_jax.assets import resolve_path
from dast_jax.data.chat_sets import CHAT_SCHEMAS, ignored_parts, preference_form
from dast_jax.data.files import FORMATS, read_file
from dast_jax.data.hub import HUB_ID, read_hub
from dast_jax.data.named import (
    by_columns,
    choice_columns,
    unread_choices,
    with_class_names,
    with_one_column,
)
from dast_jax.data.options import DataOptions
from dast_jax.data.schemas import detect_schema, read_row
from dast_jax.data.table import Table, rows_have
from dast_jax.errors import UserError
from dast_jax.records import Query
from dast_jax.verifiers.families import check_config_task
from dast_jax.verifiers.functions import Functions

__all__ = ["load_queries", "read_rows"]

log = logging.getLogger(__name__)

Row = Mapping[str, Any]


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
    for part in ignored_parts(schema, table.rows):
        log.warning("%s: %s", source, part)
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
        return read_file(source, path)
    if path.is_dir():
        raise UserError(f"{source}: is a folder; name a file in it ({', '.join(FORMATS)})")
    if hub and not source.endswith(FORMATS) and not source.startswith("asset:"):
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
    by_name = options.columns and (options.training or schema in (None, "plain", *CHAT_SCHEMAS))
    by_name = by_name and _has_columns(source, table, options)
    if schema is None and not by_name:
        _no_schema(source, table)
    columns = dict(options.columns) if by_name else {}
    if options.schema == "auto" and (by_name or schema in ("plain", "aime24", "amc23")):
        _check_choices(source, table, set(columns.values()), options)
        found = {} if "choices" in columns else choice_columns(table, set(columns.values()))
        if found:
            return "plain", _by_choice_columns(source, table, columns, found, options)
    if columns:
        return "plain", by_columns(source, table, columns, options.task)
    return str(schema), with_class_names(table, {"answer"}) if schema == "plain" else table


def _by_choice_columns(
    source: str, table: Table, columns: dict[str, str], found: Mapping[str, str], options: DataOptions
) -> Table:
    """Return `table` in the plain schema's columns where choices have a column each, `found` by letter."""
    named = {name: _named(table, name) for name in ("question", "answer", "solution")}
    columns = columns or {name: theirs for name, theirs in named.items() if theirs}
    joined = with_one_column(table, found, _CHOICES)
    try:
        return by_columns(source, joined, columns | {"choices": _CHOICES}, options.task)
    except UserError as error:
        apart = "set data.schema=plain" if options.training else "rename them"
        raise UserError(
            f"{error}; read as choices are the columns {', '.join(found.values())}, {apart} if they are none"
        ) from error


_CHOICES = "choices in columns"
"""A column that no source has."""


def _named(table: Table, name: str) -> str | None:
    """Return the column that is `name`, or one that the schemas of single answers read as it."""
    names = (name, name.title(), *(("problem", "Problem") if name == "question" else ()))
    return next((theirs for theirs in names if theirs in table.columns), None)


def _no_schema(source: str, table: Table) -> NoReturn:
    form = preference_form(table.columns)
    if form:
        raise UserError(f"{source}: {form}")
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
