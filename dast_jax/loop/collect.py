"""The sampling stage of a round: the method asks, the sampler answers, the verifier judges, the log keeps.

This is where the four rooms meet, and the only place where their order matters: the requests of
tick t depend on exactly the verdicts of the responses that finished by tick t − lag, waited for if
need be, so a stage does not depend on which verdict happened to arrive first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from dast_jax.data.hints import hinted
from dast_jax.data.prompts import PromptTooLongError
from dast_jax.estimators.tally import TallyCounter
from dast_jax.methods.base import Method
from dast_jax.records import (
    Exemplar,
    FinishReason,
    Pool,
    PromptKind,
    Requests,
    Responses,
    Rollout,
    Verdict,
)
from dast_jax.store.response_log import ResponseLog
from dast_jax.study.sharing import SharedTrials
from dast_jax.verifiers import Verifier

__all__ = ["VERDICT_LAG", "CollectStage"]

VERDICT_LAG = 1
"""Ticks between a response's end and its verdict's first influence: verification overlaps decoding."""


class CollectStage:
    """A `sampling.scheduler.RequestSource` that collects one round's verified responses into `log`.

    `hintless` counts rationalizations whose hinted prompt was too long, and were put as plain tries.
    `carried` are the earlier responses that count toward this round (`Method.start_round`). `shared` holds
    trials of other runs with the same policy and noise: they are replayed like this run's own.
    """

    def __init__(
        self,
        *,
        method: Method,
        pool: Pool,
        carried: Responses,
        build_prompt: Callable[[str, tuple[Exemplar, ...]], tuple[int, ...]],
        verifier: Verifier,
        log: ResponseLog,
        round: int,
        shared: SharedTrials | None = None,
    ):
        self._round = round
        self._shared = shared
        self._asked: dict[tuple[int, int], tuple[int, float | None]] = {}  # kept only where trials are shared
        self._lent: dict[tuple[int, int], tuple[Rollout, Verdict]] = {}
        self._prompt = functools.lru_cache(maxsize=8192)(self._build)
        self.hintless = 0
        self._method = method
        self._pool = pool
        self._build_prompt = build_prompt
        self._verifier = verifier
        self._log = log
        self._known = log.stored()
        self._counter = TallyCounter(len(pool), carried)
        self._carried = len(carried)
        self._in_flight = 0
        self._unsettled: deque[tuple[int, Rollout, Future[Verdict]]] = deque()
        self._exhausted = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Trials of this stage requested so far, finished, and, carried ones included, correct."""
        tally = self._counter.tally
        requested, finished = int(tally.requested.sum()), int(tally.finished.sum())
        return requested - self._carried, finished - self._carried, int(tally.correct.sum())

    def next(self, tick: int) -> Requests:
        """The method's requests, given the verdicts of all responses that finished by `tick` − lag."""
        self._settle(tick - VERDICT_LAG)
        requests = self._method.requests(self._counter.tally)
        self._counter.request(requests)
        self._in_flight += len(requests)
        self._exhausted = not (len(requests) or self._in_flight or self._unsettled)
        if self._shared is not None:
            self._note(requests)
        return requests

    def _note(self, requests: Requests) -> None:
        heat = [None] * len(requests) if requests.temperature is None else requests.temperature.tolist()
        columns = (requests.query.tolist(), requests.trial.tolist(), requests.kind.tolist(), heat)
        self._asked.update({(q, t): (k, h) for q, t, k, h in zip(*columns, strict=True)})

    def prompt(self, query: int, kind: int) -> tuple[int, ...]:
        """Token ids of the prompt the method wants for this query; a rationalized one shows its answer."""
        return self._prompt(query, kind)

    def _build(self, query: int, kind: int) -> tuple[int, ...]:
        asked, exemplars = self._pool.queries[query], self._method.exemplars(query, kind)
        if kind == PromptKind.RATIONALIZED:
            try:
                return self._build_prompt(hinted(asked), exemplars)
            except PromptTooLongError:
                self.hintless += 1
        return self._build_prompt(asked.question, exemplars)

    def finished(self, responses: list[Rollout], tick: int) -> None:
        """Send the responses to the verifier; a replayed one brings its stored verdict along."""
        for rollout in responses:
            self._in_flight -= 1
            name = (rollout.query, rollout.trial)
            stored = self._known.get(name) or self._lent.get(name)
            if stored is None:
                query = self._pool.queries[rollout.query]
                pending = self._verifier.submit(query.answer, rollout.text, query.task)
            else:
                pending = Future()
                pending.set_result(stored[1])
            self._unsettled.append((tick, rollout, pending))

    def known(self, query: int, trial: int) -> Rollout | None:
        """The response stored before an interruption, or lent by another run, if there is one."""
        stored = self._known.get((query, trial)) or self._borrow(query, trial)
        return stored[0] if stored else None

    def _borrow(self, query: int, trial: int) -> tuple[Rollout, Verdict] | None:
        if self._shared is None:
            return None
        if (query, trial) not in self._lent:
            kind, temperature = self._asked[query, trial]
            found = self._shared.find(query, trial, self.prompt(query, kind), temperature)
            if found is None:
                return None
            self._lent[query, trial] = (dataclasses.replace(found[0], kind=kind), found[1])
        return self._lent[query, trial]

    def _lend(self, rollout: Rollout, verdict: Verdict) -> None:
        if self._shared is not None:
            kind, temperature = self._asked[rollout.query, rollout.trial]
            self._shared.keep(rollout, verdict, self.prompt(rollout.query, kind), temperature)

    def done(self) -> bool:
        return self._exhausted

    def _settle(self, tick: int) -> None:
        """Wait for the verdicts of responses that finished by `tick`; count, log and show them."""
        settled: list[tuple[Rollout, Verdict]] = []
        while self._unsettled and self._unsettled[0][0] <= tick:
            _, rollout, pending = self._unsettled.popleft()
            verdict = pending.result()
            truncated = rollout.finish_reason is FinishReason.LENGTH
            self._counter.finish(
                rollout.query,
                correct=verdict.correct,
                truncated=truncated,
                text=rollout.text,
            )
            if (rollout.query, rollout.trial) not in self._known:
                self._log.append(rollout, verdict)
            self._lend(rollout, verdict)
            settled.append((rollout, verdict))
        if settled:
            self._method.observe(Responses.of(self._round, *zip(*settled, strict=True)))
