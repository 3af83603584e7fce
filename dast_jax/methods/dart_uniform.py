"""DART-Math-Uniform, arXiv 2407.13690.

    target_i = k_u                    the same number of correct responses for every query

From the paper: k_u = 40. How a target is reached: `dart`. With all queries solved each stops at its target;
with none solved every query spends its trials in vain, there is nothing to train on in this round, and the
policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dast_jax.methods.dart import Dart, DartOptions
from dast_jax.options import opt

__all__ = ["DartUniform", "Options"]


@dataclass(frozen=True, kw_only=True)
class Options(DartOptions):
    """Options of `method.name: dart_uniform`."""

    target: int = opt(40, "k_u, the correct responses per query", min=1)


class DartUniform(Dart):
    """Run the algorithm box above."""

    def targets(self, failed: np.ndarray) -> np.ndarray:
        """Return k_u."""
        return np.full(len(failed), self.options.target, np.int64)
