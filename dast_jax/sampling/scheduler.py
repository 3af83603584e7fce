"""The sampler's host half: which request occupies which slot at which tick.

Per tick: ask the source for requests, fill free slots first come first served, decode `tick_steps` tokens,
return what has finished. The tick in which a response finishes follows from its number of tokens alone,
so a stage that is interrupted and resumed with its stored responses (`RequestSource.known`) goes through
the same ticks.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dast_jax.records import FinishReason, Requests, Rollout, SamplingStats, StageKey
from dast_jax.runtime import interruption
from dast_jax.sampling.engine import Engine, TickOutput
from dast_jax.sampling.parts import Parts
from dast_jax.sampling.prompts import Place, PromptKey, PromptPool
from dast_jax.sampling.stopping import StopStrings

__all__ = ["RequestSource", "SamplingStats", "StaticRequests", "sample"]


class RequestSource(Protocol):
    """Where requests come from and responses go to. Every method must be deterministic."""

    def next(self, tick: int) -> Requests:
        """Return the requests to queue now, possibly none. Called once at the beginning of every tick."""

    def block(self, kind: int, trial: int) -> int:
        """Return which block of its query's trials of this kind a trial is in; a block shares its prompt."""

    def prompt(self, query: int, kind: int, block: int) -> Sequence[int]:
        """Return the token ids of the prompt: at least one, at most `Engine.max_prompt_length`."""

    def finished(self, responses: list[Rollout], tick: int) -> None:
        """Take the responses that finished in this tick, in slot order. Called at the end of every tick."""

    def done(self) -> bool:
        """Return whether nothing more will be requested. Called after `next`, when no request is open."""

    def known(self, query: int, trial: int) -> Rollout | None:
        """Return a response stored earlier, to be replayed; None where there is none.

        It holds a slot for as many ticks as its tokens would take and is then passed to `finished`
        unchanged; the model is not run for it.
        """


@dataclass(slots=True)
class _Response:
    """A response in progress; `replay` is a stored one and `ticks_left` how long it still holds its slot."""

    query: int
    trial: int
    kind: int
    prompt: Place
    temperature: float | None
    replay: Rollout | None = None
    ticks_left: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


class _Queue:
    """Requests first in, first out, kept in columns: a large pool may request millions in one tick."""

    def __init__(self) -> None:
        self._chunks: deque[Requests] = deque()
        self._taken = 0  # of the first chunk
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, requests: Requests) -> None:
        """Append `requests`."""
        if len(requests):
            self._chunks.append(requests)
            self._length += len(requests)

    def peek(self, n: int) -> list[tuple[int, int, int, float | None]]:
        """Return the first `n` (query, trial, kind, temperature), or all where there are fewer."""
        found: list[tuple[int, int, int, float | None]] = []
        begin = self._taken
        for chunk in self._chunks:
            if len(found) >= n:
                break
            part = slice(begin, begin + n - len(found))
            columns = [c[part].tolist() for c in (chunk.query, chunk.trial, chunk.kind)]
            temperatures = (
                [None] * len(columns[0]) if chunk.temperature is None else chunk.temperature[part].tolist()
            )
            found += zip(*columns, temperatures, strict=True)
            begin = 0
        return found

    def pop(self, n: int) -> list[tuple[int, int, int, float | None]]:
        """Remove and return what `peek` returns."""
        found = self.peek(n)
        self._length -= len(found)
        self._taken += len(found)
        while self._chunks and self._taken >= len(self._chunks[0]):
            self._taken -= len(self._chunks.popleft())
        return found


def sample(
    engine: Engine,
    source: RequestSource,
    *,
    key: StageKey,
    progress: Callable[[SamplingStats], None] | None = None,
) -> SamplingStats:
    """Serve `source` until it is done; return what that cost.

    `progress` is called with the cost so far at the end of every tick. Raises `UserError` for a
    prompt that does not fit, naming the query; the source is expected to have left such prompts out.
    """
    engine.start(key)
    stage = _Stage(engine, source)
    begin, tick = time.monotonic(), 0
    while True:
        stage.push(source.next(tick))
        if stage.idle and source.done():
            break
        stage.fill()
        source.finished(stage.decode(), tick)
        tick += 1
        if progress is not None:
            progress(stage.stats(tick, time.monotonic() - begin))
        interruption.check()
    return stage.stats(tick, time.monotonic() - begin)


