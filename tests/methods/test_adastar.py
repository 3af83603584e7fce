"""AdaSTaR against an independent simulation, written from the paper's algorithm box: sequential, a heap."""

import heapq
import math
from collections import Counter

import numpy as np
import pytest
from simulated_policy import (
    CORRECT,
    LENGTH,
    SimulatedPolicy,
    begin,
    bound,
    make_pool,
    rows,
    run_rounds,
    sample_round,
)

from dast_jax.methods import adastar, restore, state_of
from dast_jax.records import PromptKind, Requests

N, ROUNDS = 2000, 20


def rising_policy(seed=0):
    """Pass rates that differ between items and rise from round to round, none 0 or 1; some trials are cut."""
    rng = np.random.default_rng(seed)
    start = rng.beta(0.8, 1.6, N)
    rates = np.stack([start + (0.97 - start) * (1 - 0.9**t) for t in range(ROUNDS + 1)])
    return SimulatedPolicy(np.clip(rates, 0.02, 0.97), seed=seed, exact=False, cut=0.05)


def training_accuracy(round):
    return 0.55 + 0.02 * round


def trial_of_all(k, kind):
    return Requests(np.arange(N, dtype=np.int32), np.full(N, k, np.int32), np.full(N, kind, np.int8))


class Paper:
    """The algorithm box of arXiv 2505.16322, item by item; `correct[try][item]` is what sampling gives.

    `share`: α is the share of tried items that were solved, and round(m·α²) are popped, as in the authors'
    code; `every`: all K samples of an item are taken and every correct one is in D+, as in the box.
    """

    def __init__(self, tie, *, batch, steps, share, every):
        self.heap = [(0, 0.0, tie[i], i) for i in range(len(tie))]
        heapq.heapify(self.heap)
        self.batch, self.steps, self.share, self.every = batch, steps, share, every

    def round(self, t, correct, accuracy):
        """One round: (items in the order tried, D+ as {(item, try)}, popped items and new keys, β^t)."""
        beta = self.batch * math.floor(self.steps * 1.2 ** (t - 1))
        walk = list(self.heap)  # "next of heap without popping"
        tried, d_plus, w_tmp = [], set(), {}
        while len(d_plus) < beta and walk:
            *_, i = heapq.heappop(walk)
            tried.append(i)
            wins = 0
            for k in (1, 2):
                if correct(k - 1, i, wins):
                    d_plus.add((i, k - 1))
                    wins += 1
                w_tmp[i] = wins / k
                if wins and not self.every:
                    break
        m = len(tried)
        alpha = sum(w > 0 for w in w_tmp.values()) / m if self.share else accuracy
        pops = round(m * alpha**2) if self.share else math.floor(m * alpha**2)
        popped = []
        for _ in range(pops):
            _, _, tie, i = heapq.heappop(self.heap)
            popped.append((t, w_tmp[i], tie, i))
        for item in popped:
            heapq.heappush(self.heap, item)
        return tried, d_plus, [(i, t, w) for t, w, _, i in popped], beta


