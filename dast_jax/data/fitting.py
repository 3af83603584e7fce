"""Queries whose prompt fits the model's longest prompt bucket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from dast_jax.errors import UserError
from dast_jax.records import Query

__all__ = ["fitting_queries"]

log = logging.getLogger(__name__)


def fitting_queries(
    queries: Sequence[Query], fits: Callable[[str], bool], source: str
) -> tuple[tuple[Query, ...], tuple[str, ...]]:
    """Return the queries whose zero-shot prompt fits, and the ids of the others, which a warning names.

    Raises `UserError` when none fits.
    """
    kept = tuple(query for query in queries if fits(query.question))
    if len(kept) == len(queries):
        return kept, ()
    kept_ids = {query.id for query in kept}
    skipped = tuple(query.id for query in queries if query.id not in kept_ids)
    names = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
    if not kept:
        raise UserError(
            f"{source}: no prompt fits the largest of sampling.prompt_buckets; raise it, or use other data"
        )
    many = "query" if len(skipped) == 1 else "queries"
    log.warning("%s: %d %s skipped, as the prompt is too long: %s", source, len(skipped), many, names)
    return kept, skipped
