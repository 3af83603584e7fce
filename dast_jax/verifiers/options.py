"""Options of verification."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.options import opt
from dast_jax.verifiers.functions import check_functions
from dast_jax.verifiers.steps import STEP_MODES

__all__ = ["BACKENDS", "PERCENT_RULES", "VerifierOptions"]

BACKENDS = ("rules", "math_verify")
PERCENT_RULES = ("either", "fraction", "unit")


@dataclass(frozen=True, kw_only=True)
class VerifierOptions:
    """How answers are compared, and the limits of a comparison."""

    backend: str = opt(
        "rules",
        "what judges math and number answers: the rules of docs/verification.md, or the library math-verify "
        "alone (extraction included), for results comparable with papers",
        choices=BACKENDS,
    )
    percent: str = opt(
        "either",
        "what a percent sign means when the other side has none: 50% equals 0.5 (fraction), 50 (unit), "
        "or both (either)",
        choices=PERCENT_RULES,
    )
    steps: str = opt(
        "count",
        "what a run does with a correct answer to an arithmetic question (7+12=?) that rests on a wrong "
        "step, or on one that cannot be read: count it, refuse it as incorrect, or ignore that. Evaluations "
        "judge answers alone",
        choices=STEP_MODES,
    )
    functions: dict[str, str] = opt(
        {},
        "custom verifiers, as {name: package.module:function}; data.task and the task of a row may use "
        "such a name",
    )
    labels: tuple[str, ...] = opt(
        ("entailment", "neutral", "contradiction"),
        "labels that the label family searches for in prose; others count at a marker or alone",
    )
    list_order: bool = opt(True, "whether the order of a list's items counts")
    float_rounding: int = opt(6, "decimals to which symbolic answers are compared", min=1, max=15)
    max_prediction_chars: int = opt(200_000, "a longer response is refused unread", min=1)
    max_answer_chars: int = opt(1_000, "a longer answer is refused", min=1)
    max_nesting: int = opt(40, "an answer with brackets nested deeper is refused", min=1)
    max_exponent: int = opt(10_000, "an answer with a larger numeric exponent is refused", min=1)
    max_factorial: int = opt(5_000, "an answer with the factorial of a larger number is refused", min=1)
    cpu_seconds: float = opt(
        0.5,
        "CPU time of one symbolic comparison, then its worker is killed (99.9% of MATH's take below 0.15)",
        min=0.01,
    )
    wall_seconds: float = opt(
        10.0,
        "wall-clock time of one symbolic comparison, tried twice (backstop for a worker that does not run)",
        min=0.1,
    )
    memory_mb: int = opt(1_024, "address space of a symbolic worker, MiB", min=256)
    function_cpu_seconds: float = opt(
        5.0, "CPU time of one call of a custom verifier, then its worker is killed", min=0.01
    )
    function_memory_mb: int = opt(
        4_096, "address space of a worker that runs a custom verifier, MiB", min=256
    )
    workers: int = opt(
        0, "symbolic worker processes; 0 is one per core, at most 8", min=0, changes_result=False
    )
    batch: int = opt(16, "comparisons sent to a worker at a time", min=1, changes_result=False)
    cache_size: int = opt(65_536, "symbolic verdicts cached", min=0, changes_result=False)

    def __post_init__(self) -> None:
        check_functions(self.functions)
