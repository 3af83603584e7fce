"""Which slots decode together because they share a prompt. Host side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from dast_jax.models.decode_attention import Groups

__all__ = ["group_slots"]


def group_slots(
    live: Bool[np.ndarray, " S"], row_of: Int[np.ndarray, " S"], size: int, shards: int = 1
) -> Groups:
    """Return the groups of the `live` slots: up to `size` slots whose prompt is in the same pool row each.

    Groups are formed anew for every tick: attention carries nothing from one step to the next, and a slot's
    result does not depend on its place. With `shards`, the slots are split into that number of parts, and
    `row_of` and the groups' numbers are those within a part.
    """
    parts = zip(np.split(live, shards), np.split(row_of, shards), strict=True)
    return Groups(*map(np.concatenate, zip(*(_groups(*part, size) for part in parts), strict=True)))


def _groups(live: Bool[np.ndarray, " S"], row_of: Int[np.ndarray, " S"], size: int) -> Groups:
    """Return the groups of one part."""
    slots = np.flatnonzero(live)
    slots = slots[np.argsort(row_of[slots], kind="stable")]
    rows = row_of[slots]
    first = np.flatnonzero(np.diff(rows, prepend=-1))  # of each prompt
    index = np.arange(len(slots)) - np.repeat(first, np.diff(first, append=len(slots)))
    group = np.cumsum(index % size == 0) - 1
    total = len(live)
    row, members, places = (np.zeros(shape, np.int32) for shape in (total, (total, size), total))
    row[group] = rows
    members[group, index % size] = slots
    places[slots] = group * size + index % size
    used = np.array([group[-1] + 1 if len(slots) else 0], np.int32)
    return Groups(rows=row, slots=members, places=places, used=used)