@pytest.mark.parametrize(
    ("alpha", "collect", "hinted", "arrival_seed"),
    [
        ("solved_share", "first", "always", None),
        ("solved_share", "first", "never", 3),
        ("solved_share", "all", "always", 3),
        ("solved_share", "all", "never", None),
        ("train_accuracy", "first", "never", 3),
        ("train_accuracy", "all", "always", None),
    ],
)
def test_the_heap_trace_is_that_of_the_papers_loop(alpha, collect, hinted, arrival_seed):
    pool, policy = make_pool(N), rising_policy()
    options = adastar.Options(batch=4, steps=16, alpha=alpha, collect=collect, rationalize=hinted)
    method = bound(pool, options, seed=7)
    tie = np.random.default_rng([7, 2]).permutation(N)
    paper = Paper(tie, batch=4, steps=16, share=alpha == "solved_share", every=collect == "all")
    exhausted = []
    for round in range(ROUNDS):
        outcomes = {}  # by try and prompt, of all items: what sampling would give
        for kind in (PromptKind.FIXED, PromptKind.RATIONALIZED):
            for k in (0, 1):
                r = policy.respond(round, trial_of_all(k, kind))
                outcomes[k, kind] = (r.verdict == CORRECT) & (r.finish != LENGTH)

        def correct(k, i, wins, outcomes=outcomes):
            hint = k == 1 and hinted == "always" and not wins
            return outcomes[k, PromptKind.RATIONALIZED if hint else PromptKind.FIXED][i]

        tried, d_plus, popped, beta = paper.round(round + 1, correct, training_accuracy(round))
        _, own = sample_round(method, policy, pool, round, [], arrival_seed=arrival_seed)
        before = {name: array.copy() for name, array in state_of(method).items()}
        training_set = method.training_set(own)
        assert state_of(method)["tried"].tolist() == tried
        assert method.facts["heap_exhausted"] == (len(d_plus) < beta)
        assert method.facts["collected"] == len(d_plus)
        # D+ is cut to β^t at random, or filled by repeating all of it evenly.
        names = {f"r{round} q{i} t{k}" for i, k in d_plus}
        counts = Counter(training_set.text)
        assert len(training_set) == beta
        assert set(counts) <= names if len(names) > beta else set(counts) == names
        assert max(counts.values()) - min(counts.values()) <= 1
        begin(method, round + 1, accuracy=training_accuracy(round))
        for i, t, w in popped:
            before["last"][i], before["win"][i] = t, w
        after = state_of(method)
        assert np.array_equal(after["last"], before["last"])  # stale keys stay
        assert np.array_equal(after["win"], before["win"])
        exhausted.append(len(d_plus) < beta)
        assert method.facts["popped"] == len(popped)
        # No try is wasted on an item that was solved or had both tries.
        assert np.bincount(own.query).max() <= 2
        if arrival_seed is None:
            assert len(np.unique(own.query)) < 1.6 * len(tried) + 8
    assert exhausted == sorted(exhausted)  # only at the end
    if alpha == "train_accuracy" and collect == "first":
        assert exhausted.index(True) >= ROUNDS - 2


def test_a_round_of_both_samples_is_cut_to_beta_at_random():
    """Every sample is correct: the last item overshoots β = 5 by one, and one of the six is left out."""
    pool, left_out = make_pool(9), set()
    for seed in range(12):
        method = bound(pool, adastar.Options(batch=5, steps=1, collect="all"), seed)
        _, own = sample_round(method, SimulatedPolicy(np.ones(9)), pool, 0, [])
        training_set = method.training_set(own)
        assert len(state_of(method)["tried"]) == 3
        assert (state_of(method)["tried_win"] == 1).all()
        assert len(set(training_set.text)) == len(training_set) == 5
        order = method.heap_order()[:3].tolist()
        (missing,) = {(p, k) for p in range(3) for k in (0, 1)} - {
            (order.index(int(q)), int(text[-1]))
            for q, text in zip(training_set.query, training_set.text, strict=True)
        }
        left_out.add(missing)
    assert len(left_out) > 3


def test_a_round_with_too_few_successes_repeats_them_to_beta():
    pool = make_pool(4)
    method = bound(pool, adastar.Options(batch=7, steps=1), 0)
    rates = np.array([1.0, 0.0, 1.0, 1.0])
    _, own = sample_round(method, SimulatedPolicy(rates), pool, 0, [])
    counts = np.bincount(method.training_set(own).query, minlength=4)
    assert sorted(counts.tolist()) == [0, 2, 2, 3]
    assert counts[1] == 0
    assert method.facts["heap_exhausted"]


def test_beta_is_the_papers_sequence():
    method = bound(make_pool(5), adastar.Options(), 0)
    assert [method.beta(t) for t in range(1, 6)] == [320, 384, 456, 552, 656]


