"""Pack preference pairs into rows, both responses of a pair in the same row, after the prompt they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dast_jax.data.packing import Batch, best_fit, padding_row
from dast_jax.records import PreferencePair

__all__ = ["PackedPairs", "pack_pairs", "row_length"]


@dataclass(frozen=True, kw_only=True)
class PackedPairs:
    """Packed rows of pairs, made on access: `rows[i]` is a batch of one row.

    A prompt is in a row once, for both responses. The j-th pair of a row (from 0) is three segments:
    3j + 1, the prompt but its last token; 3j + 2, that token and the chosen response but its last; 3j + 3,
    the same with the rejected response. The array `parents` int32 [T] names, for the tokens of a
    response's segment, the prompt's, which they see as well (`models.attention`), and is 0 elsewhere;
    their positions continue the prompt's. All targets of a response's segment have weight, those of a
    prompt's none.

    A row has two more arrays: `reference` float32 [P, 2], the reference policy's summed log-probabilities of
    chosen and rejected, and `pairs` float32 [P], 1 where there is a pair. At most P = T // 2 pairs fit,
    since a response takes at least one position, so the shape depends on T alone.

    `members` holds, per row, the indices of its pairs; `skipped` the indices of pairs that are left out: a
    text of theirs is too long, or both do not fit into one row.
    """

    pairs: Sequence[PreferencePair]
    reference: Float[np.ndarray, "n 2"]
    members: tuple[tuple[int, ...], ...]
    skipped: tuple[int, ...]
    sequence_length: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Batch:
        row = self.padding()
        start = 0
        for j, member in enumerate(self.members[index]):
            pair = self.pairs[member]
            start = _fill(row, start, 3 * j + 1, pair)
            row["reference"][j] = self.reference[member]
            row["pairs"][j] = 1.0
        return row

    def padding(self) -> Batch:
        """Return a row of padding: no pair in it."""
        row = padding_row(self.sequence_length, self.pad_id)
        most = self.sequence_length // 2
        return row | {
            "parents": np.zeros(self.sequence_length, np.int32),
            "reference": np.zeros((most, 2), np.float32),
            "pairs": np.zeros(most, np.float32),
        }

    @property
    def sizes(self) -> Int[np.ndarray, "rows 2"]:
        """Of each row, the input tokens that are not padding, and the tokens that carry weight."""
        sizes = np.zeros((len(self), 2), np.int64)
        for row, members in enumerate(self.members):
            own = [self.pairs[i] for i in members]
            sizes[row] = sum(map(_places, own)), sum(len(pair.chosen) + len(pair.rejected) for pair in own)
        return sizes

    @property
    def tokens(self) -> int:
        """Input tokens that are not padding; a pair's prompt counts once."""
        return int(self.sizes[:, 0].sum())

    @property
    def response_tokens(self) -> int:
        """Tokens that carry weight, of chosen and rejected responses."""
        return int(self.sizes[:, 1].sum())


def _fill(row: Batch, start: int, segment: int, pair: PreferencePair) -> int:
    """Write a pair into `row` from `start`, its prompt as `segment`; return the position after it."""
    prompt = len(pair.prompt) - 1
    end = start + prompt
    row["tokens"][start:end] = pair.prompt[:-1]
    row["targets"][start:end] = pair.prompt[1:]
    row["segment_ids"][start:end] = segment
    row["positions"][start:end] = np.arange(prompt)
    for own, response in enumerate((pair.chosen, pair.rejected), start=segment + 1):
        start, end = end, end + len(response)
        row["tokens"][start:end] = (pair.prompt[-1], *response[:-1])
        row["targets"][start:end] = response
        row["segment_ids"][start:end] = own
        row["parents"][start:end] = segment
        row["positions"][start:end] = np.arange(prompt, prompt + len(response))
        row["weights"][start:end] = 1.0
    return end


def row_length(pairs: Sequence[PreferencePair], text_length: int) -> int:
    """Return how long the rows must be that hold all pairs whose texts have at most `text_length` positions.

    That is `text_length` itself, or twice as much where a prompt with both its responses needs more.
    """
    longest = max((_places(p) for p in pairs if _longer(p) <= text_length), default=0)
    return text_length if longest <= text_length else 2 * text_length


def pack_pairs(
    pairs: Sequence[PreferencePair],
    reference: Float[np.ndarray, "n 2"],
    sequence_length: int,
    *,
    text_length: int | None = None,
    pad_id: int = 0,
    seed: int = 0,
) -> PackedPairs:
    """Pack `pairs` with their `reference` log-probabilities, best-fit decreasing as `packing.pack`.

    A pair with a text of more than `text_length` positions (by default of a row's) is left out.
    Raises `ValueError` for a pair with an empty part, for a reference of another shape, and for one that is
    not finite where its pair fits into a row.
    """
    for index, pair in enumerate(pairs):
        if not (pair.prompt and pair.chosen and pair.rejected):
            raise ValueError(f"preference pair {index} (query {pair.query}) lacks prompt, chosen or rejected")
    reference = np.asarray(reference, np.float32)
    if reference.shape != (len(pairs), 2):
        raise ValueError(f"reference log-probabilities of shape {reference.shape} for {len(pairs)} pairs")
    limit = sequence_length if text_length is None else text_length
    too_long = sequence_length + 1
    places = np.array([_places(p) if _longer(p) <= limit else too_long for p in pairs], np.int64)
    members, skipped = best_fit(places, sequence_length, seed)
    for index in (i for row in members for i in row):
        if not np.isfinite(reference[index]).all():
            raise ValueError(f"preference pair {index} has reference log-probabilities {reference[index]}")
    return PackedPairs(
        pairs=pairs,
        reference=reference,
        members=members,
        skipped=skipped,
        sequence_length=sequence_length,
        pad_id=pad_id,
    )


def _places(pair: PreferencePair) -> int:
    return len(pair.prompt) - 1 + len(pair.chosen) + len(pair.rejected)


def _longer(pair: PreferencePair) -> int:
    """Return the positions of the longer of the pair's texts."""
    return len(pair.prompt) - 1 + max(len(pair.chosen), len(pair.rejected))
