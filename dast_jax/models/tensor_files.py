"""Safetensors files: names and shapes from the header, and tensors of every type that a model may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from dast_jax.errors import UserError

__all__ = ["TensorFile"]

_FLOAT8 = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
"""The types that `safetensors` does not give as NumPy arrays."""


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
        """Return a tensor."""
        entry = self._header[name]
        kind = _FLOAT8.get(entry["dtype"])
        if kind is None:
            try:
                with safetensors.safe_open(self.path, framework="numpy") as tensors:
                    tensor: np.ndarray = tensors.get_tensor(name)
            except (safetensors.SafetensorError, AttributeError, TypeError) as error:
                raise UserError(f"{self.path}: tensor {name} cannot be read ({error})") from None
            return tensor
        begin, end = entry["data_offsets"]
        raw = np.fromfile(self.path, np.uint8, end - begin, offset=self._start + begin)
        values: np.ndarray = raw.view(kind).reshape(entry["shape"])
        return values
