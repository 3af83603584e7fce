"""Solved problems to show in few-shot prompts: random reference solutions, or matched by level and length.

A draw depends on (seed, round, query) and on what is in the bank, and on nothing else: not on the
order of the draws, nor on how often a query is drawn for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from dast_jax.data import hints
from dast_jax.estimators.distinct import usable
from dast_jax.estimators.levels import EASY, HARD, UNSOLVED
from dast_jax.records import LEVELS, Exemplar, Pool, Responses

__all__ = ["ExemplarBank"]


class ExemplarBank:
    """Solved problems of a pool, grouped, each group in order of text length."""

    def __init__(
        self,
        pool: Pool,
        *,
        owner: np.ndarray,
        text: np.ndarray,
        group: np.ndarray,
        n_groups: int,
        seed: int,
        round: int,
    ):
        """`owner` int [m] and `text` object [m] are the solved problems; `group` int [n] of every query."""
        self._pool, self._owner, self._text, self._group = pool, owner, text, group
        self._seed, self._round = seed, round
        length = np.fromiter(map(len, text), np.int64, len(text))
        row_group = group[owner]
        order = np.lexsort((length, row_group))  # stable: equal lengths stay in the given order
        edges = np.searchsorted(row_group[order], np.arange(n_groups + 1))
        self._rows = [order[a:b] for a, b in pairwise(edges)]

    @classmethod
    def of_references(cls, pool: Pool, *, seed: int, round: int) -> ExemplarBank:
        """Put all reference solutions into one group, for exemplars drawn at random."""
        owner, text = _references(pool)
        group = np.zeros(len(pool), np.int8)
        return cls(pool, owner=owner, text=text, group=group, n_groups=1, seed=seed, round=round)

    @classmethod
    def by_level(
        cls, pool: Pool, levels: np.ndarray, responses: Responses, *, seed: int, round: int
    ) -> ExemplarBank:
        """Make a bank of reference solutions and usable `responses` by their query's level."""
        owner, text = _references(pool)
        rows = np.flatnonzero(usable(responses))
        # In the order of (query, round, trial), so that the bank does not depend on the order of arrival.
        rows = rows[np.lexsort((responses.trial[rows], responses.round[rows], responses.query[rows]))]
        return cls(
            pool,
            owner=np.concatenate([owner, responses.query[rows]]),
            text=np.concatenate([text, responses.text[rows]]),
            group=levels,
            n_groups=len(LEVELS),
            seed=seed,
            round=round,
        )

    def draw(self, query: int, count: int, *, hinted: bool = False) -> tuple[Exemplar, ...]:
        """Draw `count` exemplars for `query`, of different problems and never the query's own.

        There are fewer if the whole bank has no more. `hinted` puts each one's answer after its question.

        [ours] From the longer half of the query's level when it is hard or unsolved, the shorter half when
        it is easy, else from all of it; when the half has too few, from the rest of the level; when the
        level has too few, from the nearest levels (the harder of two equally near).
        """
        rng = np.random.default_rng([self._seed, self._round, query])
        chosen: list[Exemplar] = []
        used = {self._pool.queries[query].question}
        for rows in self._preferred(int(self._group[query])):
            for row in _shuffled(rng, rows, 4 * count + 8):
                if len(chosen) == count:
                    return tuple(chosen)
                owner = self._pool.queries[self._owner[row]]
                if owner.question not in used:
                    used.add(owner.question)
                    question = hints.hinted(owner) if hinted else owner.question
                    chosen.append(Exemplar(question, self._text[row]))
        return tuple(chosen)

    def notes(self, count: int) -> dict[str, int]:
        """Return `exemplar_fallbacks`, the queries whose level holds fewer than `count` other problems."""
        owns = np.zeros(len(self._pool), bool)
        owns[self._owner] = True
        problems = np.bincount(self._group[owns], minlength=len(self._rows))
        short = int((problems[self._group] - owns < count).sum())
        return {"exemplar_fallbacks": short} if short else {}

    def _preferred(self, group: int) -> Iterator[np.ndarray]:
        """Yield rows to draw from, most fitting first; later ones may contain earlier ones."""
        nearest = sorted(range(len(self._rows)), key=lambda g: (abs(g - group), -g))
        for g in nearest:
            rows = self._rows[g]
            if len(self._rows) > 1 and group in (HARD, UNSOLVED):
                yield rows[len(rows) // 2 :]
            elif len(self._rows) > 1 and group == EASY:
                yield rows[: (len(rows) + 1) // 2]
            yield rows


def _references(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Return query index int32 [m] and solution object [m] of the queries that have one."""
    owner = [i for i, query in enumerate(pool.queries) if query.solution]
    text = np.array([pool.queries[i].solution for i in owner], dtype=object)
    return np.array(owner, np.int32), text


def _shuffled(rng: np.random.Generator, rows: np.ndarray, few: int) -> Iterator[int]:
    """Yield `rows` in random order; a few first, as all of a large bank are hardly ever needed."""
    few = min(few, len(rows))
    yield from rows[rng.choice(len(rows), few, replace=False)] if few else ()
    if few < len(rows):
        yield from rows[rng.permutation(len(rows))]
