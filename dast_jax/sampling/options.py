"""Options of the sampler (no jax here)."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.options import opt

__all__ = ["AUTOMATIC", "DecodingOptions", "SamplingOptions"]


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """Where responses end, and the static shapes that the sampler compiles for."""

    max_new_tokens: int = opt(256, "a response ends after this many tokens", min=1)
    min_new_tokens: int = opt(
        0, "neither EOS nor a stop string ends a response before this many tokens", min=0
    )
    stop: tuple[str, ...] = opt((), "a response ends before the first of these strings")
    prompt_buckets: tuple[int, ...] = opt(
        (),
        "prompts are padded to one of these lengths, and none may be longer; empty chooses by model",
        min=1,
    )
    slots: int = opt(
        0,
        "responses decoded in parallel; 0 chooses by model, memory and device",
        min=0,
        changes_result=False,
    )
    tick_steps: int = opt(
        0, "decode steps between two checks for finished responses; 0 chooses by max_new_tokens", min=0
    )
    prefill_batch: int = opt(
        0, "prompts prefilled in one call; 0 takes prefill_tokens", min=0, changes_result=False
    )
    prefill_tokens: int = opt(
        0,
        "prompt positions prefilled in one call, where prefill_batch is 0; 0 chooses by device",
        min=0,
        changes_result=False,
    )
    prompt_pool: int = opt(
        0, "prompts kept prefilled besides those in slots; 0 chooses by slots", min=0, changes_result=False
    )
    group: int = opt(
        0, "slots that read one prompt together; 0 chooses by trials", min=0, changes_result=False
    )

    def __post_init__(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens: {self.min_new_tokens} is above max_new_tokens ({self.max_new_tokens})"
            )
        if "" in self.stop:
            raise ValueError("stop: an empty string would end every response immediately; remove it")

    @property
    def buckets(self) -> tuple[int, ...]:
        """The prompt lengths, ascending and distinct."""
        return tuple(sorted(set(self.prompt_buckets)))

    @property
    def pool_rows(self) -> int:
        """Prompts kept prefilled: one for each slot, and a quarter more for the next ones unless set."""
        return self.slots + (self.prompt_pool or max(8, self.slots // 4))

    @property
    def rows_per_group(self) -> int:
        """Slots that read one prompt together."""
        return min(self.group or 8, self.slots)

    def prefill_rows(self, bucket: int) -> int:
        """Return how many prompts of `bucket` positions are prefilled in one call."""
        return self.prefill_batch or min(16, max(1, self.prefill_tokens // bucket))


AUTOMATIC = ("prompt_buckets", "slots", "tick_steps", "prefill_tokens")
"""The options that are chosen where they are 0 or empty (`sampling.automatic`)."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(DecodingOptions):
    """How many responses are drawn, how, and where they end."""

    temperature: float = opt(1.0, "softmax temperature; 0 takes the most probable token", min=0)
    top_k: int = opt(0, "keep only the k most probable tokens; 0 keeps all", min=0)
    top_p: float = opt(
        1.0, "keep the most probable tokens that together have this probability; 1 keeps all", min=0, max=1
    )
    trials: int = opt(1, "responses per prompt, where the method does not decide", min=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_p == 0:
            raise ValueError(
                "top_p: 0 keeps no token; for the most probable token only, set temperature to 0"
            )
