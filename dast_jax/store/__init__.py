"""The run directory: durable files, the response log, training sets, metrics, the summary."""

from dast_jax.store.run_store import RunStore

__all__ = ["RunStore"]
