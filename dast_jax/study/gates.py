"""Gates: whether a study's model, problems and settings can tell methods apart. Pure numpy, no jax.

[ours] A difference between methods means something only where runs of one method agree, levels measure the
query, and there is something left to learn. Each gate is one number with a limit. A gate that cannot be
measured in this study (no entry `rft`, say) says why; it neither passes nor misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Integer

from dast_jax.estimators.levels import DEFAULT_CUTS, HARD, Cuts, level_shares, levels_from_counts
from dast_jax.estimators.reliability import cohen_kappa
from dast_jax.store.analysis_results import LevelAccuracy, StepCounts
from dast_jax.store.comparison_results import Gate

__all__ = [
    "SEEDS",
    "agreement_gates",
    "false_positive_gate",
    "length_gate",
    "level_gates",
    "modes_gate",
    "room_gate",
    "spread_gate",
]

SEEDS = 5
"""Seeds of `sft` whose accuracies must agree."""

_LENGTH, _SPREAD, _KAPPA, _AGAIN, _SHARE, _COUNTS, _MODES, _WRONG, _ROOM = 10, 2, 0.6, 50, 10, 2, 3, 5, 15
_SOLVED = 0.5
"""A stratum is hard where M_0's accuracy is below this."""


def length_gate(label: str, base: Mapping[str, float], first: Mapping[str, float]) -> Gate:
    """Return by how much, %, the mean length of the first policy differs from M_0's, at most 10.

    `base` and `first` are tokens by evaluation set; the set that differs most counts.
    """
    name = f"length after round 0 of {label}, % off M_0"
    changes = {s: 100 * (first[s] / base[s] - 1) for s in base if s in first and base[s]}
    if not changes:
        return _unmeasured(name, _LENGTH, f"no finished run of an entry {label}")
    note = "; ".join(f"{s}: {base[s]:.1f} to {first[s]:.1f} tokens" for s in changes)
    return _gate(name, max(map(abs, changes.values())), _LENGTH, note)


def spread_gate(accuracies: Mapping[str, Sequence[float]]) -> Gate:
    """Return the SD, in points, over the seeds of `sft` of accuracy after the last round, at most 2.

    `accuracies` are those of each seed by evaluation set; the set that differs most counts.
    """
    name = f"SD of sft over {SEEDS} seeds, points"
    found = {s: 100 * float(np.std(values, ddof=1)) for s, values in accuracies.items() if len(values) > 1}
    fewest = min((len(values) for values in accuracies.values()), default=0)
    if fewest < SEEDS:
        return _unmeasured(name, _SPREAD, f"{fewest} finished runs of an entry sft")
    each = {s: ", ".join(f"{100 * value:.1f}" for value in accuracies[s]) for s in found}
    note = "; ".join(f"{s}: {sd:.2f} ({each[s]} %)" for s, sd in found.items())
    return _gate(name, max(found.values()), _SPREAD, note)


def agreement_gates(
    a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " n"], trials: int
) -> tuple[Gate, Gate]:
    """Return Cohen's κ of two estimates of the levels, at least 0.6, and how often, %, hard is hard again.

    The latter, at least 50, is the share of one estimate's hard queries that are hard in the other, over both
    directions. `trials` are those of each query in one estimate.
    """
    names = "κ of two estimates of the levels", "hard queries that are hard again, %"
    kappa = cohen_kappa(a, b)
    both, either = int(((a == HARD) & (b == HARD)).sum()), int((a == HARD).sum() + (b == HARD).sum())
    note = f"{len(a)} queries, {trials} trials each"
    first = (
        _unmeasured(names[0], _KAPPA, "all queries have one level", at_least=True)
        if kappa is None
        else _gate(names[0], kappa, _KAPPA, note, at_least=True)
    )
    if not either:
        return first, _unmeasured(names[1], _AGAIN, "no query is hard", at_least=True)
    return first, _gate(names[1], 200 * both / either, _AGAIN, note, at_least=True)


