"""DART-Math-Prop2Diff, arXiv 2407.13690.

    target_i = max(1, ceil(k_p · f_i / max_j f_j))      in proportion to the fail rate

From the paper: proportional targets, the hardest query's is k_p = 192, rounded up so that every query has
at least one response. [ours] The normalization by the largest fail rate, and `at_least_one`, an ablation:
without it a query that never failed has target 0. How a target is reached: `dart`. With all queries always
solved (f = 0) each has target 1; with none solved all have target k_p and spend their trials in vain, there
is nothing to train on in this round, and the policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dast_jax.methods.dart import Dart, DartOptions
from dast_jax.options import opt

__all__ = ["DartProp2Diff", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(DartOptions):
    """Options of `method.name: dart_prop2diff`."""

    target: int = opt(192, "k_p, the correct responses of the hardest query", min=1)
    at_least_one: bool = opt(True, "a target of 1 for queries that never failed, instead of 0")


class DartProp2Diff(Dart):
    """Run the algorithm box above."""

    def targets(self, failed: np.ndarray) -> np.ndarray:
        """Return targets in proportion to the fail rate."""
        share = -(-self.options.target * failed // max(failed.max(initial=0), 1))  # rounded up, in integers
        targets: np.ndarray = np.maximum(share, int(self.options.at_least_one))
        return targets
