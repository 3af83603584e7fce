"""Ours and the peers, each behind the same calls.

A side is made from a `Work`. `candidates` are the settings that it may be run at; `run(setting, work)` does
the work once and returns its useful units; `check` returns numbers that must be the same on every side. Only
the modules of the peer itself are imported, in the process that runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from benchmarks.work import Work

__all__ = ["SIDES", "Setting", "Side", "make_side"]

Setting = Mapping[str, int | str | bool]


class Side(Protocol):
    """One program that can do the work."""

    candidates: Sequence[Setting]

    def run(self, setting: Setting, work: Work) -> int:
        """Do the work once; return its useful units: generated tokens up to the first EOS, or examples."""

    def check(self) -> list[float]:
        """Return greedy tokens, or the losses of two optimizer steps on the first examples."""


SIDES = {
    "sampling": ("ours", "transformers", "transformers-shared", "tunix"),
    "sft": ("ours", "trl", "tunix"),
    "dpo": ("ours", "trl", "tunix"),
}
"""The programs that can do the work of each benchmark."""


def make_side(name: str, work: Work) -> Side:
    """Return the side, with the model of `work` loaded."""
    if name == "ours":
        from benchmarks.sides import ours

        own: dict[str, Callable[[Work], Side]]
        own = {"sampling": ours.Sampling, "sft": ours.SFT, "dpo": ours.DPO}
        return own[work.name](work)
    if name == "tunix":
        from benchmarks.sides import tunix

        theirs: dict[str, Callable[[Work], Side]]
        theirs = {"sampling": tunix.Sampling, "sft": tunix.SFT, "dpo": tunix.DPO}
        return theirs[work.name](work)
    if name == "trl":
        from benchmarks.sides import trl

        trainers: dict[str, Callable[[Work], Side]] = {"sft": trl.SFT, "dpo": trl.DPO}
        return trainers[work.name](work)
    from benchmarks.sides.transformers import Generate

    return Generate(work, shared=name == "transformers-shared")
