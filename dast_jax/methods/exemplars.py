"""Solved problems to show in few-shot prompts: random reference solutions, or matched by level and length.

Difficulty is estimated behind the same exemplars for every query: what a query happens to be shown would
otherwise explain as much of its pass rate as its own difficulty does. Samples to train on are drawn
behind different ones, anew for each query and, [ours], for each block of `BLOCK` trials, as the sampler
computes a prompt once for all trials that share it. A draw depends on (seed, round, query, block) and on what
is in the bank, and on nothing else: not on the order of the draws, nor on how often a query is drawn for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from dast_jax.data import hints
from dast_jax.estimators.distinct import usable
from dast_jax.estimators.levels import EASY, HARD, UNSOLVED
from dast_jax.records import LEVELS, Exemplar, Pool, PromptKind, Responses

__all__ = ["BLOCK", "ExemplarBank", "block_of"]

BLOCK = 8
"""Trials of a query, in a row, that are shown the same exemplars."""


def block_of(kind: int, trial: int) -> int:
    """Return which block of its query a trial is in: 0 for all where the prompt does not depend on it."""
    return trial // BLOCK if kind in (PromptKind.FEW_SHOT, PromptKind.MATCHED) else 0


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
        self._fixed: dict[int, list[int]] = {}  # by number of exemplars: rows, one more than are shown
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

    def fixed(self, query: int, count: int, *, hinted: bool = False) -> tuple[Exemplar, ...]:
        """Return the same `count` exemplars for every query and round, of different problems.

        A query that is among them is shown another one in its place. There are fewer if the whole bank has
        no more. `hinted` puts each one's answer after its question. [ours] They are drawn by the seed.
        """
        if count not in self._fixed:
            rows = np.concatenate(self._rows)
            shuffled = rows[np.random.default_rng([self._seed, 8]).permutation(len(rows))]
            first: dict[str, int] = {}
            for row in shuffled:
                if len(first) > count:
                    break
                first.setdefault(self._pool.queries[self._owner[row]].question, int(row))
            self._fixed[count] = list(first.values())
        own = self._pool.queries[query].question
        others = [row for row in self._fixed[count] if self._pool.queries[self._owner[row]].question != own]
        return tuple(self._exemplar(row, hinted) for row in others[:count])

    def draw(self, query: int, count: int, *, block: int = 0) -> tuple[Exemplar, ...]:
        """Draw `count` exemplars for a block of `query`, of different problems and never the query's own.

        There are fewer if the whole bank has no more.

        [ours] From the longer half of the query's level when it is hard or unsolved, the shorter half when
        it is easy, else from all of it; when the half has too few, from the rest of the level; when the
        level has too few, from the nearest levels (the harder of two equally near).
        """
        rng = np.random.default_rng([self._seed, self._round, query, block])
        chosen: list[Exemplar] = []
        used = {self._pool.queries[query].question}
        for rows in self._preferred(int(self._group[query])):
            for row in _shuffled(rng, rows, 4 * count + 8):
                if len(chosen) == count:
                    return tuple(chosen)
                owner = self._pool.queries[self._owner[row]]
                if owner.question not in used:
                    used.add(owner.question)
                    chosen.append(self._exemplar(row))
        return tuple(chosen)

    def _exemplar(self, row: int, hinted: bool = False) -> Exemplar:
        owner = self._pool.queries[self._owner[row]]
        return Exemplar(hints.hinted(owner) if hinted else owner.question, self._text[row])

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
