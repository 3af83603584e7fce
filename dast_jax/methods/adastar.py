"""AdaSTaR: adaptive sampling in training self-taught reasoners, arXiv 2505.16322.

    t̃_i = 0, w_i = 0 for all i; heap ordered by (t̃_i, w_i), smaller first
    for t = 1, 2, …
        D+ = ∅; m = 0
        while |D+| < β^t:
            i = next of heap (without popping); m += 1
            for k = 1..K: sample; w_tmp_i = running mean of correctness; if correct: add to D+
        α, π_{t+1} = train(π_t, D+)
        pop ⌊m·α²⌋ from the heap: t̃_i = t, w_i = w_tmp_i, push back

The key t̃ is the last round in which an item was popped, that is sampled and let go; items that are not
popped keep their old key and come back next round: that is the curriculum [paper]. β^t (t an index) =
8·⌊40·1.2^(t−1)⌋ [paper, code]; a round also ends when the heap is exhausted [code]; D+ is cut to β^t, or
filled by repeats where there are fewer successes [paper, code]. K = 2: one plain try, then a rationalization
or a second plain try [code]. `collect: first` stops at an item's first success, so w is 1, 1/2 or 0 [code];
`all` takes K samples of each and adds every correct one, as the box says [paper], the last of them
rationalized only if none before was correct.

α is the training accuracy [paper], which is not defined further. By default it is the share of tried items
that were solved, and round(m·α²) are popped [code]: that is where the published numbers come from. [ours]
`train_accuracy` is the share of response tokens predicted correctly, averaged over the round's steps, and
⌊m·α²⌋ are popped; that share is high even for weak models, so nearly all are, and the curriculum is off.
[ours] Ties are broken by a seeded permutation of the items, where the code takes them by id; solved means
usable: a truncated response does not count.

Trials run concurrently here, and a round's items are popped as the next one begins; yet the result is that
of the sequential loop: m is the shortest prefix of the heap's order whose successes reach β^t, and what was
sampled of later items is dropped.

With all queries solved m = β^t (`first`) and the rounds walk through the pool; with none solved the whole
heap is tried, there is nothing to train on, α = 0, nothing is popped, and the next round tries the same
items again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dast_jax.methods.base import RoundStart
from dast_jax.methods.star_family import ScheduleOptions, Tries
from dast_jax.methods.training_sets import first_rows, reference_set, text_set, usable_rows
from dast_jax.options import opt
from dast_jax.records import Pool, Requests, Responses, Tally, TrainingSet

__all__ = ["AdaStar", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(ScheduleOptions):
    """Options of `method.name: adastar`."""

    alpha: str = opt(
        "solved_share",
        "what α is: solved_share of the tried items, popping round(m·α²) (the authors' code), or "
        "train_accuracy of the response tokens, popping floor(m·α²)",
        choices=("solved_share", "train_accuracy"),
    )
    collect: str = opt(
        "first",
        "which successes of an item are trained on: the first, after which it is not sampled again (the "
        "authors' code), or all of its K samples (the paper)",
        choices=("first", "all"),
    )


class AdaStar(Tries):
    """Run the algorithm box above."""

    state = ("last", "win", "tried", "tried_win")
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        n = len(pool)
        self._tie = np.random.default_rng([seed, 2]).permutation(n)
        self.last = np.zeros(n, np.int32)  # t̃
        self.win = np.zeros(n)  # w
        self.tried = np.zeros(0, np.int64)  # the m items of the last round
        self.tried_win = np.zeros(0)  # their w_tmp

    def heap_order(self) -> np.ndarray:
        """Return the items as a heap of (t̃, w) gives them, ties by the seeded permutation: int64 [n]."""
        return np.lexsort((self._tie, self.win, self.last))

    # --- which queries to sample next ---

    def begin(self, round: RoundStart) -> Responses:
        """Pop the items of the last round by its α, then order the heap for this one."""
        super().begin(round)
        self._pop(round.accuracy or 0.0)
        self._beta = self.beta(self.t(round.number))
        self._order = self.heap_order()
        self._begun = 0  # how far along the order trials were requested
        return Responses.none()

    def _pop(self, accuracy: float) -> None:
        """Pop the first items tried: their keys become the last round and their wins; others keep theirs."""
        m = len(self.tried)
        if self.options.alpha == "train_accuracy":
            alpha = accuracy
            popped = math.floor(m * alpha**2)
        else:
            alpha = float((self.tried_win > 0).mean()) if m else 0.0
            popped = round(m * alpha**2)
        self.last, self.win = self.last.copy(), self.win.copy()
        self.last[self.tried[:popped]] = self.t(self.round - 1)
        self.win[self.tried[:popped]] = self.tried_win[:popped]
        self.tried, self.tried_win = self.tried[:0], self.tried_win[:0]
        if m:
            self.facts = {"alpha": alpha, "popped": popped}

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the next tries of the items begun, then as many new items as β^t is likely to need."""
        if self.warming_up:
            return Requests.none()
        items = self._order[: self._begun]
        tries, gained = tally.requested[items], tally.usable[items]
        waiting = tally.finished[items] < tries
        settled = ~waiting & (tries >= self.options.trials)
        if self.options.collect == "first":
            settled |= gained > 0
        lacking = self._beta - int(gained.sum())
        # Items behind the one that completes D+ need no more tries.
        again = ~settled & ~waiting & (np.cumsum(gained) - gained < self._beta)
        begin = self._items_to_begin(lacking, int(gained.sum()), int(settled.sum()))
        fresh = self._order[self._begun : self._begun + begin]
        self._begun += len(fresh)
        return self.tries(np.concatenate([items[again], fresh]), tally)

    def _items_to_begin(self, lacking: int, gained: int, settled: int) -> int:
        """[ours] Return how many new items to begin, by the yield so far; this changes waste, not results."""
        if lacking <= 0:
            return 0
        most = 1 if self.options.collect == "first" else self.options.trials  # that an item can give
        wanted = min(math.ceil(lacking * (settled + 1) / (gained + most)), max(-(-lacking // most), settled))
        return max(wanted - (self._begun - settled), 0)

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return D+, cut or filled to β^t: the successes of the first m items in the heap's order."""
        if self.warming_up:
            return reference_set(self.pool)
        n, first = len(self.pool), self.options.collect == "first"
        rows = usable_rows(responses)
        if first:
            rows = first_rows(responses, rows, np.ones(n, np.int64))
        gained = np.bincount(responses.query[rows], minlength=n)
        m = min(int(np.searchsorted(np.cumsum(gained[self._order]), self._beta)) + 1, n)
        self.tried = self._order[:m]
        rows = rows[np.isin(responses.query[rows], self.tried)]
        draws = np.full(n, self.options.trials)
        if first:
            draws[responses.query[rows]] = responses.trial[rows] + 1
        self.tried_win = gained[self.tried] / draws[self.tried]
        self.facts = {
            **self.facts,
            "beta": self._beta,
            "tried": m,
            "solved": int((self.tried_win > 0).sum()),
            "solved_at_first_try": int((responses.trial[rows] == 0).sum()),
            "collected": len(rows),
            "heap_exhausted": len(rows) < self._beta,
        }
        return text_set(responses, self.trained_on(rows))
