"""How much a source may expand to: Parquet of kilobytes can stand for millions of rows, or gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["MAX_BYTES", "MAX_ROWS", "MAX_VALUES", "TooLargeError", "check_counts", "check_parquet"]

MAX_ROWS = 5_000_000
MAX_VALUES = 50_000_000
"""Values in all columns, those within lists too."""

MAX_BYTES = 4 << 30


class TooLargeError(ValueError):
    """A source stands for more than can be read; the message says so in part of a sentence."""


def check_counts(rows: int, values: int = 0, size: int = 0) -> None:
    """Raise `TooLargeError` where there are too many rows, values or bytes."""
    for count, most, what in (
        (rows, MAX_ROWS, "rows"),
        (values, MAX_VALUES, "values"),
        (size, MAX_BYTES, "bytes of text"),
    ):
        if count > most:
            raise TooLargeError(f"it stands for {count:,} {what}, and at most {most:,} are read; split it")


def check_parquet(path: Path) -> None:
    """Raise `TooLargeError` where the file stands for too much, without expanding it.

    Its own description has the counts. How long the texts are, where many rows share one, only they say:
    they are read once in their encoded form, in which each is there once.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        found = file.metadata
        groups = [found.row_group(i) for i in range(found.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        check_counts(
            found.num_rows,
            sum(column.num_values for column in columns),
            sum(column.total_uncompressed_size for column in columns),
        )
        texts = sorted({c.path_in_schema for c in columns if c.physical_type == "BYTE_ARRAY"})
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        size = 0
        for batch in file.iter_batches(batch_size=1_024):
            size += sum(map(_text_size, batch.columns))
            check_counts(0, 0, size)


def _text_size(array: Any) -> int:
    """Return the bytes of all texts in an Arrow array, each as often as it occurs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_text_size, array.flatten()))
    if pa.types.is_map(kind):
        return _text_size(array.keys) + _text_size(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _text_size(array.flatten())
    return int(array.nbytes)
