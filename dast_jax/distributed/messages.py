"""Messages from process 0 as bytes: plain values as JSON, arrays as they are. No code travels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["decode", "encode", "joined", "split"]

_ARRAY = "__array__"


def encode(name: str, values: Mapping[str, Any]) -> bytes:
    """Return a message of plain values and numpy arrays as bytes."""
    arrays: list[bytes] = []
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            plain[key] = {_ARRAY: [value.dtype.str, list(value.shape)]}
            arrays.append(np.ascontiguousarray(value).tobytes())
        else:
            plain[key] = value
    head = json.dumps([name, plain]).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *arrays])


def decode(message: bytes) -> tuple[str, dict[str, Any]]:
    """Return what `encode` was given; tuples come back as lists."""
    begin = 8 + int.from_bytes(message[:8], "little")
    name, values = json.loads(message[8:begin])
    for key, value in values.items():
        if isinstance(value, dict) and _ARRAY in value:
            dtype, shape = value[_ARRAY]
            array = np.frombuffer(message, np.dtype(dtype), int(np.prod(shape)), begin).reshape(shape)
            begin += array.nbytes
            values[key] = array
    return name, values


def joined(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of tokens as one, int32 [total], and their lengths, int32 [n]."""
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.fromiter((token for row in rows for token in row), np.int32, int(lengths.sum()))
    return tokens, lengths


def split(tokens: np.ndarray, lengths: np.ndarray) -> list[tuple[int, ...]]:
    """Return the rows that `joined` was given."""
    flat, ends = tokens.tolist(), np.cumsum(lengths).tolist()
    return [tuple(flat[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
