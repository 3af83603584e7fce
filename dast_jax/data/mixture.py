"""Training queries from several sources, as many of each as their weights say."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError
from dast_jax.records import Query
from dast_jax.verifiers.functions import Functions

__all__ = ["load_training", "taken"]

log = logging.getLogger(__name__)


def load_training(options: DataOptions, functions: Functions = MappingProxyType({})) -> tuple[Query, ...]:
    """Return the queries of `data.train`, and of the sources of `data.mixture` after them.

    Of a mixture each source gives its share of `data.limit`, or where that is 0 of the largest total for
    which no source runs out: its first queries, or drawn by `data.subset_seed`. A log line says how many
    of each are taken. Raises `UserError` as `load_queries` does, and for a source that is named twice.
    """
    if not options.mixture:
        return load_queries(options.train, options=options, functions=functions)
    if options.train in options.mixture:
        raise UserError(
            f"data.mixture: {options.train} is data.train, whose weight is 1; give the other "
            "sources' weights relative to it"
        )
    first = dataclasses.replace(options, limit=0, mixture={})
    found = {options.train: load_queries(options.train, options=first, functions=functions)}
    for source in options.mixture:
        found[source] = load_queries(source, options=options.for_mixture(), functions=functions)
    sizes = {source: len(queries) for source, queries in found.items()}
    counts = taken(sizes, {options.train: 1.0, **options.mixture}, options.limit)
    for source, count in counts.items():
        log.info("%s: %d of %d queries taken, by data.mixture", source, count, sizes[source])
    if 0 in counts.values():
        empty = next(source for source, count in counts.items() if not count)
        raise UserError(f"data.mixture: no query of {empty} is taken; raise its weight or data.limit")
    chosen = [
        _choose(queries, counts[source], options.subset_seed, number)
        for number, (source, queries) in enumerate(found.items())
    ]
    return _with_own_ids(chosen, list(found))


def taken(sizes: Mapping[str, int], weights: Mapping[str, float], limit: int) -> dict[str, int]:
    """Return how many queries each source gives, in proportion to `weights` and at most its size.

    The total is `limit`, less where a source would run out before; 0 is no limit.
    """
    whole = sum(weights.values())
    total = min(sizes[source] / (weight / whole) for source, weight in weights.items())
    total = int(min(total, limit) if limit else total)
    exact = {source: total * weight / whole for source, weight in weights.items()}
    counts = {source: min(int(share), sizes[source]) for source, share in exact.items()}
    by_rest = sorted(exact, key=lambda source: int(exact[source]) - exact[source])  # largest remainder first
    for source in by_rest[: total - sum(counts.values())]:
        counts[source] = min(counts[source] + 1, sizes[source])
    return counts


def _choose(queries: Sequence[Query], count: int, seed: int | None, number: int) -> list[Query]:
    """Return the first `count` queries, or `count` drawn by the seed and the source's number, in order."""
    if seed is None:
        return list(queries[:count])
    chosen = np.sort(np.random.default_rng([seed, number]).permutation(len(queries))[:count])
    return [queries[i] for i in chosen]


def _with_own_ids(chosen: Sequence[Sequence[Query]], sources: Sequence[str]) -> tuple[Query, ...]:
    """Return all queries; a source that repeats ids of those before it has its number before its ids."""
    known: set[str] = set()
    result: list[Query] = []
    for number, (queries, source) in enumerate(zip(chosen, sources, strict=True), 1):
        kept = list(queries)
        if known & {query.id for query in kept}:
            log.warning("%s: repeats ids of another source; its ids begin with %d: here", source, number)
            kept = [dataclasses.replace(query, id=f"{number}:{query.id}") for query in kept]
        known |= {query.id for query in kept}
        result += kept
    return tuple(result)
