"""The command `dast-jax`, and `python -m dast_jax`: one subcommand for each command module of the package."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from dast_jax.cli.arguments import Arguments
from dast_jax.cli.command import command
from dast_jax.errors import UserError
from dast_jax.options import nearest
from dast_jax.version import installed_versions

__all__ = ["COMMANDS", "main"]

COMMANDS = ("train", "sample", "verify", "evaluate", "export", "report", "compare", "agreement", "plan")
"""The modules `dast_jax.NAME` with `ARGUMENTS` and `main`, in the order of the help."""

_SHELLS = ("bash", "zsh", "tcsh")

_FIRST_STEPS = """\
dast_jax trains a language model on its own verified answers, with most work on what the model finds hard.

Try these first, with the small model and the arithmetic problems that come with the package:

  dast-jax train --config quickstart      a whole run in a minute or two; ends with its report
  dast-jax evaluate --config quickstart --data asset:problems/test_ood.jsonl

For your own model and data, `dast-jax train --config quickstart --print-config` prints a config to start
from, and `dast-jax --help` lists the other commands."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that `argv` (None: the command line) names. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.path.append("")  # the current folder, as with `python -m`: a custom method may be there
    if arguments and arguments[0] in COMMANDS:
        code: int = _module(arguments[0]).main(arguments[1:])
        return code
    return _about(arguments)


@command
def _about(argv: Sequence[str] | None) -> None:
    """Handle everything but subcommands: no arguments, `--help`, `--version`, completion, an unknown name."""
    first, *rest = argv or ("",)
    if not first:
        print(_FIRST_STEPS)
    elif first in ("-h", "--help"):
        print(_help())
    elif first == "--version":
        print("\n".join(f"{name} {version}" for name, version in installed_versions().items()))
    elif first.partition("=")[0] == "--print-completion":
        shell = rest[0] if rest else first.partition("=")[2]
        if shell not in _SHELLS:
            raise UserError(f"--print-completion: expected one of {', '.join(_SHELLS)}, got {shell!r}")
        print(_completion(shell))
    else:
        raise UserError(f"{first}: unknown command{nearest(first, COMMANDS)}")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = ["usage: dast-jax COMMAND [flags] [key=value …]", ""]
    for name in COMMANDS:
        lines.append(f"  {name:{width}}  {_summary(_arguments(name))}")
    lines += [
        "",
        "dast-jax COMMAND --help lists a command's flags and keys; python -m dast_jax.COMMAND does the same.",
        "dast-jax --version prints the versions that results depend on, for reports of bugs.",
        f"dast-jax --print-completion {{{','.join(_SHELLS)}}} prints a completion script for that shell.",
    ]
    return "\n".join(lines)


def _completion(shell: str) -> str:
    import shtab

    parser = argparse.ArgumentParser(prog="dast-jax", allow_abbrev=False)
    parser.add_argument("--print-completion", choices=_SHELLS, help="print a completion script")
    commands = parser.add_subparsers()
    for name in COMMANDS:
        arguments = _arguments(name)
        below = commands.add_parser(name, help=_summary(arguments), add_help=False)
        arguments.add_to(below)
        for action in below._actions:
            if action.nargs is None:  # a flag with a value: most are files
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    script: str = shtab.complete(parser, shell=shell)
    return script


def _arguments(name: str) -> Arguments[object]:
    arguments: Arguments[object] = _module(name).ARGUMENTS
    return arguments


def _summary(arguments: Arguments[object]) -> str:
    """Return the first clause of the command's description."""
    return arguments.description.splitlines()[0].partition(":")[0].rstrip(".")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"dast_jax.{name}")