class _Stage:
    """Queue, slots and prompt pool of one call of `sample`."""

    def __init__(self, engine: Engine, source: RequestSource):
        options = engine.options
        self._queues = [_Queue() for _ in range(engine.shards)]
        self._parts = Parts(engine.shards, options.rows_per_group)
        self._slots_of_part = options.slots // engine.shards
        self._trials = self._replayed = self._generated_tokens = 0
        self._slot_steps = self._used_slot_steps = self._decode_steps = 0
        self._device_seconds = 0.0
        self._engine = engine
        self._source = source
        self._slots: list[_Response | None] = [None] * options.slots
        self._pool = PromptPool(engine, source.prompt)
        self._stop = StopStrings(self._text, options.stop, min_tokens=options.min_new_tokens)
        self._eos = engine.eos_ids
        # Far enough to fill a prefill batch of every bucket from a few trials per prompt.
        self._look_ahead = 16 * options.pool_rows // engine.shards

    @property
    def idle(self) -> bool:
        """Whether no request is queued and no slot is occupied."""
        return not any(map(len, self._queues)) and all(slot is None for slot in self._slots)

    def push(self, requests: Requests) -> None:
        """Queue requests for the parts of the slots that serve them."""
        for queue, of_part in zip(self._queues, self._parts.split(requests), strict=True):
            queue.push(of_part)

    def stats(self, ticks: int, seconds: float) -> SamplingStats:
        """Return the cost so far."""
        pool = self._pool
        return SamplingStats(
            trials=self._trials,
            replayed=self._replayed,
            prompts=pool.prompts,
            prompt_tokens=pool.tokens,
            padded_prompt_tokens=pool.padded_tokens,
            prefill_calls=pool.calls,
            generated_tokens=self._generated_tokens,
            ticks=ticks,
            slot_steps=self._slot_steps,
            used_slot_steps=self._used_slot_steps,
            decode_steps=self._decode_steps,
            seconds=seconds,
            device_seconds=self._device_seconds,
        )

    # --- filling --------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Put queued requests into free slots, in order of request and of slot within each part."""
        begun: list[tuple[int, _Response]] = []
        for part, queue in enumerate(self._queues):
            first = part * self._slots_of_part
            free = [i for i in range(first, first + self._slots_of_part) if self._slots[i] is None]
            for i, (query, trial, kind, temperature) in zip(free, queue.pop(len(free)), strict=False):
                known = self._source.known(query, trial)
                prompt = part, self._prompt(query, trial, kind)
                response = _Response(query, trial, kind, prompt, temperature, replay=known)
                self._slots[i] = response
                if response.replay is None:
                    begun.append((i, response))
                else:
                    response.ticks_left = self._ticks(len(response.replay.tokens))
        if begun:
            self._insert(begun)

    def _insert(self, begun: list[tuple[int, _Response]]) -> None:
        begin = time.monotonic()
        needed = [r.prompt for _, r in begun]
        if all(place in self._pool for place in needed):
            rows = self._pool.rows(needed, [])
        else:
            held = {r.prompt for r in self._slots if r is not None and r.replay is None}
            rows = self._pool.rows(needed, self._upcoming(), held)
        self._engine.insert(
            [i for i, _ in begun],
            [rows[place] for place in needed],
            [r.query for _, r in begun],
            [r.trial for _, r in begun],
            [r.temperature for _, r in begun],
        )
        self._device_seconds += time.monotonic() - begin

    def _prompt(self, query: int, trial: int, kind: int) -> PromptKey:
        return query, kind, self._source.block(kind, trial)

    def _upcoming(self) -> list[Place]:
        """Return the prompts of the requests at the heads of the queues, without trials to be replayed."""
        return [
            (part, self._prompt(query, trial, kind))
            for part, queue in enumerate(self._queues)
            for query, trial, kind, _ in queue.peek(self._look_ahead)
            if self._source.known(query, trial) is None
        ]

    # --- decoding -------------------------------------------------------------------------------------

    def decode(self) -> list[Rollout]:
        """Run one tick, free the slots that have finished, and return their responses in slot order."""
        live = np.array([slot is not None and slot.replay is None for slot in self._slots])
        begin = time.monotonic()
        output = self._engine.decode(live) if live.any() else None
        self._device_seconds += time.monotonic() - begin
        steps = 0 if output is None else output.steps
        self._decode_steps += steps
        self._slot_steps += steps * len(live)
        finished = []
        for i, slot in enumerate(self._slots):
            if slot is None:
                continue
            rollout = self._replay(slot) if slot.replay is not None else self._advance(i, slot, output)
            if rollout is not None:
                finished.append(rollout)
                self._slots[i] = None
        return finished

    def _replay(self, response: _Response) -> Rollout | None:
        response.ticks_left -= 1
        if response.ticks_left > 0:
            return None
        self._replayed += 1
        return response.replay

    def _advance(self, i: int, response: _Response, output: TickOutput | None) -> Rollout | None:
        """Append the tick's tokens of slot `i`; return the response if it has ended."""
        assert output is not None
        before = len(response.tokens)
        first = 1 if before else 0  # column 0 holds the token drawn when the slot was filled
        columns = slice(first, first + int(output.drawn[i]) - before)
        response.tokens += output.tokens[i, columns].tolist()
        response.logprobs += output.logprobs[i, columns].tolist()
        response.entropies += output.entropies[i, columns].tolist()
        stopped = self._stop.find(response.tokens, before)
        if stopped is not None:
            return self._rollout(response, stopped[0], stopped[1], FinishReason.STOP)
        if not output.ended[i]:
            return None
        n = len(response.tokens)
        if response.tokens[-1] in self._eos:
            return self._rollout(response, n, self._text(response.tokens[:-1]), FinishReason.EOS)
        return self._rollout(response, n, self._text(response.tokens), FinishReason.LENGTH)

    def _rollout(self, response: _Response, n: int, text: str, reason: FinishReason) -> Rollout:
        self._trials += 1
        self._generated_tokens += n
        self._used_slot_steps += n - 1  # the first token is the prefill's
        return Rollout(
            query=response.query,
            trial=response.trial,
            kind=response.kind,
            text=text,
            tokens=tuple(response.tokens[:n]),
            logprob=math.fsum(response.logprobs[:n]),
            entropy=math.fsum(response.entropies[:n]) / n,
            finish_reason=reason,
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return self._engine.tokenizer.decode(tokens)

    def _ticks(self, tokens: int) -> int:
        """Return for how many ticks a response holds its slot; its first token comes with filling it."""
        return max(1, math.ceil((tokens - 1) / self._engine.options.tick_steps))


class StaticRequests:
    """The same number of trials of every prompt, all requested in tick 0; keeps the responses in order."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        trials: int = 1,
        kind: int = 0,
        queries: Sequence[int] | None = None,
    ):
        """Request `trials` of each prompt.

        `queries` are the prompts' query numbers, which their noise depends on: 0, 1, 2, … if not given.
        """
        self._queries = list(range(len(prompts))) if queries is None else [int(query) for query in queries]
        self._prompts = dict(zip(self._queries, prompts, strict=True))
        self._trials = trials
        self._kind = kind
        self._found: dict[tuple[int, int], Rollout] = {}

    def next(self, tick: int) -> Requests:
        """Return all requests in the first tick."""
        if tick:
            return Requests.none()
        n = len(self._queries)
        return Requests(
            query=np.repeat(np.array(self._queries, np.int32), self._trials),
            trial=np.tile(np.arange(self._trials, dtype=np.int32), n),
            kind=np.full(n * self._trials, self._kind, np.int8),
        )

    def block(self, kind: int, trial: int) -> int:
        """Return 0: all trials of a query share its prompt."""
        return 0

    def prompt(self, query: int, kind: int, block: int) -> Sequence[int]:
        """Return the prompt of `query`, whatever the kind."""
        return self._prompts[query]

    def finished(self, responses: list[Rollout], tick: int) -> None:
        """Keep the responses."""
        self._found.update({(r.query, r.trial): r for r in responses})

    def done(self) -> bool:
        """Return True: everything was requested in the first tick."""
        return True

    def known(self, query: int, trial: int) -> Rollout | None:
        """Return None: nothing is replayed."""
        return None

    @property
    def rollouts(self) -> list[list[Rollout]]:
        """The responses, [prompt][trial]; complete once `sample` has returned."""
        return [[self._found[query, trial] for trial in range(self._trials)] for query in self._queries]
