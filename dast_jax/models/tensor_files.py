"""Safetensors files, a tensor at a time: read as views of the file, written as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from dast_jax.errors import UserError

__all__ = ["Entry", "TensorFile", "write_tensors"]

_KINDS: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(kind).name: name for name, kind in _KINDS.items()}


class TensorFile:
    """A safetensors file; raises `UserError` where it is damaged."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with safetensors.safe_open(path, framework="numpy") as tensors:
                self.names = tuple(tensors.keys())
            # The library has checked the header: its length, its JSON, and that offsets fit the file.
            with path.open("rb") as file:
                self._start = 8 + int.from_bytes(file.read(8), "little")
                self._header: dict[str, Any] = json.loads(file.read(self._start - 8))
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); download the model again") from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._header[name]["shape"])

    def read(self, name: str) -> np.ndarray:
        """Return a tensor as a view of the file: only what is used of it is read, and nothing is kept."""
        entry = self._header[name]
        kind = _KINDS.get(entry["dtype"])
        if kind is None:
            raise UserError(f"{self.path}: tensor {name} cannot be read (values of type {entry['dtype']})")
        begin, end = entry["data_offsets"]
        if begin == end:
            return np.zeros(entry["shape"], kind)
        raw = np.memmap(self.path, np.uint8, "r", offset=self._start + begin, shape=(end - begin,))
        values: np.ndarray = raw.view(kind).reshape(entry["shape"])
        return values


class Entry(NamedTuple):
    """A tensor to be written."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def write_tensors(path: Path, entries: Sequence[Entry], arrays: Iterable[np.ndarray]) -> None:
    """Write a safetensors file by rename, with the tensors of `arrays` one after the other.

    `arrays` gives those that `entries` name, in their order; one is held at a time.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dtype, shape in entries:
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype.name], "shape": shape, "data_offsets": (at, at + size)}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry, array in zip(entries, arrays, strict=True):
            if array.shape != entry.shape or array.dtype != entry.dtype:
                raise ValueError(f"{entry.name}: got {array.dtype}{list(array.shape)}, expected {entry}")
            np.ascontiguousarray(array).reshape(-1).view(np.uint8).tofile(file)
    os.replace(temporary, path)
