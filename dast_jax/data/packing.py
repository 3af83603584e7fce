"""Pack training examples into rows of one length, and iterate over batches of rows with Grain."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np
from jaxtyping import Int

from dast_jax.records import SFTExample

__all__ = [
    "Batch",
    "PackedRows",
    "Rows",
    "batches",
    "best_fit",
    "fill",
    "pack",
    "padding_row",
    "row_visits",
    "steps_per_epoch",
]

Batch = dict[str, np.ndarray]
"""tokens, segment_ids, positions, targets int32 and weights float32, each [..., T]."""


@runtime_checkable
class Rows(Protocol):
    """Rows of one shape that batches can be drawn from."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Batch: ...

    def padding(self) -> Batch:
        """Return a row that carries no weight."""


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """Packed rows, made on access: `rows[i]` is a `Batch` of shape [T].

    `members` holds, per row, the indices of its examples; `skipped` the indices of examples that
    are longer than a row. In a row, segments count from 1 and 0 is padding, positions restart at 0
    in each segment, `targets` are the next tokens, and only targets that belong to a response have
    weight 1. A row's last input is its example's last token but one, so an example of n tokens
    takes n - 1 positions.
    """

    examples: Sequence[SFTExample]
    members: tuple[tuple[int, ...], ...]
    skipped: tuple[int, ...]
    sequence_length: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Batch:
        row = self.padding()
        start = 0
        for segment, member in enumerate(self.members[index], start=1):
            example = self.examples[member]
            start = fill(row, start, segment, example.prompt, example.response)
        return row

    def padding(self) -> Batch:
        """Return a row of padding."""
        return padding_row(self.sequence_length, self.pad_id)

    @property
    def sizes(self) -> Int[np.ndarray, "rows 2"]:
        """Of each row, the input tokens that are not padding, and the tokens that carry weight."""
        sizes = np.zeros((len(self), 2), np.int64)
        for row, members in enumerate(self.members):
            own = [self.examples[i] for i in members]
            sizes[row] = sum(map(_places, own)), sum(len(example.response) for example in own)
        return sizes

    @property
    def tokens(self) -> int:
        """Input tokens that are not padding."""
        return int(self.sizes[:, 0].sum())

    @property
    def response_tokens(self) -> int:
        """Tokens that carry weight."""
        return int(self.sizes[:, 1].sum())


def padding_row(sequence_length: int, pad_id: int) -> Batch:
    """Return a row of padding: segment 0 and weight 0 everywhere, shape [T]."""
    zeros = np.zeros(sequence_length, np.int32)
    return {
        "tokens": np.full(sequence_length, pad_id, np.int32),
        "segment_ids": zeros.copy(),
        "positions": zeros.copy(),
        "targets": zeros.copy(),
        "weights": np.zeros(sequence_length, np.float32),
    }


def fill(row: Batch, start: int, segment: int, prompt: tuple[int, ...], response: tuple[int, ...]) -> int:
    """Write a text into `row` from position `start` as segment `segment`; return the position after it."""
    tokens = np.asarray(prompt + response, np.int32)
    end = start + len(tokens) - 1
    row["tokens"][start:end] = tokens[:-1]
    row["targets"][start:end] = tokens[1:]
    row["segment_ids"][start:end] = segment
    row["positions"][start:end] = np.arange(len(tokens) - 1)
    row["weights"][start + len(prompt) - 1 : end] = 1.0
    return end


def pack(
    examples: Sequence[SFTExample], sequence_length: int, *, pad_id: int = 0, seed: int = 0
) -> PackedRows:
    """Pack by best-fit decreasing: longest examples first, each into the fullest row that still takes it.

    Deterministic in its arguments. `seed` orders examples of equal length, so that repeats of one
    text are spread. Raises `ValueError` for an example without prompt or response.
    """
    for index, example in enumerate(examples):
        if not example.prompt or not example.response:
            raise ValueError(f"training example {index} (query {example.query}) lacks prompt or response")
    places = np.array([_places(e) for e in examples], np.int64)
    members, skipped = best_fit(places, sequence_length, seed)
    return PackedRows(
        examples=examples,
        members=members,
        skipped=skipped,
        sequence_length=sequence_length,
        pad_id=pad_id,
    )


def best_fit(
    places: Int[np.ndarray, " n"], capacity: int, seed: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Group items of `places` positions into rows of `capacity`, best-fit decreasing.

    Returns the items of each row, and, in order, the items that are larger than a row.
    """
    shuffled = np.random.default_rng(np.random.SeedSequence([seed])).permutation(len(places))
    order = shuffled[np.argsort(-places[shuffled], kind="stable")]
    members: list[list[int]] = []
    skipped: list[int] = []
    rows_with: dict[int, list[int]] = {}  # free positions → rows with that many
    spaces: list[int] = []  # the keys of rows_with, sorted
    for index in order.tolist():
        need = int(places[index])
        if need > capacity:
            skipped.append(index)
            continue
        at = bisect_left(spaces, need)
        if at == len(spaces):
            row, space = len(members), capacity
            members.append([])
        else:
            space = spaces[at]
            row = rows_with[space].pop()
            if not rows_with[space]:
                del rows_with[space], spaces[at]
        members[row].append(index)
        space -= need
        if space:
            if space not in rows_with:
                rows_with[space] = []
                insort(spaces, space)
            rows_with[space].append(row)
    return tuple(tuple(row) for row in members), tuple(sorted(skipped))


def steps_per_epoch(rows: Rows, batch_size: int) -> int:
    """Return the number of batches of one pass over the rows."""
    return -(-len(rows) // batch_size)


def batches(rows: Rows, *, batch_size: int, epochs: int, seed: int) -> grain.DatasetIterator:
    """Iterate over `epochs` passes in batches of shape [batch_size, T].

    Rows are shuffled by (seed, epoch); each pass ends in a batch filled up with padding rows. The
    iterator's `get_state()` (JSON-able) and `set_state()` save and restore the position.
    """
    missing = -len(rows) % batch_size
    padding = [rows.padding()] * missing
    passes: list[grain.MapDataset] = []
    for epoch in range(epochs):
        passes.append(_shuffled(rows, seed, epoch))
        if missing:
            passes.append(grain.MapDataset.source(padding))
    dataset = grain.MapDataset.concatenate(passes).batch(batch_size)
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))


def row_visits(rows: int, *, batch_size: int, seed: int, steps: int) -> Int[np.ndarray, " rows"]:
    """Return how often each of so many rows is in the first `steps` batches of `batches`."""
    passes, more = divmod(steps, -(-rows // batch_size))
    visits = np.full(rows, passes, np.int64)
    order = _shuffled(range(rows), seed, passes)
    for place in range(min(more * batch_size, rows)):
        visits[order[place]] += 1
    return visits


def _shuffled(rows: Any, seed: int, epoch: int) -> grain.MapDataset:
    """Return the rows (or their numbers) in the order of one pass."""
    key = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    return grain.MapDataset.source(rows).shuffle(seed=key)


def _places(example: SFTExample) -> int:
    return len(example.prompt) + len(example.response) - 1
