"""Answer extraction and equivalence, behind a guard."""

from dast_jax.verifiers.options import VerifierOptions
from dast_jax.verifiers.verifier import Verifier

__all__ = ["Verifier", "VerifierOptions"]
