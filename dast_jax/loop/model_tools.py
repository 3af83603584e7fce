"""What methods may ask of the base model: vectors of texts, from its own hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dast_jax.loop.policy import BASE, Policy
from dast_jax.models.embed import mean_pooled

__all__ = ["PolicyTools"]


class PolicyTools:
    """`methods.base.ModelTools` of a run: M_0 is asked, whatever round it is."""

    def __init__(self, policy: Policy):
        self._policy = policy

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The mean of M_0's last hidden states over each text's tokens, float32 [n, d]."""
        policy = self._policy
        tokens = [policy.tokenizer.encode(text) for text in texts]
        return mean_pooled(policy.graphdef, policy.after(BASE), tokens, mesh=policy.mesh)
