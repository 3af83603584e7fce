"""A run is resumed on the model and the queries that it was started with, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dast_jax.assets import resolve_path
from dast_jax.config import load_config
from dast_jax.errors import UserError
from dast_jax.loop.problems import queries_digest
from dast_jax.loop.selftrain import run
from dast_jax.models.digest import model_digest
from dast_jax.records import Query

ROWS = [json.loads(line) for line in resolve_path("asset:problems/train.jsonl").read_text().splitlines()[:16]]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(folder: Path, rounds: int):
    return load_config(
        "quickstart",
        [
            f"run.dir={folder / 'run'}",
            f"run.rounds={rounds}",
            f"model.path={folder / 'model'}",
            f"data.train={folder / 'train.jsonl'}",
            f"evaluation.sets={{test: {folder / 'test.jsonl'}}}",
            "evaluation.length_probe=0",
            "evaluation.probe=0",
            "method={name: sft}",
            "sampling.max_new_tokens=16",
            "sampling.slots=4",
            "training.batch_size=4",
            "training.epochs=1",
            "logging.tensorboard=false",
            "mesh.cpu_data=0",
        ],
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(resolve_path("asset:base_model"), folder / "model")
    write(folder / "train.jsonl", ROWS[:8])
    write(folder / "test.jsonl", ROWS[8:])
    run(config(folder, 0))
    return folder


@pytest.mark.parametrize(
    "change", [lambda r: r[::-1], lambda r: [*r[:-1], {**r[-1], "question": "Q: 1+1=?"}]]
)
@pytest.mark.parametrize(("name", "key"), [("train", "data.train"), ("test", "evaluation.sets.test")])
def test_other_queries_are_refused(started: Path, name: str, key: str, change: Callable[..., list]) -> None:
    file = started / f"{name}.jsonl"
    before = file.read_text()
    write(file, change([json.loads(line) for line in before.splitlines()]))
    try:
        with pytest.raises(UserError, match=rf"^{key}: .*{file.name} does not hold the queries"):
            run(config(started, 1))
    finally:
        file.write_text(before)


def test_another_model_is_refused(started: Path) -> None:
    weights = started / "model" / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=r"^model\.path: the files of .*model are not those"):
            run(config(started, 1))
    finally:
        weights.write_bytes(before)


def test_only_what_a_model_is_read_from_is_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    digests = [model_digest(tmp_path)]
    (tmp_path / "README.md").write_text("about")
    assert model_digest(tmp_path) == digests[0]
    (tmp_path / "tokenizer.json").write_text("{}")
    digests.append(model_digest(tmp_path))
    (tmp_path / "tokenizer.json").rename(tmp_path / "chat_template.jinja")
    digests.append(model_digest(tmp_path))
    digests.append(model_digest(tmp_path / "config.json"))  # as a .gguf file would be
    assert len(set(digests)) == 4


def test_the_same_queries_written_otherwise_are_the_same(started: Path) -> None:
    write(started / "train.jsonl", [dict(reversed(row.items())) for row in ROWS[:8]])
    assert run(config(started, 1)).status == "finished"


def test_every_part_of_a_query_is_in_the_digest() -> None:
    query = Query(id="a", question="b", answer="c", solution="d", level="e", task="math", tags=("f",))
    others = [
        Query(**{**_fields(query), name: value})
        for name, value in (
            ("id", "x"),
            ("question", "x"),
            ("answer", "x"),
            ("solution", None),
            ("level", "x"),
            ("task", "number"),
            ("tags", ()),
        )
    ]
    digests = {queries_digest([query]), queries_digest([query, query])}
    assert len(digests | {queries_digest([other]) for other in others}) == 2 + len(others)


def _fields(query: Query) -> dict[str, object]:
    names = ("id", "question", "answer", "solution", "level", "task", "tags")
    return {name: getattr(query, name) for name in names}
