"""The embedded problems: schema, answers that follow from their steps, levels, and disjoint sets."""

import ast
import hashlib
import json
import operator
import random
import re
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

import dast_jax

ASSETS = Path(dast_jax.__file__).parent / "assets"
SCRIPTS = Path(__file__).parents[2] / "launch" / "make_assets"
SETS = ("train", "test_in_domain", "test_ood")
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def read(name: str) -> list[dict[str, str]]:
    lines = (ASSETS / "problems" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def evaluate(expression: str) -> Fraction:
    """The value of an arithmetic expression, by walking Python's syntax tree."""

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return Fraction(node.value)

    return walk(ast.parse(expression, mode="eval").body)


def inner_values(expression: str) -> list[Fraction]:
    """The value of every operation, innermost first (each has one inner operation at most)."""
    values = []
    node = ast.parse(expression, mode="eval").body
    while isinstance(node, ast.BinOp):
        values.append(evaluate(ast.unparse(node)))
        node = node.left if isinstance(node.left, ast.BinOp) else node.right
    return values[::-1]


def steps_of(answer: str) -> list[str]:
    body = answer.split("\n####")[0].removesuffix(".")
    body = re.sub(r"^(so|thus|left|get|first) ", "", body)
    return re.split(r" = |; | -> |, ", body)


@pytest.fixture(scope="module")
def sets() -> dict[str, list[dict[str, str]]]:
    return {name: read(name) for name in SETS}


def test_sizes_and_schema(sets):
    assert len(sets["train"]) == 512
    assert len(sets["test_in_domain"]) >= 500
    assert len(sets["test_ood"]) >= 500
    for name, rows in sets.items():
        assert len({row["id"] for row in rows}) == len(rows)
        for row in rows:
            assert set(row) == {"id", "question", "answer", "level"}, (name, row)
            assert re.fullmatch(r"[-+*()\d]+=\?", row["question"]), row
            assert re.search(r"\n#### \d+$", row["answer"]), row


@pytest.mark.parametrize("name", SETS)
def test_every_step_and_the_answer_have_the_value_of_the_question(sets, name):
    for row in sets[name]:
        expression = row["question"].removesuffix("=?")
        values = inner_values(expression)
        assert all(1 <= value <= 99 and value.denominator == 1 for value in values), row
        assert int(row["level"]) == len(values) == len(re.findall(r"[-+*]", expression)), row
        assert Fraction(row["answer"].split("#### ")[1]) == values[-1] == evaluate(expression), row
        steps = steps_of(row["answer"])
        if row["answer"].startswith(("so", "thus", "left")):
            assert [evaluate(step) for step in steps] == [values[-1]] * len(values), row
            assert [len(inner_values(step)) for step in steps] == list(range(len(values)))[::-1], row
        else:
            written = [*values[1:-1:2], values[-1]]
            assert [Fraction(step) for step in steps] == written, row


def test_no_question_is_in_two_sets_or_twice_in_one(sets):
    seen = [hashlib.sha256(r["question"].encode()).hexdigest() for rows in sets.values() for r in rows]
    assert len(set(seen)) == len(seen)


def test_both_styles_at_every_level(sets):
    for name, rows in sets.items():
        for level in {row["level"] for row in rows}:
            answers = [row["answer"] for row in rows if row["level"] == level]
            detailed = sum(a.startswith(("so", "thus", "left")) for a in answers)
            assert abs(detailed - len(answers) / 2) <= (2 if name == "test_ood" else 1), (name, level)


def test_out_of_domain_is_longer_than_the_training_set(sets):
    def nested_right(row):
        return bool(re.search(r"[-+*]\(", row["question"]))

    for form in (False, True):
        trained = {int(row["level"]) for row in sets["train"] if nested_right(row) == form}
        tested = {int(row["level"]) for row in sets["test_ood"] if nested_right(row) == form}
        assert min(tested) > max(trained), form
        assert {int(r["level"]) for r in sets["test_in_domain"] if nested_right(r) == form} == trained


def test_half_of_the_training_set_has_the_mix_of_the_whole_set(sets):
    half = Counter(row["level"] for row in sets["train"][:256])
    for level, count in Counter(row["level"] for row in sets["train"]).items():
        assert abs(half[level] - count / 2) <= 4, level


class TestGenerator:
    @pytest.fixture(autouse=True)
    def scripts(self, monkeypatch):
        if not SCRIPTS.is_dir():
            pytest.skip("launch/make_assets is not next to the tests")
        monkeypatch.syspath_prepend(str(SCRIPTS))
        yield
        for name in ("problems", "corpus", "tokenizer", "generate"):
            sys.modules.pop(name, None)

    def test_writes_the_committed_files(self, tmp_path):
        from problems import write_sets

        write_sets(tmp_path)
        for name in SETS:
            committed = (ASSETS / "problems" / f"{name}.jsonl").read_bytes()
            assert (tmp_path / f"{name}.jsonl").read_bytes() == committed, name

    def test_pretraining_refuses_the_questions_of_the_sets(self, sets):
        from problems import is_for

        for name, rows in sets.items():
            assert not any(is_for(row["question"], "pretraining") for row in rows), name

    def test_no_pretraining_document_holds_a_question_of_the_sets(self, sets):
        from corpus import CorpusOptions, document

        held_out = {row["question"] for rows in sets.values() for row in rows}
        rng = random.Random(0)
        texts = [document(rng, CorpusOptions()) for _ in range(2000)]
        questions = {q for text in texts for q in re.findall(r"Q: (.*)", text)}
        assert len(questions) > 4000
        assert not questions & held_out
