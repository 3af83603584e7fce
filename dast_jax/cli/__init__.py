"""Shared by all commands: arguments, help, progress, signals, exit codes."""

from dast_jax.cli.arguments import Arguments, Flag, output_path
from dast_jax.cli.command import command
from dast_jax.cli.progress_display import ProgressDisplay

__all__ = ["Arguments", "Flag", "ProgressDisplay", "command", "output_path"]
