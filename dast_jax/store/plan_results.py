"""What `dast-jax plan` answers, as types.

As in `results`, the text below a field is its line in docs/schemas.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Change", "Plan", "StageCost", "StageMemory", "StagePlan"]

Source = Literal["compiled", "formula"]


@dataclass(frozen=True, kw_only=True)
class StageMemory:
    """Bytes on one device while a stage runs; null where only the compiler would know."""

    weights: float
    """the parameters"""
    optimizer: float
    """the optimizer's state"""
    cache: float
    """slots and prompt pool of the sampler"""
    held: float
    """what the run keeps besides: the weights of which the sampler reads a copy"""
    activations: float | None
    """temporaries: activations, gradients, gathered weights, logits"""
    total: float | None
    """the peak: all of these, inputs and outputs, and the program itself"""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What one device executes in one call of a stage's program."""

    flops: float
    """of matrix products, executed: loops multiplied, kernels by formula"""
    useful_flops: float
    """what the model's formula says of the same tokens: every product once, and twice more for gradients"""
    useful_share: float | None
    """useful over executed"""
    memory_bytes: float
    """read from and written to the device's memory"""
    interconnect_bytes: float
    """sent to other devices"""
    seconds: float | None
    """estimated; null where the device's peaks are not known"""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One program of the run on one device."""

    name: str
    """sft, preference, score, prefill or decode"""
    what: str
    """the shape of one call"""
    source: Source
    """whether the numbers are those of the compiled program, or a formula's"""
    fits: bool | None
    """whether the peak is within the device's memory; null where that is not known"""
    memory: StageMemory
    """bytes on one device"""
    cost: StageCost
    """of one call"""
    calls: float
    """calls in a round"""
    compile_seconds: float
    """CPU seconds that compiling took"""
    notes: tuple[str, ...]
    """what the numbers leave out"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Settings that should make a run fit."""

    settings: tuple[str, ...]
    """as on the command line: key=value"""
    needs: float
    """peak bytes on one device of the stage that needs most"""
    source: Source
    """whether it was compiled (`--search`) or is the formula's"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run needs on given devices, and what it takes there."""

    schema: str = "dast_jax.plan/1"
    """version of this layout"""
    model: str
    """where the model's shapes are from"""
    parameters: int
    """number of weights, embeddings included"""
    target: str
    """the devices"""
    device: str
    """their kind"""
    devices: int
    """their number, as the mesh uses them"""
    mesh: dict[str, int]
    """mesh axis → size"""
    memory_limit: float | None
    """bytes that programs may use of one device; null where that is not known"""
    fits: bool | None
    """whether every stage does"""
    stages: tuple[StagePlan, ...]
    """the run's programs, in the order of a round"""
    replicated: tuple[str, ...]
    """what the mesh does not divide, and every device holds whole"""
    round_seconds: float | None
    """estimated time of a round"""
    run_seconds: float | None
    """of all rounds"""
    chip_hours: float | None
    """devices × hours of the run"""
    assumptions: tuple[str, ...]
    """what the estimates rest on"""
    message: str
    """one sentence: whether it fits and, where it does not, what it needs"""
    changes: tuple[Change, ...]
    """what should make it fit, the least change first"""
