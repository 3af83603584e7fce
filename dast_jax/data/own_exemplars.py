"""Exemplars from a file of the user's, `prompts.exemplars`, and the ones that a prompt shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from dast_jax.data.hints import hinted
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.data.table import rows_have
from dast_jax.errors import UserError
from dast_jax.records import Exemplar, Query
from dast_jax.verifiers.functions import Functions

__all__ = ["read_exemplars", "shown"]


def read_exemplars(source: str, functions: Functions = MappingProxyType({})) -> tuple[Query, ...]:
    """Return the solved problems of `source`, in its order; none for an empty name.

    Raises `UserError` as `load_queries` does, naming `prompts.exemplars`, and for rows without a solution.
    """
    if not source:
        return ()
    try:
        queries = load_queries(source, options=DataOptions(train=source), functions=functions)
    except UserError as error:
        raise UserError(f"prompts.exemplars: {error}") from error
    lacking = [number for number, query in enumerate(queries, 1) if not query.solution]
    if lacking:
        raise UserError(f"prompts.exemplars: {source}: {rows_have(lacking)} no solution to show; add it")
    return queries


def shown(
    solved: Sequence[Query], count: int, question: str, *, with_hint: bool = False
) -> tuple[Exemplar, ...]:
    """Return the first `count` of the `solved` problems but the one that asks `question` itself.

    There are fewer where there are no more. `with_hint` puts each one's answer after its question.
    """
    others = (query for query in solved if query.question != question and query.solution)
    return tuple(
        Exemplar(question=hinted(query) if with_hint else query.question, response=query.solution or "")
        for query, _ in zip(others, range(count), strict=False)
    )
