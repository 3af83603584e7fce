"""Which prompt is in which row of the device's prompt pool, and which to prefill next. Host side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

from dast_jax.errors import UserError
from dast_jax.sampling.engine import Engine

__all__ = ["Place", "PromptKey", "PromptPool"]

PromptKey = tuple[int, int, int]
"""(query, prompt kind, block of trials)"""

Place = tuple[int, PromptKey]
"""A prompt in the pool of one part of the slots (`sampling.parts`)."""


class PromptPool:
    """Keeps prompts prefilled while a trial of theirs is in a slot, and until their last one has begun.

    There is a row for the prompt of every slot, and some for the next ones. A row is reused only when another
    prompt needs one, and then the row whose prompt is needed last, or never again. Each part of the slots has
    rows of its own; one call prefills for all of them.
    """

    def __init__(self, engine: Engine, prompt: Callable[[int, int, int], Sequence[int]]):
        self._engine = engine
        self._prompt = prompt
        self._rows: dict[Place, int] = {}
        self._free = [list(range(engine.pool_rows))[::-1] for _ in range(engine.shards)]
        self._tokens: dict[PromptKey, tuple[int, ...]] = {}
        self._held: Set[Place] = frozenset()
        self.calls = 0
        self.prompts = 0
        self.tokens = 0
        self.padded_tokens = 0

    def __contains__(self, place: Place) -> bool:
        return place in self._rows

    def rows(
        self, needed: Sequence[Place], ahead: Iterable[Place], held: Set[Place] = frozenset()
    ) -> dict[Place, int]:
        """Return the rows of the `needed` prompts within their parts, prefilled if they were not.

        `held` prompts are those of slots in progress: with the needed ones, at most as many as slots.
        `ahead` are prompts that will be needed later, soonest first: they fill up prefill batches, and decide
        which rows to keep. Raises `UserError` for a prompt that is empty or too long.
        """
        self._held = held
        if all(place in self._rows for place in needed):
            return self._rows
        upcoming = list(dict.fromkeys([*needed, *ahead]))
        rank = {place: i for i, place in enumerate(upcoming)}
        missing = [place for place in dict.fromkeys(needed) if place not in self._rows]
        while missing:
            bucket = self._bucket(missing[0][1])
            alike = [place for place in missing if self._bucket(place[1]) == bucket]
            batch: list[Place] = []
            for part in range(self._engine.shards):
                mine = [place for place in alike if place[0] == part][: self._engine.prefill_rows(bucket)]
                self._free_rows(part, len(mine), rank, keep=len(dict.fromkeys(needed)))
                soon = [place for place in upcoming if place[0] == part]
                batch += mine + self._fill_up(part, mine, bucket, soon, rank)
            self._prefill(bucket, batch)
            missing = [place for place in missing if place not in self._rows]
        return self._rows

    def _fill_up(
        self, part: int, batch: list[Place], bucket: int, upcoming: list[Place], rank: dict[Place, int]
    ) -> list[Place]:
        """Return later prompts of the same bucket for the rest of a part's batch, as far as rows are idle."""
        left = self._engine.prefill_rows(bucket) - len(batch)
        pending = sum(place not in self._rows for place in upcoming[: self._engine.pool_rows]) - len(batch)
        if left <= 0 or pending <= 0:
            return []
        unused = (p for p in self._rows if p[0] == part and p not in self._held)
        idle = len(self._free[part]) - len(batch) + sum(place not in rank for place in unused)
        more: list[Place] = []
        for place in upcoming:
            if len(more) >= min(left, idle):
                break
            if place not in self._rows and place not in batch and self._bucket(place[1]) == bucket:
                more.append(place)
        self._free_rows(part, len(batch) + len(more), rank, keep=len(rank))
        return more

    def _free_rows(self, part: int, count: int, rank: dict[Place, int], keep: int) -> None:
        """Free rows of a part until `count` are, never that of a slot or of the first `keep` upcoming."""
        free = self._free[part]
        if len(free) >= count:
            return
        last = len(rank)
        victims = sorted(
            (p for p in self._rows if p[0] == part and p not in self._held),
            key=lambda place: rank.get(place, last),
            reverse=True,
        )
        for place in victims:
            if len(free) >= count or rank.get(place, last) < keep:
                return
            free.append(self._rows.pop(place))

    def _prefill(self, bucket: int, batch: list[Place]) -> None:
        prompts = [self._tokens[key] for _, key in batch]
        rows = [self._free[part].pop() for part, _ in batch]
        self._engine.prefill(bucket, prompts, rows, [part for part, _ in batch])
        self._rows.update(zip(batch, rows, strict=True))
        for key in {key for _, key in batch}:
            del self._tokens[key]
        self.calls += 1
        self.prompts += len(batch)
        self.tokens += sum(map(len, prompts))
        self.padded_tokens += bucket * self._engine.prefill_rows(bucket) * self._engine.shards

    def _bucket(self, key: PromptKey) -> int:
        tokens = self._tokens.get(key)
        if tokens is None:
            tokens = self._tokens[key] = tuple(self._prompt(*key))
            limit = self._engine.max_prompt_length
            if not tokens:
                raise UserError(f"prompt of query {key[0]}: has no tokens; give it some text")
            if len(tokens) > limit:
                raise UserError(
                    f"prompt of query {key[0]}: {len(tokens)} tokens, above the limit of {limit}; "
                    "shorten it, or raise sampling.prompt_buckets"
                )
        return self._engine.bucket(len(tokens))
