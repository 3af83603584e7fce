"""What all commands share: arguments, help, signals, exit codes."""

from dast_jax.cli.arguments import Flag, output_path, parse_arguments
from dast_jax.cli.command import command
from dast_jax.cli.progress_display import ProgressDisplay

__all__ = ["Flag", "ProgressDisplay", "command", "output_path", "parse_arguments"]