def level_gates(
    a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " n"], trials: int, cuts: Cuts = DEFAULT_CUTS
) -> tuple[Gate, Gate]:
    """Return the smallest level's share of the pool, %, at least 10, and the hard counts, at least 2.

    Shares are means of two estimates. With one count alone, one trial decides what is hard.
    """
    shares = [level_shares(side) for side in (a, b)]
    mean = {level: 50 * sum(side[level] for side in shares) for level in shares[0]}
    smallest = min(mean, key=mean.__getitem__)
    each = ", ".join(f"{level} {share:.1f}" for level, share in mean.items())
    counts = np.flatnonzero(levels_from_counts(np.arange(trials + 1), trials, cuts) == HARD)
    return (
        _gate("share of the smallest level, %", mean[smallest], _SHARE, each, at_least=True),
        _gate(
            "counts of correct trials that are hard",
            float(len(counts)),
            _COUNTS,
            f"{', '.join(map(str, counts.tolist())) or 'none'} of {trials}",
            at_least=True,
        ),
    )


def modes_gate(
    zero_shot: float | None, trials: int, few_shot: Bool[np.ndarray, " n"], steps: Mapping[str, StepCounts]
) -> Gate:
    """Return how far, in points, M_0's pass rates differ with and without exemplars, at most 3.

    Evaluations are zero-shot, level estimates few-shot; both are of all training queries at the sampling
    temperature: `zero_shot` of `trials` trials, and `few_shot`, whether each trial is correct. Evaluations
    look at answers alone, so few-shot trials refused only for a step (`steps`, by level) are correct here.
    """
    name = "pass rate, few-shot against zero-shot, points"
    if zero_shot is None:
        return _unmeasured(name, _MODES, "M_0 was not probed without exemplars")
    refused = sum(counts.refused for counts in steps.values())
    n, rate = len(few_shot), (int(few_shot.sum()) + refused) / len(few_shot)
    note = f"zero-shot {100 * zero_shot:.1f} % of {trials:,}, few-shot {100 * rate:.1f} % of {n:,}"
    if refused:
        note += f"; {refused:,} of the few-shot answers were refused for a step"
    return _gate(name, 100 * abs(rate - zero_shot), _MODES, note)


def false_positive_gate(rounds: Sequence[Mapping[str, StepCounts]], mode: str) -> Gate:
    """Return the share, %, of the correct responses of `rft` with a wrong step, at most 5.

    `rounds` have the counts by level; `mode` is `verifier.steps`. Refused responses are no correct ones.
    """
    name = "false positives among the correct responses of rft, %"
    counts = [steps for by_level in rounds for steps in by_level.values()]
    checked, wrong = sum(c.checked for c in counts), sum(c.false_positives for c in counts)
    if not checked:
        why = "verifier.steps=ignore" if mode == "ignore" else "no response whose steps can be checked"
        return _unmeasured(name, _WRONG, why)
    refused = sum(c.refused for c in counts)
    note = f"{wrong:,} of {checked:,} checked" + (f"; {refused:,} more refused" if mode == "refuse" else "")
    return _gate(name, 100 * wrong / checked, _WRONG, note)


def room_gate(base: Mapping[str, LevelAccuracy], last: Mapping[str, LevelAccuracy], name: str) -> Gate:
    """Return the points that `rft` leaves on the hard strata of evaluation set `name`, at least 15.

    Strata are the data's levels; hard ones are those where M_0's accuracy is below 50 %.
    """
    title = "points that rft leaves on the hard strata"
    if not last:
        return _unmeasured(title, _ROOM, "no finished run of an entry rft, or no levels", at_least=True)
    hard = [level for level, found in base.items() if found.accuracy < _SOLVED and level in last]
    if not hard:
        return _unmeasured(title, _ROOM, f"{name}: M_0 solves half of every level", at_least=True)
    n = [last[level].n for level in hard]
    accuracy = 100 * float(np.average([last[level].accuracy for level in hard], weights=n))
    note = f"{name}, {', '.join(hard)}: {accuracy:.1f} % of {sum(n)}"
    return _gate(title, 100 - accuracy, _ROOM, note, at_least=True)


def _gate(name: str, value: float, limit: float, note: str, *, at_least: bool = False) -> Gate:
    passed = value >= limit if at_least else value <= limit
    return Gate(name=name, value=value, limit=limit, at_least=at_least, passed=passed, note=note)


def _unmeasured(name: str, limit: float, why: str, *, at_least: bool = False) -> Gate:
    return Gate(name=name, value=None, limit=limit, at_least=at_least, passed=None, note=why)
