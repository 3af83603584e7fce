"""Which prompt is in which row of the device's prompt pool, and which to prefill next. Host side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

from dast_jax.errors import UserError
from dast_jax.sampling.engine import Engine

__all__ = ["PromptKey", "PromptPool"]

PromptKey = tuple[int, int, int]
"""(query, prompt kind, block of trials)"""


class PromptPool:
    """Keeps prompts prefilled while a trial of theirs is in a slot, and until their last one has begun.

    There is a row for the prompt of every slot, and some for the next ones. A row is reused only when another
    prompt needs one, and then the row whose prompt is needed last, or never again.
    """

    def __init__(self, engine: Engine, prompt: Callable[[int, int, int], Sequence[int]]):
        self._engine = engine
        self._prompt = prompt
        self._rows: dict[PromptKey, int] = {}
        self._free = list(range(engine.options.pool_rows))[::-1]
        self._tokens: dict[PromptKey, tuple[int, ...]] = {}
        self._held: Set[PromptKey] = frozenset()
        self.calls = 0
        self.prompts = 0
        self.tokens = 0
        self.padded_tokens = 0

    def __contains__(self, key: PromptKey) -> bool:
        return key in self._rows

    def rows(
        self, needed: Sequence[PromptKey], ahead: Iterable[PromptKey], held: Set[PromptKey] = frozenset()
    ) -> dict[PromptKey, int]:
        """Return the rows of the `needed` prompts, prefilled if they were not.

        `held` prompts are those of slots in progress: with the needed ones, at most as many as slots.
        `ahead` are prompts that will be needed later, soonest first: they fill up prefill batches, and decide
        which rows to keep. Raises `UserError` for a prompt that is empty or too long.
        """
        self._held = held
        if all(key in self._rows for key in needed):
            return self._rows
        upcoming = list(dict.fromkeys([*needed, *ahead]))
        rank = {key: i for i, key in enumerate(upcoming)}
        missing = [key for key in dict.fromkeys(needed) if key not in self._rows]
        while missing:
            bucket = self._bucket(missing[0])
            most = self._engine.options.prefill_rows(bucket)
            batch = [key for key in missing if self._bucket(key) == bucket][:most]
            self._free_rows(len(batch), rank, keep=len(dict.fromkeys(needed)))
            batch += self._fill_up(batch, bucket, upcoming, rank)
            self._prefill(bucket, batch)
            missing = [key for key in missing if key not in self._rows]
        return self._rows

    def _fill_up(
        self, batch: list[PromptKey], bucket: int, upcoming: list[PromptKey], rank: dict[PromptKey, int]
    ) -> list[PromptKey]:
        """Return later prompts of the same bucket for the rest of the batch, as far as rows are idle."""
        left = self._engine.options.prefill_rows(bucket) - len(batch)
        pending = sum(key not in self._rows for key in upcoming[: self._engine.options.pool_rows]) - len(
            batch
        )
        if left <= 0 or pending <= 0:
            return []
        idle = (
            len(self._free) - len(batch) + sum(key not in rank for key in self._rows if key not in self._held)
        )
        more: list[PromptKey] = []
        for key in upcoming:
            if len(more) >= min(left, idle):
                break
            if key not in self._rows and key not in batch and self._bucket(key) == bucket:
                more.append(key)
        self._free_rows(len(batch) + len(more), rank, keep=len(rank))
        return more

    def _free_rows(self, count: int, rank: dict[PromptKey, int], keep: int) -> None:
        """Free rows until `count` are free, never that of a slot or of one of the first `keep` upcoming."""
        if len(self._free) >= count:
            return
        last = len(rank)
        victims = sorted(
            (k for k in self._rows if k not in self._held), key=lambda key: rank.get(key, last), reverse=True
        )
        for key in victims:
            if len(self._free) >= count or rank.get(key, last) < keep:
                return
            self._free.append(self._rows.pop(key))

    def _prefill(self, bucket: int, batch: list[PromptKey]) -> None:
        prompts = [self._tokens.pop(key) for key in batch]
        rows = [self._free.pop() for _ in batch]
        self._engine.prefill(bucket, prompts, rows)
        self._rows.update(zip(batch, rows, strict=True))
        self.calls += 1
        self.prompts += len(batch)
        self.tokens += sum(map(len, prompts))
        self.padded_tokens += bucket * self._engine.options.prefill_rows(bucket)

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
