"""`dast-jax` and `python -m dast_jax`: subcommands, first steps, completion."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dast_jax
from dast_jax.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: python -m dast_jax.{name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_short_and_lists_every_key_where_asked(name: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    schema = importlib.import_module(f"dast_jax.{name}").ARGUMENTS._schema
    every = [info.key for info in schema.describe({})]
    main([name, "--help"])
    short = capsys.readouterr().out
    main([name, "--help", "all"])
    whole = capsys.readouterr().out
    listed = r"^    (\S+)  \("
    assert re.findall(listed, whole, re.M) == every
    shown = re.findall(listed, short, re.M)
    assert shown == every if len(every) <= 20 else len(shown) <= 10
    assert (f"--help all lists all {len(every)} keys" in short) == (len(every) > 20)
    if name == "train":
        assert len(shown) == 10
        assert len(short.splitlines()) < 60
    for line in (*short.splitlines(), *whole.splitlines()):
        assert len(line) <= 80 or line.startswith(("usage: ", "    ", "Run ", "Self-", "Evaluate ")), line


def test_help_with_a_method_lists_its_keys(capsys) -> None:
    main(["train", "--help", "method.name=adastar"])
    assert "method.exemplars" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "compare"])
def test_a_command_without_arguments_says_what_to_try(name: str, capsys) -> None:
    """What it says works as it is."""
    assert main([name]) == 2
    shown = capsys.readouterr().err
    tried = re.fullmatch(rf"error: nothing to {name}; try python -m dast_jax.{name} (.*), or see .*\n", shown)
    assert tried is not None, shown
    assert tried[1].startswith("--config quickstart")
    assert main([name, *tried[1].split(), "--print-config"]) == 0


def test_commands_are_those_of_the_package() -> None:
    names = [path.stem for path in (ROOT / "dast_jax").glob("*.py") if "ARGUMENTS = " in path.read_text()]
    assert sorted(names) == sorted(COMMANDS)


def test_a_subcommand_is_its_module(capsys) -> None:
    assert main(["train", "--config", "quickstart", "--print-config", "run.seed=3"]) == 0
    printed = capsys.readouterr().out
    assert "seed: 3" in printed
    module = _run("-m", "dast_jax.train", "--config", "quickstart", "--print-config", "run.seed=3")
    package = _run("-m", "dast_jax", "train", "--config", "quickstart", "--print-config", "run.seed=3")
    assert (module.returncode, package.returncode) == (0, 0)
    assert printed == module.stdout == package.stdout


def test_exit_codes_and_messages_are_the_subcommands(tmp_path, capsys) -> None:
    data, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    data.write_text(json.dumps({"reference": "5", "prediction": "5"}) + "\n")
    assert main(["verify", "--data", str(data), "--out", str(out)]) == 0
    assert "1 rows: 1 correct" in capsys.readouterr().out
    assert main(["verify", "--data", str(data)]) == 2
    assert "error: --out: must be given; see python -m dast_jax.verify --help\n" in capsys.readouterr().err


def test_the_entry_point_calls_itself_by_its_own_name(monkeypatch, capsys) -> None:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["dast-jax"]
    module, _, function = script.partition(":")
    entry = getattr(importlib.import_module(module), function)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dast-jax", "sample", "--help"])
    assert entry() == 0
    assert "usage: dast-jax sample " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dast-jax", "sample"])
    assert entry() == 2
    assert "see dast-jax sample --help" in capsys.readouterr().err


def test_without_arguments_it_says_what_to_try_first(capsys) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 12
    tried = re.findall(r"dast-jax ([a-z].*?)(?:`|  |\n)", shown)
    assert len(tried) == 3
    for line in tried:
        assert main([*line.split(), "--print-config"]) == 0, line  # its flags, files and keys exist
    assert "dast-jax --help" in shown


def test_help_lists_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]", shown, re.M), name


def test_version_names_the_packages_that_results_depend_on(capsys) -> None:
    assert main(["--version"]) == 0
    versions = dict(line.split(" ") for line in capsys.readouterr().out.splitlines())
    assert versions["dast_jax"] == dast_jax.__version__
    assert versions["jax"] == importlib.metadata.version("jax")
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "error: trian: unknown command; did you mean train?\n"),
        (["xyzzy"], "error: xyzzy: unknown command; known are train, sample, verify,"),
        (["--print-completion", "fish"], "error: --print-completion: expected one of bash, zsh, tcsh, got"),
        (["--print-completion"], "error: --print-completion: expected one of bash, zsh, tcsh, got ''"),
    ],
)
def test_what_is_unknown_is_refused(argv: list[str], message: str, capsys) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith(message)


def test_help_loads_no_jax() -> None:
    code = (
        "import sys\nfrom dast_jax.cli.main import main\n"
        "for argv in ([], ['--help'], ['train', '--help'], ['sample', '--help']): main(argv)\n"
        "print([m for m in ('jax', 'flax', 'transformers') if m in sys.modules])"
    )
    done = _run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ag"], {"agreement"}),
        (["sample", "--mo"], {"--model"}),
        (["train", "--pr"], {"--print-config"}),
        (["export", "--"], {"--run", "--out", "--push", "--config", "--print-config", "--help"}),
    ],
)
def test_bash_completes_commands_and_flags(words: list[str], expected: set[str], tmp_path, capsys) -> None:
    assert main(["--print-completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    line = " ".join(["dast-jax", *words])
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        '_shtab_dast_jax; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=20)
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_every_flag(shell: str, capsys) -> None:
    assert main([f"--print-completion={shell}"]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, "print-config", "model", "quick"):
        assert word in script
