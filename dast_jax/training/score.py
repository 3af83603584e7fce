"""Score responses: summed log-probabilities of given tokens under a policy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from dast_jax.data.packing import Batch, PackedRows, pack
from dast_jax.data.pair_packing import PackedPairs
from dast_jax.models.llama import Graph, Params
from dast_jax.records import SFTExample
from dast_jax.training.losses import token_logprobs
from dast_jax.training.options import TrainingOptions
from dast_jax.training.step import put_batch

__all__ = ["Scores", "make_score_step", "response_sums", "score", "score_pairs", "segment_sums"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of n examples: `logprob` in nats, summed over response tokens, and their number `length`.

    `logprob` is NaN for an example that is longer than a row. `tokens` counts the input tokens run,
    `padded_tokens` the same with padding.
    """

    logprob: Float[np.ndarray, " n"]
    length: Int[np.ndarray, " n"]
    tokens: int
    padded_tokens: int


def score(
    graphdef: Graph,
    params: Params,
    examples: Sequence[SFTExample],
    *,
    options: TrainingOptions,
    pad_id: int,
    mesh: Mesh | None = None,
) -> Scores:
    """Return the scores of `examples` under `params`, each alone in its segment of a packed row.

    All batches have one shape, `options.micro_batch_size` (else `batch_size`) rows of `sequence_length`,
    so the program compiles once. Log-probabilities are those of the untempered policy.
    """
    rows = pack(examples, options.sequence_length, pad_id=pad_id)
    logprob = np.full(len(examples), np.nan, np.float32)
    for members, sums in _sums(graphdef, params, rows, options, mesh):
        logprob[list(members)] = sums[1 : len(members) + 1]
    return Scores(
        logprob=logprob,
        length=np.array([len(e.response) for e in examples], np.int32),
        tokens=rows.tokens,
        padded_tokens=_padded(rows, options),
    )


def score_pairs(
    graphdef: Graph,
    params: Params,
    rows: PackedPairs,
    *,
    options: TrainingOptions,
    mesh: Mesh | None = None,
) -> Scores:
    """Return the scores of the 2n responses of the n pairs of `rows`, chosen and rejected in turn.

    Both are NaN for a pair that is in no row. One forward pass, in batches as `score` makes them.
    """
    pairs = rows.pairs
    logprob = np.full((len(pairs), 2), np.nan, np.float32)
    for members, sums in _sums(graphdef, params, rows, options, mesh):
        logprob[list(members)] = sums[1:].reshape(-1, 3)[: len(members), 1:]
    return Scores(
        logprob=logprob.reshape(-1),
        length=np.array([len(r) for p in pairs for r in (p.chosen, p.rejected)], np.int32),
        tokens=rows.tokens,
        padded_tokens=_padded(rows, options),
    )


def _size(options: TrainingOptions) -> int:
    """Return the number of rows in a batch."""
    return options.micro_batch_size or options.batch_size


def _padded(rows: PackedRows | PackedPairs, options: TrainingOptions) -> int:
    """Return the number of positions of all batches, padding included."""
    size = _size(options)
    return -(-len(rows) // size) * size * options.sequence_length


def _sums(
    graphdef: Graph,
    params: Params,
    rows: PackedRows | PackedPairs,
    options: TrainingOptions,
    mesh: Mesh | None,
) -> Iterator[tuple[tuple[int, ...], Float[np.ndarray, " segments"]]]:
    """Yield each row's members, and the summed log-probabilities of its segments by their numbers."""
    size = _size(options)
    with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
        step = make_score_step(graphdef, options.head_chunk, mesh)
        for start in range(0, len(rows), size):
            members = rows.members[start : start + size]
            batch = [rows[start + i] for i in range(len(members))]
            sums = np.asarray(step(params, put_batch(_stack(batch, rows.padding(), size), options, mesh)))
            yield from zip(members, sums, strict=False)  # the last rows may be padding


@lru_cache(maxsize=8)
def make_score_step(graphdef: Graph, head_chunk: int, mesh: Mesh | None) -> Any:
    """Return the jitted (params, batch [1, B, T]) → float32 [B, segments], see `segment_sums`; cached.

    Segments are numbered up to T in rows of examples, and up to 3 · (T // 2) in those of pairs. The result is
    replicated over devices, and so on every process.
    """

    def step(params: Params, batch: Mapping[str, Array]) -> Float[Array, "B S"]:
        model = nnx.merge(graphdef, params)
        micro = {name: value[0] for name, value in batch.items()}
        segments, parents, weights = micro["segment_ids"], micro.get("parents"), micro["weights"]
        hidden = model(micro["tokens"], micro["positions"], segments, parents)
        scores = token_logprobs(hidden, model.unembed(), micro["targets"], head_chunk, weights)
        length = segments.shape[1]
        most = length if parents is None else 3 * (length // 2)
        return segment_sums(scores.logprob * weights, segments, most + 1)

    return jax.jit(step, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec()))


def response_sums(
    values: Float[Array, "B T"], segment_ids: Int[Array, "B T"], pairs: int
) -> Float[Array, "B {pairs} 2"]:
    """Return the sums of `values` over the chosen and the rejected response of each pair of a row."""
    sums = segment_sums(values, segment_ids, 3 * pairs + 1)[:, 1:]
    return sums.reshape(len(values), pairs, 3)[..., 1:]


def segment_sums(
    values: Float[Array, "B T"], segment_ids: Int[Array, "B T"], count: int
) -> Float[Array, "B {count}"]:
    """Return the sums of `values` by segment, of which column s belongs to segment s."""
    return jax.vmap(lambda v, s: jax.ops.segment_sum(v, s, num_segments=count))(values, segment_ids)


def _stack(batch: list[Batch], padding: Batch, size: int) -> Batch:
    """Return the rows as one batch of `size`, filled up with `padding`."""
    batch = batch + [padding] * (size - len(batch))
    return {name: np.stack([row[name] for row in batch]) for name in padding}
