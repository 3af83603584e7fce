"""Queries whose prompt fits the model's longest prompt bucket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from dast_jax.errors import UserError
from dast_jax.records import Query

__all__ = ["fitting_queries", "named_ids"]

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
    if not kept:
        raise UserError(
            f"{source}: no prompt fits the largest of sampling.prompt_buckets; raise it, or use other data"
        )
    many = "query" if len(skipped) == 1 else "queries"
    log.warning(
        "%s: %d %s skipped, as the prompt is too long: %s", source, len(skipped), many, named_ids(skipped)
    )
    return kept, skipped


def named_ids(ids: Iterable[str]) -> str:
    """Return the first five distinct ids for a message, and how many more there are."""
    distinct = list(dict.fromkeys(ids))
    more = f" and {len(distinct) - 5:,} more" if len(distinct) > 5 else ""
    return ", ".join(distinct[:5]) + more
