"""Difficulty-aware self-training of language models, in JAX.

Importing the package is light on purpose: verifier workers and the command line faces import it
before they know whether they need jax.
"""

__version__ = "0.1.0"
