"""The documentation does what it says: its commands parse, its code and its small examples run."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dast_jax import verify
from dast_jax.cli.arguments import OutputShown
from dast_jax.config import config_dict, load_config
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.options import dump_yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:python -m dast_jax\.|dast-jax )(\w+)( .*)?")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language; a shell session has none or `sh`."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Name and arguments of every command of this package in the page's blocks, but for synopses."""
    for language in ("sh", ""):
        for block in blocks(page, language):
            for line in block.replace("\\\n", " ").splitlines():
                found = COMMAND.fullmatch(line.removeprefix("$ ").strip())
                if found and "[--" not in line:
                    yield found[1], (found[2] or "").partition(" #")[0]


def named_files(page: Path, folder: Path) -> list[str]:
    """Write the blocks whose first line is a comment with a file's name into `folder`; returns the names."""
    names = []
    for language in ("yaml", "python"):
        for block in blocks(page, language):
            if head := re.match(r"# ([\w/]+\.(?:yaml|py))\b", block):
                (folder / head[1]).write_text(block, encoding="utf-8")
                names.append(head[1])
    return names


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder that modules can be imported from, without traces in later tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith("dast_jax"):
            del sys.modules[name]


COMMANDS = [
    pytest.param(page, name, arguments, id=f"{page.stem}: {name} {arguments.strip()[:60]}")
    for page in PAGES
    for name, arguments in commands(page)
    if "my_methods" not in arguments  # tests/methods/test_custom_method.py runs these
]


def test_commands_are_found() -> None:
    pages = {param.values[0].stem for param in COMMANDS}
    assert {"README", "laptop", "own_model", "large_model", "recipes", "extending"} <= pages
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("page", "name", "arguments"), COMMANDS)
def test_a_command_parses(page: Path, name: str, arguments: str, here: Path, capsys) -> None:
    """With every key and value; files of the reader's own need not exist, except configs."""
    named_files(page, here)
    named_files(DOCS / "tutorials" / "own_model.md", here)  # mine.yaml, which other pages use too
    for run in re.findall(r"--run (\S+)", arguments):
        (here / run).mkdir(parents=True, exist_ok=True)
        (here / run / "config.yaml").write_text(dump_yaml(config_dict(load_config("mine.yaml"))))
    module = importlib.import_module(f"dast_jax.{name}")
    if not hasattr(module, "ARGUMENTS"):
        pytest.skip(f"dast_jax.{name} is no command")
    try:
        module.ARGUMENTS.parse(shlex.split(arguments))
    except OutputShown:
        assert len(capsys.readouterr().out) > 100


def test_the_verifiers_of_the_pages_judge_as_they_say(here: Path, capsys) -> None:
    page = DOCS / "extending.md"
    assert set(named_files(page, here)) == {"my_checks.py", "factors.yaml"}
    rows, _ = blocks(page, "json")
    (here / "pairs.jsonl").write_text(rows)
    (arguments,) = [arguments for name, arguments in commands(page) if name == "verify"]
    assert verify.main(shlex.split(arguments)) == 0
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("3 rows: 1 correct, 1 incorrect, 1 no_answer")
    assert f"`{printed}`" in page.read_text().replace("\n", " ")
    named_files(DOCS / "tasks.md", here)
    same_words = importlib.reload(importlib.import_module("my_checks")).same_words
    assert same_words("a b", "b a") is True
    assert same_words("a b", "b") is False


def test_a_task_of_your_own_is_read(here: Path) -> None:
    page = DOCS / "extending.md"
    named_files(page, here)
    (here / "factors.jsonl").write_text(blocks(page, "json")[1])
    config = load_config("factors.yaml")
    first, second = load_queries(config.data.train, options=config.data, functions=config.verifier.functions)
    assert (first.task, first.answer, second.answer) == ("factors", "2 * 3 * 7", "3 * 3 * 5")
    assert first.question == "What is 42 as a product of primes?"


def test_the_data_of_the_tutorial_is_read_and_verified(here: Path, capsys) -> None:
    page = DOCS / "tutorials" / "own_model.md"
    queries, pairs = blocks(page, "json")
    (here / "train.jsonl").write_text(queries)
    found = load_queries("train.jsonl", options=DataOptions(train="train.jsonl"))
    assert [(q.id, q.answer) for q in found] == [("p-1", "80"), ("p-2", "100")]
    assert all(q.solution for q in found)
    (here / "pairs.jsonl").write_text(pairs)
    assert verify.main(["--data", "pairs.jsonl", "--out", "verdicts.jsonl"]) == 0
    verdicts = [json.loads(line)["verdict"] for line in (here / "verdicts.jsonl").read_text().splitlines()]
    assert verdicts == ["correct", "no_answer"]
