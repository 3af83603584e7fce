"""The small base model, tokenizer and problems that the quickstart runs on, and how a config names them."""

from dast_jax.assets.paths import ASSETS, refuse_remote, resolve_path

__all__ = ["ASSETS", "refuse_remote", "resolve_path"]
