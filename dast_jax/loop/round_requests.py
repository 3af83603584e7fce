"""Where method, sampler, verifier and response log meet: the requests of one round, answered and verified.

This is the only place where their order matters: the requests of tick t depend on exactly the verdicts of the
responses that finished by tick t − lag, waited for if need be, so a stage does not depend on the order in
which verdicts arrive.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from dast_jax.data.hints import hinted
from dast_jax.data.own_exemplars import shown
from dast_jax.data.prompts import PromptTooLongError
from dast_jax.estimators.tally import TallyCounter
from dast_jax.methods.base import Method
from dast_jax.methods.exemplars import block_of
from dast_jax.records import (
    Exemplar,
    FinishReason,
    Pool,
    PromptKind,
    Query,
    Requests,
    Responses,
    Rollout,
    Verdict,
)
from dast_jax.store.response_log import ResponseLog
from dast_jax.verifiers import Verifier
from dast_jax.verifiers.steps import refuse_wrong_steps

__all__ = ["VERDICT_LAG", "RoundRequests"]

VERDICT_LAG = 1
"""Ticks between a response's end and its verdict's first influence: verification overlaps decoding."""


class RoundRequests:
    """A `sampling.scheduler.RequestSource` that collects one round's verified responses into `log`.

    `carried` are the earlier responses that count toward this round (`Method.begin`); `own_exemplars` are
    shown in place of the method's. `hints_left_out` counts
    rationalizations whose hinted prompt was too long, and that were sampled as plain tries;
    `short_of_exemplars` the prompts for which the data had fewer exemplars than configured.
    """

    def __init__(
        self,
        *,
        method: Method,
        pool: Pool,
        carried: Responses,
        build_prompt: Callable[[str, tuple[Exemplar, ...]], tuple[int, ...]],
        own_exemplars: Sequence[Query] = (),
        verifier: Verifier,
        log: ResponseLog,
        round: int,
    ):
        """Judge responses by `verifier`, and by their steps where its options refuse wrong ones."""
        self._round = round
        self._prompt = functools.lru_cache(maxsize=8192)(self._build)
        self.hints_left_out = 0
        self.short_of_exemplars = 0
        self._method = method
        self._pool = pool
        self._build_prompt = build_prompt
        self._own_exemplars = own_exemplars
        self._verifier = verifier
        self._log = log
        self._stored = log.stored()
        self._counter = TallyCounter(len(pool), carried, distinct=method.distinct)
        self._carried = len(carried)
        self._correct = 0
        self._in_flight = 0
        self._unsettled: deque[tuple[int, Rollout, Future[Verdict]]] = deque()
        self._exhausted = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Trials of this round requested so far, finished, and correct; carried ones are not counted."""
        tally = self._counter.tally
        requested, finished = int(tally.requested.sum()), int(tally.finished.sum())
        return requested - self._carried, finished - self._carried, self._correct

    def next(self, tick: int) -> Requests:
        """Return the method's requests, given the verdicts of all responses finished by `tick` − lag."""
        requests = self._method.requests(self._counter.tally, self._settle(tick - VERDICT_LAG))
        self._counter.request(requests)
        self._in_flight += len(requests)
        self._exhausted = not (len(requests) or self._in_flight or self._unsettled)
        return requests

    def block(self, kind: int, trial: int) -> int:
        """Return which block of the query's trials this one is in: they are shown the same exemplars."""
        return block_of(kind, trial)

    def prompt(self, query: int, kind: int, block: int) -> tuple[int, ...]:
        """Return the token ids of the prompt that the method wants for a block of this query's trials."""
        return self._prompt(query, kind, block)

    def finished(self, responses: list[Rollout], tick: int) -> None:
        """Send the responses to the verifier; a stored one already has its verdict."""
        for rollout in responses:
            self._in_flight -= 1
            stored = self._stored.get((rollout.query, rollout.trial))
            if stored is None:
                query = self._pool.queries[rollout.query]
                pending = self._verifier.submit(query.answer, rollout.text, query.task)
            else:
                pending = Future()
                pending.set_result(stored[1])
            self._unsettled.append((tick, rollout, pending))

    def known(self, query: int, trial: int) -> Rollout | None:
        """Return the response stored before an interruption, if there is one."""
        stored = self._stored.get((query, trial))
        return stored[0] if stored else None

    def done(self) -> bool:
        """Return whether the method wants nothing more and nothing is outstanding."""
        return self._exhausted

    def _build(self, query: int, kind: int, block: int) -> tuple[int, ...]:
        """Build the prompt; a rationalized one shows the query's reference answer as a hint."""
        asked = self._pool.queries[query]
        wanted = 0 if kind == PromptKind.ZERO_SHOT else getattr(self._method.options, "exemplars", 0)
        if self._own_exemplars:
            hint = kind == PromptKind.RATIONALIZED
            exemplars = shown(self._own_exemplars, wanted, asked.question, with_hint=hint)
        else:
            exemplars = self._method.exemplars(query, kind, block)
        self.short_of_exemplars += len(exemplars) < wanted
        if kind == PromptKind.RATIONALIZED:
            try:
                return self._build_prompt(hinted(asked), exemplars)
            except PromptTooLongError:
                self.hints_left_out += 1
        return self._build_prompt(asked.question, exemplars)

    def _settle(self, tick: int) -> Responses:
        """Wait for the verdicts of responses that finished by `tick`; count, log and return them."""
        settled: list[tuple[Rollout, Verdict]] = []
        while self._unsettled and self._unsettled[0][0] <= tick:
            _, rollout, pending = self._unsettled.popleft()
            verdict = self._judged(rollout, pending.result())
            self._correct += verdict.correct
            self._counter.finish(
                rollout.query,
                correct=verdict.correct,
                truncated=rollout.finish_reason is FinishReason.LENGTH,
                text=rollout.text,
            )
            if (rollout.query, rollout.trial) not in self._stored:
                self._log.append(rollout, verdict)
            settled.append((rollout, verdict))
        return Responses.of(self._round, *zip(*settled, strict=True)) if settled else Responses.none()

    def _judged(self, rollout: Rollout, verdict: Verdict) -> Verdict:
        """Return the verdict, with `verifier.steps=refuse` incorrect for a correct answer by wrong steps."""
        if self._verifier.options.steps != "refuse":
            return verdict
        return refuse_wrong_steps(verdict, self._pool.queries[rollout.query].question, rollout.text)
