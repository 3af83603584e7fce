"""Whether the policy still follows the length of its exemplars, as DAST-L requires (arXiv 2503.09029).

[ours] Zero-shot training can erase this, so each evaluation samples the same queries twice,
after long exemplars of the hard levels and after short ones of the easy level, and compares lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dast_jax.records import LEVELS, Exemplar, Pool, SamplingStats, StageKey

if TYPE_CHECKING:
    from dast_jax.sampling.engine import Engine

__all__ = ["length_ratio"]

_EXEMPLARS = 4
_TAIL = 0.25
"""Share of a level's solutions, from the long or the short end, that exemplars are drawn from."""


def length_ratio(
    engine: Engine,
    pool: Pool,
    levels: np.ndarray | None,
    build_prompt: Callable[[str, tuple[Exemplar, ...]], tuple[int, ...]],
    *,
    queries: int,
    key: StageKey,
) -> tuple[float | None, SamplingStats]:
    """Return the mean response length (tokens) after long exemplars over that after short ones.

    Both ask the same queries with the same noise.

    `levels` int8 [n_queries] indexes `LEVELS`; while there are none, exemplars come from the whole pool.
    `queries` of the pool are asked. The ratio is None for none of them, or where the pool has too few solved
    examples to make both kinds of exemplar; the second value is what sampling cost.
    """
    from dast_jax.sampling.scheduler import StaticRequests, sample

    everything = np.ones(len(pool), bool)
    hard = everything if levels is None else levels >= LEVELS.index("hard")
    easy = everything if levels is None else levels == LEVELS.index("easy")
    long = _solutions(pool, np.flatnonzero(hard), longest=True)
    short = _solutions(pool, np.flatnonzero(easy), longest=False)
    if not queries or min(len(long), len(short)) <= _EXEMPLARS:
        return None, SamplingStats()
    rng = np.random.default_rng([key.seed, len(pool)])
    asked = np.sort(rng.choice(len(pool), min(queries, len(pool)), replace=False))
    prompts = [
        build_prompt(pool.queries[query].question, _draw(pool, candidates, int(query), key.seed))
        for candidates in (long, short)
        for query in asked
    ]
    source = StaticRequests(prompts, trials=1)
    work = sample(engine, source, key=key)
    lengths = np.array([len(row[0].tokens) for row in source.rollouts]).reshape(2, len(asked))
    return float(lengths[0].mean() / lengths[1].mean()), work


def _solutions(pool: Pool, among: np.ndarray, *, longest: bool) -> list[int]:
    """Return the queries of `among` with the longest or shortest reference solutions, by characters."""
    solved = [int(i) for i in among if pool.queries[i].solution]
    solved.sort(key=lambda i: (len(pool.queries[i].solution or ""), i), reverse=longest)
    return solved[: max(_EXEMPLARS + 1, int(len(solved) * _TAIL))]


def _draw(pool: Pool, candidates: list[int], query: int, seed: int) -> tuple[Exemplar, ...]:
    rng = np.random.default_rng([seed, query])
    others = [i for i in candidates if i != query]
    chosen = rng.choice(others, _EXEMPLARS, replace=False)
    return tuple(
        Exemplar(question=pool.queries[i].question, response=pool.queries[i].solution or "") for i in chosen
    )
