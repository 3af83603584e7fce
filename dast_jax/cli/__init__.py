"""What all commands share: arguments, help, signals, exit codes."""

from dast_jax.cli.arguments import Flag, output_path, parse_arguments
from dast_jax.cli.command import command

__all__ = ["Flag", "command", "output_path", "parse_arguments"]
