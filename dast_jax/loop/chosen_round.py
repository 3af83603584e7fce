"""Which round of a run is meant by its number, `last` or `best`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from dast_jax.config import build_config
from dast_jax.errors import UserError
from dast_jax.store.evaluation_results import EvalEntry
from dast_jax.store.results import EvaluationResult
from dast_jax.store.run_store import RunStore

__all__ = ["check_wanted", "choose_round", "evaluation_of"]

log = logging.getLogger(__name__)


def check_wanted(wanted: int | str, *names: str) -> None:
    """Raise `ValueError` unless `wanted` is a round's number or one of `names`."""
    if wanted not in names if isinstance(wanted, str) else wanted < 0:
        raise ValueError(f"round: expected a number from 0, or {', '.join(names)}; got {wanted}")


def choose_round(store: RunStore, wanted: int | str) -> int:
    """Return the trained round that `wanted` (a number, `last` or `best`) means.

    The best has the highest mean accuracy over the run's evaluation sets; of equal ones it is the earliest.
    A log line says how it was chosen. Raises `UserError` where there is none.
    """
    rounds = range(build_config(store.config).run.rounds + 1)
    trained = [r for r in rounds if store.is_done(f"{r:02d}/train")]
    if not trained:
        raise UserError(f"{store.path}: no round has been trained yet; run dast_jax.train first")
    if wanted == "last":
        return trained[-1]
    if wanted == "best":
        return _best(store, trained)
    if wanted not in trained:
        shown = ", ".join(map(str, trained))
        raise UserError(f"{store.path}: round {wanted} has not been trained; choose one of {shown}")
    return int(wanted)


def evaluation_of(store: RunStore, round: int | None) -> Mapping[str, EvalEntry]:
    """Return the evaluation after a round (None: of M_0), by set; empty where there is none yet."""
    name = "base" if round is None else f"{round:02d}"
    found = store.result(f"{name}/evaluate", EvaluationResult)
    return found.evaluation if found else {}


def _best(store: RunStore, trained: list[int]) -> int:
    means = {r: _mean(found) for r in trained if (found := evaluation_of(store, r))}
    if not means:
        raise UserError(f"{store.path}: no round has been evaluated, so none is best; name a round, or last")
    best = max(means, key=means.__getitem__)
    shown = ", ".join(f"{100 * means[r]:.1f} % after round {r}" for r in means)
    log.info("best of %s, the mean accuracy over the evaluation sets: round %d", shown, best)
    base = evaluation_of(store, None)
    if base and means[best] <= _mean(base):
        log.warning(
            "no round beats the base model, which has %.1f %% on the evaluation sets", 100 * _mean(base)
        )
    return best


def _mean(evaluation: Mapping[str, EvalEntry]) -> float:
    return float(np.mean([entry.accuracy for entry in evaluation.values()]))
