"""Files of prompts and of responses, as the `sample` command reads and writes them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dast_jax.data.fields import check_text
from dast_jax.data.sources import read_rows
from dast_jax.errors import UserError
from dast_jax.inference.prompts import Messages, Prompt, SampledResponse
from dast_jax.store.durable import atomic_write

__all__ = ["read_prompts", "too_long", "write_responses"]

_SHOWN_ROWS = 5


def read_prompts(source: str) -> list[Prompt]:
    """Read the rows of `source`. Raises `UserError` naming the file, and the rows without a usable prompt."""
    rows = read_rows(source).rows
    if not rows:
        raise UserError(f"{source}: is empty; it should hold rows with prompt or messages")
    prompts, lacking = [], []
    for number, row in rows:
        content = _content(row)
        if content is None:
            lacking.append(number)
        else:
            id = row["id"] if row.get("id") is not None else number
            _check_text(id, content, f"{source} row {number}")
            prompts.append(Prompt(id=id, row=number, content=content))
    if lacking:
        raise UserError(
            f"{source}: {_rows(lacking)} no prompt; give text in prompt, or messages with role and content"
        )
    return prompts


def write_responses(out: Path, responses: Sequence[SampledResponse]) -> None:
    """Write one row per response, JSONL or (by the suffix of `out`) Parquet; the whole file or nothing."""
    rows = [dataclasses.asdict(response) for response in responses]
    with atomic_write(out) as file:
        if out.suffix.lower() == ".parquet":
            import pyarrow
            import pyarrow.parquet

            if len({type(row["id"]) for row in rows}) > 1:  # a column has one type
                rows = [{**row, "id": str(row["id"])} for row in rows]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def too_long(skipped: Sequence[Prompt]) -> str:
    """Return the sentence about prompts that were skipped."""
    return (
        f"{_rows([p.row for p in skipped])} a prompt longer than the limit and got no response; "
        "raise sampling.prompt_buckets, or shorten them"
    )


def _content(row: Mapping[str, Any]) -> str | Messages | None:
    """Return the prompt of a row, text or messages; None where there is neither."""
    for key in ("prompt", "messages"):
        value = row.get(key)
        if key == "prompt" and isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(map(_is_message, value)):
            return [{"role": m["role"], "content": m["content"]} for m in value]
    return None


def _check_text(id: Any, content: str | Messages, row: str) -> None:
    """Raise `UserError` for text that no tokenizer takes and no file can hold."""
    check_text(str(id), f"{row}: its id")
    for part in [content] if isinstance(content, str) else [m[key] for m in content for key in m]:
        check_text(part, f"{row}: its prompt")


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("role", "content"))


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN_ROWS]))
    if len(numbers) == 1:
        return f"row {shown} has"
    more = f" and {len(numbers) - _SHOWN_ROWS:,} more" if len(numbers) > _SHOWN_ROWS else ""
    return f"{len(numbers):,} rows ({shown}{more}) have"
