"""Requests by the parts of the slots: a mesh splits slots, prompts and groups, and each device has its own.

All trials of a query in one part would leave the others idle at the end, so that a query's trials go to the
parts in blocks, one block after the other. The part is a function of the order of requests alone, never of
what is idle: a stage that is resumed goes through the same ticks.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from dast_jax.records import Requests

__all__ = ["Parts"]


class Parts:
    """Says which part of the slots serves a request; queries are numbered in the order they come in."""

    def __init__(self, parts: int, block: int):
        self._parts = parts
        self._block = block
        self._number: dict[int, int] = {}

    def split(self, requests: Requests) -> list[Requests]:
        """Return the requests of each part, in their order."""
        if self._parts == 1:
            return [requests]
        part = self._of(requests)
        return [requests.take(np.flatnonzero(part == p)) for p in range(self._parts)]

    def _of(self, requests: Requests) -> Int[np.ndarray, " n"]:
        distinct, first, inverse = np.unique(requests.query, return_index=True, return_inverse=True)
        for query in distinct[np.argsort(first)].tolist():
            self._number.setdefault(query, len(self._number))
        number = np.array([self._number[query] for query in distinct.tolist()], np.int64)[inverse]
        part: np.ndarray = (number + requests.trial // self._block) % self._parts
        return part
