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
8·⌊40·1.2^(t−1)⌋ [paper, code]; a round also ends when the heap is exhausted [code]. K = 2: one plain try,
then on failure a rationalization or a second plain try; w = 1 when the first solves it, 0.5 when the second
does, else 0, a rationalized success counts, and nothing is drawn after a success [code]. α is the training
accuracy [paper], [ours] the share of response tokens predicted correctly, averaged over the round's steps; or
the share of tried items that were solved, and then the number popped is round(m·α²) [code]. [ours] Ties are
broken by a seeded permutation of the items, where the code takes them by id; solved means usable: a
truncated response does not count.

Trials run concurrently here, and a round's items are popped as the next one begins; yet the result is that
of the sequential loop: m is the shortest prefix of the heap's order whose successes reach β^t, and what was
sampled of later items is dropped.

With all queries solved m = β^t and the rounds walk through the pool; with none solved the whole heap is
tried, there is nothing to train on, α = 0, nothing is popped, and the next round tries the same items
again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dast_jax.methods.base import Method, MethodOptions, RoundStart, exemplars_option, warm_up_option
from dast_jax.methods.star_family import first_success, rationalize_option, rationalized
from dast_jax.methods.training_sets import reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import Pool, PromptKind, Requests, Responses, Tally, TrainingSet

__all__ = ["AdaStar", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: adastar`."""

    alpha: str = opt(
        "train_accuracy",
        "what α is: train_accuracy, popping floor(m·α²) (the paper), or solved_share, popping round(m·α²) "
        "(the authors' code)",
        choices=("train_accuracy", "solved_share"),
    )
    batch: int = opt(8, "examples per training step in β^t = batch · floor(steps · growth^(t−1))", min=1)
    steps: int = opt(40, "training steps of the first round in β^t; lower it for a small pool", min=1)
    growth: float = opt(1.2, "growth of the training steps from round to round in β^t", min=1)
    trials: int = opt(2, "K, the maximum tries of an item in a round", min=1)
    rationalize: str = rationalize_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


class AdaStar(Method):
    """Run the algorithm box above."""

    state = ("last", "win", "tried", "tried_win")
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        n = len(pool)
        self._hinted = rationalized(pool, options.rationalize)
        self._tie = np.random.default_rng([seed, 2]).permutation(n)
        self.last = np.zeros(n, np.int32)  # t̃
        self.win = np.zeros(n)  # w
        self.tried = np.zeros(0, np.int64)  # the m items of the last round
        self.tried_win = np.zeros(0)  # their w_tmp

    def t(self, round: int) -> int:
        """Return the paper's number of a round of the run: 1 for the first of the method's own."""
        return round if self.options.warm_up else round + 1

    def beta(self, t: int) -> int:
        """Return β^t, the size of D+ at which round t = 1, 2, … ends."""
        return self.options.batch * math.floor(self.options.steps * self.options.growth ** (t - 1))

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
        tries = tally.requested[items]
        solved = tally.usable[items] > 0
        waiting = tally.finished[items] < tries
        settled = solved | (~waiting & (tries >= self.options.trials))
        lacking = self._beta - int(solved.sum())
        again = ~settled & ~waiting
        if lacking <= 0:  # items behind the one that completes D+ need no more tries
            again &= np.cumsum(solved) < self._beta
        begin = self._items_to_begin(lacking, int(solved.sum()), int(settled.sum()))
        fresh = self._order[self._begun : self._begun + begin]
        self._begun += len(fresh)
        query = np.concatenate([items[again], fresh])
        trial = tally.requested[query]
        last = (trial == self.options.trials - 1) & (trial > 0)
        kind = np.where(last & self._hinted[query], PromptKind.RATIONALIZED, self.plain)
        return Requests(query.astype(np.int32), trial.astype(np.int32), kind.astype(np.int8))

    def _items_to_begin(self, lacking: int, solved: int, settled: int) -> int:
        """[ours] Return how many new items to begin, by the yield so far; this changes waste, not results."""
        if lacking <= 0:
            return 0
        wanted = min(math.ceil(lacking * (settled + 1) / (solved + 1)), max(lacking, settled))
        return max(wanted - (self._begun - settled), 0)

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet:
        """Return D+: the first success of each of the first m items in the heap's order."""
        if self.warming_up:
            return reference_set(self.pool)
        row, trial = first_success(responses, len(self.pool))
        reached = np.cumsum(row[self._order] >= 0)
        m = min(int(np.searchsorted(reached, self._beta)) + 1, len(self._order))
        self.tried = self._order[:m]
        trial, row = trial[self.tried], row[self.tried]
        self.tried_win = np.where(row >= 0, 1.0 / (trial + 1 + (trial < 0)), 0.0)
        solved = row >= 0
        self.facts = {
            **self.facts,
            "beta": self._beta,
            "tried": m,
            "solved": int(solved.sum()),
            "solved_at_first_try": int((trial == 0).sum()),
            "heap_exhausted": bool(solved.sum() < self._beta),
        }
        return text_set(responses, row[solved][np.argsort(self.tried[solved])])