def test_tries_wins_and_pops_by_hand():
    """Five items, β = 3; the pass rates are 0 or 1, the tie-break is turned off by known keys."""
    pool = make_pool(5)
    options = adastar.Options(batch=1, steps=3, rationalize="never", alpha="train_accuracy")
    method = bound(pool, options, 0)
    state = {
        "last": np.array([2, 1, 1, 3, 0], np.int32),
        "win": np.array([0.0, 1.0, 0.5, 0.0, 0.0]),
        "tried": np.zeros(0, np.int64),
        "tried_win": np.zeros(0),
    }
    restore(method, state)
    assert method.heap_order().tolist() == [4, 2, 1, 0, 3]
    policy = SimulatedPolicy(np.array([1.0, 0.0, 1.0, 1.0, 1.0]), exact=False)
    _, own = sample_round(method, policy, pool, 0, [])
    training_set = method.training_set(own)
    assert training_set.query.tolist() == [0, 2, 4]  # 4, 2, 1 (in vain, twice), 0: three solved
    assert np.bincount(own.query, minlength=5)[[4, 2, 1, 0]].tolist() == [1, 1, 2, 1]
    begin(method, 1, accuracy=0.8)  # pops floor(4 · 0.64) = 2
    assert state_of(method)["last"].tolist() == [2, 1, 1, 3, 1]
    assert state_of(method)["win"].tolist() == [0.0, 1.0, 1.0, 0.0, 1.0]


def test_the_hint_is_the_last_try_of_the_families_that_have_one():
    for task, kinds in (("math", [4, 4]), ("choice", [4, 3]), ("yes_no", [4, 3]), ("number", [4, 4])):
        pool = make_pool(1, task=task)
        method = bound(pool, adastar.Options(batch=1, steps=1), 0)
        _, own = sample_round(method, SimulatedPolicy(np.zeros(1)), pool, 0, [])
        assert own.kind.tolist() == kinds


def test_the_hint_waits_for_the_last_of_three_tries():
    pool = make_pool(1, task="choice")
    for trials, kinds in ((1, [4]), (2, [4, 3]), (3, [4, 4, 3])):
        method = bound(pool, adastar.Options(batch=1, steps=1, trials=trials), 0)
        _, own = sample_round(method, SimulatedPolicy(np.zeros(1)), pool, 0, [])
        assert own.kind.tolist() == kinds


@pytest.mark.parametrize("warm_up", [True, False])
def test_its_first_own_round_is_round_one_of_the_paper(warm_up):
    """β¹ = 8·1 = 8, β² = 8·⌊1.5⌋ = 8, β³ = 8·⌊2.25⌋ = 16; popped items take the round's number as key."""
    pool = make_pool(60)
    method = bound(pool, adastar.Options(batch=8, steps=1, growth=1.5, warm_up=warm_up), 0)
    policy = SimulatedPolicy(np.ones(60))
    sizes, keys = [], []
    for round in range(3 + warm_up):
        _, own = sample_round(method, policy, pool, round, [])
        training_set = method.training_set(own)
        sizes.append(len(training_set))
        assert training_set.is_reference.all() == (round == 0 and warm_up)
        begin(method, round + 1, accuracy=1.0)
        keys.append(state_of(method)["last"].max())
    assert sizes == [60] * warm_up + [8, 8, 16]
    assert keys == [0] * warm_up + [1, 2, 3]


def test_rounds_walk_the_pool_when_everything_is_solved():
    pool = make_pool(60)
    method = bound(pool, adastar.Options(batch=1, steps=10, growth=1.0), 0)
    results = run_rounds(method, SimulatedPolicy(np.ones(60)), pool, 5, accuracy=lambda round: 1.0)
    seen = [set(s.query.tolist()) for s, _ in results]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 60


def test_an_untrained_round_pops_nothing():
    pool = make_pool(10)
    method = bound(pool, adastar.Options(batch=1, steps=3), 0)
    results = run_rounds(method, SimulatedPolicy(np.zeros(10)), pool, 2)
    assert [rows(s) for s, _ in results] == [[]] * 3
    begin(method, 3)
    assert (state_of(method)["last"] == 0).all()
