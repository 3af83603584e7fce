"""A policy without a model: each query has a pass rate, each (round, query, trial) a fixed response."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dast_jax.estimators.tally import TallyCounter
from dast_jax.loop.annotation import ask_annotations
from dast_jax.methods import RoundStart, make_method
from dast_jax.records import (
    FinishReason,
    Pool,
    PreferenceSet,
    PromptKind,
    Query,
    Requests,
    Responses,
    TrainingSet,
    VerdictKind,
)

KINDS = tuple(VerdictKind)
CORRECT, INCORRECT = KINDS.index(VerdictKind.CORRECT), KINDS.index(VerdictKind.INCORRECT)
EOS, LENGTH = (tuple(FinishReason).index(f) for f in (FinishReason.EOS, FinishReason.LENGTH))

PAPER_MIX = (0.364, 0.383, 0.165, 0.088)
"""Level shares of the training queries in the paper (arXiv 2503.09029), easy to unsolved."""


def make_pool(n: int, *, solutions=None, levels=None, task="math") -> Pool:
    """n queries; solution lengths grow with the index, `solutions` bool [n] says which have one.

    `levels` int [n] gives them the data's own labels.
    """
    return Pool(
        tuple(
            Query(
                id=f"q{i}",
                question=f"what is {i}?",
                answer=str(i),
                task=task,
                solution=f"reference {i} + 1 " + "x" * (i % 97)
                if solutions is None or solutions[i]
                else None,
                level=None if levels is None else f"Level {levels[i]}",
            )
            for i in range(n)
        )
    )


def embed(texts):
    """Return a vector per text without a model: its length and last characters."""
    return np.array([[len(t), *(ord(c) % 7 for c in f"{t:>8}"[-4:])] for t in texts], np.float32)


def bound(pool, options, seed=0):
    """Return the method that `options` configures, bound to `pool` with the annotations it asks for."""
    columns = ask_annotations(pool, options.annotations, policy_encoder=embed, seed=seed)
    return make_method(options, replace(pool, columns=columns), seed)


def begin(method, round, earlier=(), accuracy=None):
    """Begin a round; `earlier` are the responses of the rounds before. Returns what is carried over."""

    def history(wanted):
        assert wanted < round, "only earlier rounds have responses"
        found = [each.take(each.round == wanted) for each in earlier]
        return Responses.concatenate([responses([], [], [], round=wanted), *found])

    return method.begin(RoundStart(round, history, accuracy))


def mixed_levels(n: int, mix=PAPER_MIX) -> np.ndarray:
    """Levels int [n] in the given shares, spread over the pool."""
    edges = np.rint(np.cumsum(mix)[:-1] * n).astype(int)
    levels = np.searchsorted(edges, np.arange(n), side="right")
    return np.random.default_rng(0).permutation(levels)


def responses(query, trial, correct, *, round=1, text=None, finish=EOS, kind=1) -> Responses:
    """Columns from lists; texts differ for every (round, query, trial) unless given."""
    query, trial = np.asarray(query, np.int32), np.asarray(trial, np.int32)
    n = len(query)
    if text is None:
        text = [f"r{round} q{q} t{t}" for q, t in zip(query, trial, strict=True)]
    return Responses(
        query=query,
        trial=trial,
        round=np.full(n, round, np.int32),
        kind=np.broadcast_to(np.asarray(kind, np.int8), n).copy(),
        verdict=np.where(correct, CORRECT, INCORRECT).astype(np.int8),
        length=np.array([len(t) for t in text], np.int32),
        finish=np.broadcast_to(np.asarray(finish, np.int8), n).copy(),
        text=np.array([*text, None], dtype=object)[:-1],
        extracted=np.full(n, None, dtype=object),
        logprob=np.zeros(n, np.float32),
        entropy=np.zeros(n, np.float32),
    )


class SimulatedPolicy:
    """`pass_rate` float [rounds, n]; with `exact` that share of any 16 trials in a row in round 0 is correct.

    `texts` limits how many different responses a query has; 0 makes all different. A hinted trial
    succeeds half as often again; a share `cut` of the responses is cut off at the limit of new tokens. The
    entropies say nothing of the pass rates.
    """

    def __init__(
        self,
        pass_rate: np.ndarray,
        *,
        seed: int = 0,
        texts: int = 0,
        exact: bool = True,
        cut: float = 0.0,
    ):
        self.pass_rate, self.seed, self.texts = np.atleast_2d(pass_rate), seed, texts
        self.exact, self.cut = exact, cut

    def respond(self, round: int, requests: Requests) -> Responses:
        rate = self.pass_rate[min(round, len(self.pass_rate) - 1)][requests.query]
        rate = np.where(requests.kind == PromptKind.RATIONALIZED, rate * 1.5, rate)
        if round == 0 and self.exact:
            correct = (requests.trial * 7) % 16 < np.rint(rate * 16)
        else:
            correct = self._uniform(round, requests) < rate
        text = None
        if self.texts:
            text = [
                f"q{q} version {t % self.texts}" for q, t in zip(requests.query, requests.trial, strict=True)
            ]
        finish = np.where(self._uniform(round, requests, salt=1) < self.cut, LENGTH, EOS)
        made = responses(
            requests.query,
            requests.trial,
            correct,
            round=round,
            kind=requests.kind,
            text=text,
            finish=finish,
        )
        made.entropy[:] = self._uniform(round, requests, salt=2)
        return made

    def _uniform(self, round: int, requests: Requests, salt: int = 0) -> np.ndarray:
        """Noise in [0, 1) by (seed, round, query, trial) alone (splitmix64's mixing)."""
        x = np.full(len(requests), self.seed * 1000 + round + salt * 10**9, np.uint64)
        for part in (requests.query, requests.trial):
            x = (x ^ part.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = x ^ (x >> np.uint64(31))
        return (x >> np.uint64(11)).astype(np.float64) / 2**53


def sample_round(method, policy, pool, round, earlier, *, accuracy=None, arrival_seed=None):
    """Run a round's sampling stage. Returns (carried, own responses in order of arrival).

    Texts are compared by the method's own `distinct`, as in a run.

    With `arrival_seed`, responses take a random number of ticks and arrive in random order.
    """
    rng = None if arrival_seed is None else np.random.default_rng(arrival_seed)
    none = responses([], [], [], round=round)
    carried = begin(method, round, earlier, accuracy)
    counter = TallyCounter(len(pool), carried, distinct=method.distinct)
    waiting, done, arrived = none, [], none
    for _ in range(10_000):
        requests = method.requests(counter.tally, arrived)
        if not len(requests) and not len(waiting):
            own = Responses.concatenate([none, *done])
            check_trials(own, carried)
            return carried, own
        counter.request(requests)
        waiting = Responses.concatenate([waiting, policy.respond(round, requests)])
        now = np.ones(len(waiting), bool) if rng is None else rng.random(len(waiting)) < 0.4
        arrived = waiting.take(np.flatnonzero(now))
        waiting = waiting.take(np.flatnonzero(~now))
        if rng is not None:
            arrived = arrived.take(rng.permutation(len(arrived)))
        done.append(arrived)
        counter.add(arrived)
    raise AssertionError("the method never stops asking")


def check_trials(own: Responses, carried: Responses) -> None:
    """Every query's trials are numbered 0, 1, 2, … without a gap or a repeat, carried ones first."""
    trials = Responses.concatenate([carried, own])
    order = np.lexsort((trials.trial, trials.query))
    query, trial = trials.query[order], trials.trial[order]
    starts = np.searchsorted(query, query)
    assert np.array_equal(trial, np.arange(len(query)) - starts)


def run_rounds(
    method, policy, pool, rounds, *, arrival_seed=None, accuracy=lambda round: 0.9
) -> list[tuple[TrainingSet | PreferenceSet, Responses]]:
    """Rounds 0..rounds; per round the training set and the responses it was made from.

    `accuracy(round)` is the training accuracy of a round that had something to train on.
    """
    earlier, results, trained = [], [], None
    for round in range(rounds + 1):
        carried, own = sample_round(
            method, policy, pool, round, earlier, accuracy=trained, arrival_seed=arrival_seed
        )
        everything = Responses.concatenate([carried, own])
        results.append((method.training_set(everything), everything))
        trained = accuracy(round) if len(results[-1][0]) else None
        earlier.append(own)
    return results


def rows(training_set: TrainingSet | PreferenceSet) -> list[tuple]:
    """The training set as comparable rows."""
    if isinstance(training_set, PreferenceSet):
        columns = (training_set.query, training_set.chosen, training_set.rejected)
        return list(
            zip(*(c.tolist() for c in columns), training_set.chosen_is_reference.tolist(), strict=True)
        )
    return list(
        zip(
            training_set.query.tolist(),
            training_set.text.tolist(),
            training_set.is_reference.tolist(),
            strict=True,
        )
    )
