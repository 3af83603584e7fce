"""AdaSTaR: adaptive sampling in training self-taught reasoners, arXiv 2505.16322.

    t̃_i = 0, w_i = 0 for all i; heap ordered by (t̃_i, w_i), smaller first
    for t = 1, 2, …
        D+ = ∅; m = 0
        while |D+| < β^t:
            i = next of heap (without popping); m += 1
            for k = 1..K: sample; w_tmp_i = running mean of correctness; if correct: add to D+
        α, π_{t+1} = train(π_t, D+)
        pop ⌊m·α²⌋ from the heap: t̃_i = t, w_i = w_tmp_i, push back

The key t̃ holds the last round in which an item was popped, that is sampled and let go; items that are not
popped keep their old key and come back next round: that is the curriculum [paper]. β^t (t an index) =
8·⌊40·1.2^(t−1)⌋ [paper, code]; a round also ends when the heap is exhausted [code]. K = 2: one plain try,
then on failure a rationalization or a second plain try; w = 1 when the first solves it, 0.5 when the second
does, else 0, a rationalized success counts, and nothing is drawn after a success [code]. α is the training
accuracy [paper], [ours] the share of response tokens predicted right, averaged over the round's steps; or
the share of tried items that were solved, and then the number popped is round(m·α²) [code]. [ours] Ties are
broken by a seeded permutation of the items, where the code takes them by id; solved means usable: a
truncated response does not count.

Trials run concurrently here, yet the result is that of the sequential loop: m is the shortest prefix of the
heap's order whose successes reach β^t, and what was sampled of later items is dropped.

With all queries solved m = β^t and the rounds walk through the pool; with none solved the whole heap is
tried, there is nothing to train on, α = 0, nothing is popped, and the next round tries the same items
again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.methods.common import MethodBase, exemplars_option, warm_up_option
from dast_jax.methods.star_family import first_success, rationalize_option, rationalized
from dast_jax.methods.training_sets import reference_set, text_set
from dast_jax.options import opt
from dast_jax.records import Pool, PromptKind, Requests, Responses, Tally, TrainingSet

__all__ = ["AdaStar", "Options", "make"]


@dataclass(frozen=True, kw_only=True)
class Options:
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
    trials: int = opt(2, "K, most tries of an item in a round", min=1)
    rationalize: str = rationalize_option()
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(False)


def make(pool: Pool, options: Options, seed: int, tools: object = None) -> AdaStar:
    """The method bound to its pool."""
    return AdaStar(pool, options, seed)


class AdaStar(MethodBase):
    """See the module's docstring for the algorithm."""

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        n = len(pool)
        self._hinted = rationalized(pool, options.rationalize)
        self._tie = np.random.default_rng([seed, 2]).permutation(n)
        self._last = np.zeros(n, np.int32)  # t̃
        self._win = np.zeros(n)  # w
        self._t = 0
        self._order = np.zeros(0, np.int64)
        self._begun = 0  # how far along the order trials were asked for
        self._tried = np.zeros(0, np.int64)  # the m items of a round that waits for its training
        self._tried_win = np.zeros(0)  # their w_tmp
        self._facts: dict[str, Any] = {}

    def beta(self, t: int) -> int:
        """β^t, the size of D+ at which round t = 1, 2, … ends."""
        return self._options.batch * math.floor(self._options.steps * self._options.growth ** (t - 1))

    def heap_order(self) -> np.ndarray:
        """The items as a heap of (t̃, w) gives them, ties by the seeded permutation: int64 [n]."""
        return np.lexsort((self._tie, self._win, self._last))

    # --- whom to sample next ---

    def start_round(self, round: int, earlier: Responses) -> Responses:
        self._t = round if self._options.warm_up else round + 1
        self._order, self._begun = self.heap_order(), 0
        return super().start_round(round, earlier)

    def requests(self, tally: Tally) -> Requests:
        """Next tries of the items begun, then as many new items as β^t is likely to need."""
        if self._warming_up:
            return Requests.none()
        items = self._order[: self._begun]
        tries = tally.requested[items]
        solved = tally.usable[items] > 0
        waiting = tally.finished[items] < tries
        settled = solved | (~waiting & (tries >= self._options.trials))
        lacking = self.beta(self._t) - int(solved.sum())
        again = ~settled & ~waiting
        if lacking <= 0:  # items behind the one that completes D+ need no more tries
            again &= np.cumsum(solved) < self.beta(self._t)
        begin = self._items_to_begin(lacking, int(solved.sum()), int(settled.sum()))
        fresh = self._order[self._begun : self._begun + begin]
        self._begun += len(fresh)
        query = np.concatenate([items[again], fresh])
        trial = tally.requested[query]
        last = (trial == self._options.trials - 1) & (trial > 0)
        kind = np.where(last & self._hinted[query], PromptKind.RATIONALIZED, self._plain)
        return Requests(query.astype(np.int32), trial.astype(np.int32), kind.astype(np.int8))

    def _items_to_begin(self, lacking: int, solved: int, settled: int) -> int:
        """[ours] How many new items to begin, by the yield so far; it changes the waste, not the result."""
        if lacking <= 0:
            return 0
        wanted = min(math.ceil(lacking * (settled + 1) / (solved + 1)), max(lacking, settled))
        return max(wanted - (self._begun - settled), 0)

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet:
        """D+: the first success of each of the first m items in the heap's order."""
        if self._warming_up:
            return reference_set(self._pool)
        row, trial = first_success(responses, len(self._pool))
        beta = self.beta(self._t)
        reached = np.cumsum(row[self._order] >= 0)
        m = min(int(np.searchsorted(reached, beta)) + 1, len(self._order))
        self._tried = self._order[:m]
        trial, row = trial[self._tried], row[self._tried]
        self._tried_win = np.where(row >= 0, 1.0 / (trial + 1 + (trial < 0)), 0.0)
        solved = row >= 0
        self._facts = {
            "beta": beta,
            "tried": m,
            "solved": int(solved.sum()),
            "solved_at_first_try": int((trial == 0).sum()),
            "heap_exhausted": bool(solved.sum() < beta),
        }
        return text_set(responses, row[solved][np.argsort(self._tried[solved])])

    # --- what to remember ---

    def after_training(self, accuracy: float) -> None:
        """Pop the first ⌊m·α²⌋ items: their keys become this round and their wins; the others keep theirs."""
        m = len(self._tried)
        if self._options.alpha == "train_accuracy":
            alpha = accuracy
            popped = math.floor(m * alpha**2)
        else:
            alpha = float((self._tried_win > 0).mean()) if m else 0.0
            popped = round(m * alpha**2)
        self._last[self._tried[:popped]] = self._t
        self._win[self._tried[:popped]] = self._tried_win[:popped]
        self._tried, self._tried_win = self._tried[:0], self._tried_win[:0]
        if m:
            self._facts = {**self._facts, "alpha": alpha, "popped": popped}

    def state(self) -> Mapping[str, np.ndarray]:
        """The heap's keys, `last` int32 [n] and `win` float64 [n]; `tried` int64 [m] and `tried_win`
        float64 [m] of the round that waits for its training, and its number `t`."""
        return {
            "last": self._last.copy(),
            "win": self._win.copy(),
            "tried": self._tried.copy(),
            "tried_win": self._tried_win.copy(),
            "t": np.array(self._t, np.int32),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._last = np.array(state["last"], np.int32)
        self._win = np.array(state["win"], np.float64)
        self._tried = np.array(state["tried"], np.int64)
        self._tried_win = np.array(state["tried_win"], np.float64)
        self._t = int(state["t"])

    def facts(self) -> Mapping[str, Any]:
        return self._facts
