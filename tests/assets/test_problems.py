"""The embedded problems: schema, answers that follow from their steps, strata, orders, and disjoint sets."""

import ast
import hashlib
import itertools
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
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def read(name: str) -> list[dict[str, str]]:
    lines = (ASSETS / "problems" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def values_of(expression: str) -> list[Fraction]:
    """The values of all operations of an arithmetic expression, by walking Python's syntax tree."""
    values: list[Fraction] = []

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            values.append(OPERATORS[type(node.op)](walk(node.left), walk(node.right)))
            return values[-1]
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return Fraction(node.value)

    last = walk(ast.parse(expression, mode="eval").body)
    return values or [last]


def operations(expression: str) -> int:
    return len(re.findall(r"[-+*/]", expression))


def orders(expression: str) -> int:
    """Orders of reduction, by the hook formula over Python's syntax tree."""
    sizes = [
        sum(isinstance(inner, ast.BinOp) for inner in ast.walk(node))
        for node in ast.walk(ast.parse(expression, mode="eval"))
        if isinstance(node, ast.BinOp)
    ]
    found = Fraction(1)
    for k, size in enumerate(sizes, start=1):
        found *= Fraction(k, size)
    assert found.denominator == 1
    return int(found)


def states_of(row: dict[str, str]) -> list[str]:
    return row["answer"].split("\n####")[0].split(" = ")


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
            assert re.fullmatch(r"[-+*/()\d]+=\?", row["question"]), row
            assert re.search(r"\n#### \d+$", row["answer"]), row


@pytest.mark.parametrize("name", SETS)
def test_every_state_and_the_answer_have_the_value_of_the_question(sets, name):
    """All values are integers from 1 to 999; states lose one operation at a time, or two where short."""
    for row in sets[name]:
        expression = row["question"].removesuffix("=?")
        values = values_of(expression)
        assert all(1 <= value <= 999 and Fraction(value).denominator == 1 for value in values), row
        assert int(row["answer"].split("#### ")[1]) == values[-1], row
        states = states_of(row)
        assert all(values_of(state)[-1] == values[-1] for state in states), row
        left = [operations(state) for state in states]
        n = len(values)
        assert left in (list(range(n))[::-1], [*range(n - 2, 0, -2), 0]), row


def test_no_question_is_in_two_sets_or_twice_in_one(sets):
    seen = [hashlib.sha256(r["question"].encode()).hexdigest() for rows in sets.values() for r in rows]
    assert len(set(seen)) == len(seen)


def test_only_easy_strata_have_short_solutions_and_few(sets):
    for name, rows in sets.items():
        short = Counter(r["level"] for r in rows if len(states_of(r)) < operations(r["question"]))
        assert set(short) <= {"small"}, name
        assert short.total() <= 0.15 * len(rows), name


def bare_products(expression: str) -> int:
    """Products that stand in a sum or difference without parentheses: what parsing without them changes."""
    inner = re.compile(r"\(([^()]*)\)")
    found = 0
    text = f"({expression})"
    while m := inner.search(text):
        product = re.search(r"\*", m[1])
        if product and re.search(r"[-+]", m[1]):
            found += m[1].count("*")
        text = text[: m.start()] + "1" + text[m.end() :]
    return found


def test_only_the_hard_strata_need_precedence(sets):
    for row in sets["train"] + sets["test_in_domain"]:
        wanted = {"bare": 1, "bare-2": 2}.get(row["level"], 0)
        assert bare_products(row["question"].removesuffix("=?")) == wanted, row
        assert "/" not in row["question"], row


def test_many_orders_are_right(sets):
    """Wanted were 12 for the median hard query: here every query has them."""
    for name, rows in sets.items():
        assert min(orders(row["question"].removesuffix("=?")) for row in rows) >= 12, name


def test_solutions_begin_in_all_places(sets):
    """The pilot's mistake was one fixed order: here the first operation is anywhere in the expression."""
    places = []
    for row in sets["train"]:
        question, first = row["question"].removesuffix("=?"), states_of(row)[0]
        same = sum(1 for _ in itertools.takewhile(lambda ab: ab[0] == ab[1], zip(question, first)))  # noqa: B905
        places.append(same / len(question))
    thirds = Counter(min(2, int(3 * place)) for place in places)
    assert min(thirds[k] for k in range(3)) > 0.15 * len(places), thirds


def test_out_of_domain_is_longer_than_the_training_set(sets):
    trained = {operations(row["question"]) for row in sets["train"]}
    assert min(operations(row["question"]) for row in sets["test_ood"]) > max(trained)
    assert {operations(row["question"]) for row in sets["test_in_domain"]} == trained
    assert {row["level"] for row in sets["test_in_domain"]} == {row["level"] for row in sets["train"]}


def test_each_quarter_of_the_training_set_has_the_mix_of_the_whole_set(sets):
    for quarter in range(4):
        some = Counter(row["level"] for row in sets["train"][128 * quarter : 128 * (quarter + 1)])
        for level, count in Counter(row["level"] for row in sets["train"]).items():
            assert abs(some[level] - count / 4) <= 1, level


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

    @pytest.mark.parametrize("size", range(1, 7))
    def test_orders_are_those_that_an_enumeration_finds(self, size):
        """Reduce in every way, one ready operation at a time, and count the ways."""
        from problems import draw_problem

        def ways(text: str) -> int:
            ready = list(re.finditer(r"\((\d+[-+*/]\d+)\)", f"({text})"))
            whole = f"({text})"
            if not operations(text):
                return 1
            return sum(
                ways(
                    (whole[: m.start()] + str(int(values_of(m[1])[-1])) + whole[m.end() :])
                    .removeprefix("(")
                    .removesuffix(")")
                    if m.end() - m.start() < len(whole)
                    else str(int(values_of(m[1])[-1]))
                )
                for m in ready
            )

        rng = random.Random(size)
        for _ in range(5):
            problem = draw_problem(rng, size, 99)
            text = problem.question.removesuffix("=?")
            assert problem.orders == ways(text) == orders(text), text

    def test_pretraining_refuses_the_questions_of_the_sets(self, sets):
        from problems import is_for

        for name, rows in sets.items():
            assert not any(is_for(row["question"], "pretraining") for row in rows), name

    def test_pretraining_documents(self, sets):
        """None holds a question of the sets; few have the rare skills; a short one stays short."""
        from corpus import CorpusOptions, document

        held_out = {row["question"] for rows in sets.values() for row in rows}
        rng = random.Random(0)
        documents = [document(rng, CorpusOptions(mixed=0.0, bare=0.04)) for _ in range(300)]
        several = short = 0
        questions = []
        for d in documents:
            blocks = [
                dict(zip(("question", "answer"), b.removeprefix("Q: ").split("\nA: "), strict=True))
                for b in d.text.split("\n\n")
            ]
            long = [b for b in blocks if operations(b["question"]) > 1]
            questions += [b["question"] for b in blocks]
            kinds = {len(states_of(b)) < operations(b["question"]) for b in long}
            assert len(kinds) <= 1, d.text
            several += len(blocks) > 1
            short += kinds == {True}
            read_only = "".join(d.text[a:b] for a, b in d.untrained)
            assert all(f"Q: {b['question']}\nA:" in read_only for b in blocks)
            hidden = "####" in read_only
            assert hidden or kinds != {True}, d.text
        assert 0.15 < short / several < 0.45
        assert not set(questions) & held_out
        assert 0.02 < sum("/" in q for q in questions) / len(questions) < 0.12
        bare = sum(bare_products(q.removesuffix("=?")) > 0 for q in questions)
        assert 0.01 < bare / len(questions) < 0.05
