"""Files that stand for far more than they hold are refused before they are expanded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dast_jax.data import limits
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError


def _repeated(value: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), times), [value])


def _write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def _refused(path: Path, why: str) -> None:
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match=why) as caught:
        load_queries(str(path), options=DataOptions(train=str(path)))
    assert str(path) in str(caught.value)


def test_rows(tmp_path: Path) -> None:
    many = 20_000_000
    file = _write(tmp_path / "rows.parquet", question=_repeated("q", many), answer=pa.repeat(1, many))
    _refused(file, "it stands for 20,000,000 rows, and at most 5,000,000 are read; split it")


def test_values_in_one_row(tmp_path: Path) -> None:
    answers = pa.ListArray.from_arrays(pa.array([0, 60_000_000], pa.int32()), pa.nulls(60_000_000))
    _refused(_write(tmp_path / "list.parquet", question=pa.array(["q"]), answer=answers), "60,000,001 values")


@pytest.mark.parametrize("inside", ["column", "list", "struct"])
def test_long_texts_that_rows_share(tmp_path: Path, inside: str) -> None:
    texts: pa.Array = _repeated("x" * 5_000_000, 2_000)
    if inside == "list":
        texts = pa.ListArray.from_arrays(pa.array(range(2_001), pa.int32()), texts)
    if inside == "struct":
        texts = pa.StructArray.from_arrays([texts], ["text"])
    file = _write(tmp_path / "wide.parquet", question=pa.array(["q"] * 2_000), answer=texts)
    _refused(file, "bytes of text, and at most 4,294,967,296 are read")


@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl"])
def test_deep_json(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"question":' + "[" * 200_000)
    _refused(tmp_path / name, "within each other|is not JSON")


def test_ordinary_files_are_measured_rightly(tmp_path: Path) -> None:
    rows = [
        {"q": "a" * i, "more": ["bb"] * (i % 3), "n": {"t": None if i % 2 else "ccc"}} for i in range(3_000)
    ]
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    limits.check_parquet(path)
    with pq.ParquetFile(path, read_dictionary=["q", "more.list.element", "n.t"]) as file:
        measured = [sum(map(limits._text_size, batch.columns)) for batch in file.iter_batches()]
    counted = sum(len(r["q"]) + 2 * len(r["more"]) + len(r["n"]["t"] or "") for r in rows)
    assert sum(measured) == counted
