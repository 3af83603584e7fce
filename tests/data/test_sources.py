import json
import logging
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError

SAMPLE = Path(__file__).parent / "gsm8k_sample.jsonl"
SHARED = Path(__file__).parents[3] / "shared" / "data"
OPTIONS = DataOptions(train="unused")


def load(source, **options):
    return load_queries(str(source), options=DataOptions(train=str(source), **options))


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows(n, **more):
    return [{"question": f"What is {i}?", "answer": str(i), **more} for i in range(n)]


def message(source, **options):
    with pytest.raises(UserError) as error:
        load(source, **options)
    text = str(error.value)
    assert "\n" not in text
    assert str(source) in text
    return text


# --- good data ---


def test_gsm8k_sample():
    queries = load(SAMPLE)
    assert len(queries) == 20
    first = queries[0]
    assert first.answer == "72"
    assert first.solution == (
        "Natalia sold 48/2 = 24 clips in May.\n"
        "Natalia sold 48+24 = 72 clips altogether in April and May.\n#### 72"
    )
    assert (first.id, first.source) == ("gsm8k_sample-1", f"{SAMPLE} row 1")
    assert "<<48/2=24>>" in load(SAMPLE, strip_annotations=False)[0].solution
    assert len({q.id for q in queries}) == 20


def test_every_format_gives_the_same_queries(tmp_path):
    data = [
        {"question": 'a "quoted"\nquestion, é', "answer": "1", "solution": "one", "level": "easy"},
        {"question": "b", "answer": "2", "solution": "two", "level": "hard"},
    ]
    write_jsonl(tmp_path / "d.jsonl", data)
    (tmp_path / "d.json").write_text(json.dumps(data), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(data), tmp_path / "d.parquet")
    (tmp_path / "d.csv").write_text(
        'question,answer,solution,level\n"a ""quoted""\nquestion, é",1,one,easy\nb,2,two,hard\n',
        encoding="utf-8",
    )
    found = {}
    for suffix in ("jsonl", "json", "parquet", "csv"):
        queries = load(tmp_path / f"d.{suffix}")
        found[suffix] = [(q.id, q.question, q.answer, q.solution, q.level, q.task) for q in queries]
    assert found["jsonl"][0] == ("d-1", 'a "quoted"\nquestion, é', "1", "one", "easy", "math")
    assert all(value == found["jsonl"] for value in found.values())


def test_blank_lines_bom_and_line_separators_do_not_shift_rows(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(
        '\ufeff{"question": "a\u2028b", "answer": "1"}\r\n\r\n{"question": "c", "answer": 2}\r\n',
        encoding="utf-8",
    )
    assert [(q.id, q.question, q.answer) for q in load(path)] == [("d-1", "a\u2028b", "1"), ("d-3", "c", "2")]


def test_optional_columns(tmp_path):
    data = [
        {"id": 7, "question": "a", "answer": "x\n#### 1", "steps": 3, "task": "number"},
        {"id": 8, "question": "b", "answer": "y\n#### 2", "steps": 2, "level": "easy"},
        {"id": None, "question": "c", "answer": "#### 3"},
    ]
    a, b, c = load(write_jsonl(tmp_path / "d.jsonl", data))
    assert (a.id, a.level, a.task) == ("7", "steps 3", "number")
    assert (b.id, b.level, b.task) == ("8", "easy", "math")
    assert (c.id, c.level, c.answer, c.solution) == ("d-3", None, "3", None)


def test_limit_and_seeded_subset(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", rows(50))
    ids = [q.id for q in load(path)]
    assert [q.id for q in load(path, limit=5)] == ids[:5]
    drawn = [q.id for q in load(path, limit=5, subset_seed=1)]
    assert drawn == [q.id for q in load(path, limit=5, subset_seed=1)]
    assert drawn != ids[:5]
    assert drawn == sorted(drawn, key=ids.index)
    assert drawn != [q.id for q in load(path, limit=5, subset_seed=2)]
    assert [q.id for q in load(path, limit=99, subset_seed=1)] == ids


def test_evaluation_options_read_by_columns_and_from_the_start():
    options = DataOptions(train="x", schema="math", limit=3, subset_seed=1).for_evaluation(limit=2)
    assert [q.id for q in load_queries(str(SAMPLE), options=options)] == ["gsm8k_sample-1", "gsm8k_sample-2"]


def test_hub_id_with_subset_and_split(tmp_path, monkeypatch):
    # `datasets` takes a folder of that name before it asks the hub, so this runs its real code offline.
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    for split, n in (("train", 4), ("test", 3)):
        write_jsonl(folder / f"{split}.jsonl", rows(n))
        write_jsonl(folder / f"other_{split}.jsonl", rows(n + 10))
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: main\n  data_files:\n  - {split: train, path: train.jsonl}\n"
        "  - {split: test, path: test.jsonl}\n"
        "- config_name: other\n  data_files:\n  - {split: train, path: other_train.jsonl}\n"
        "  - {split: test, path: other_test.jsonl}\n---\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    logging.getLogger("datasets").setLevel(logging.ERROR)
    # The folder itself must not be taken for a data file.
    assert len(load("owner/name:main:test")) == 3
    queries = load("owner/name:other")
    assert len(queries) == 14
    assert (queries[2].id, queries[2].source) == ("name-3", "owner/name:other row 3")
    assert "nosplit" in message("owner/name:main:nosplit")


# --- bad data ---


def test_missing_file(tmp_path):
    assert "no such data file" in message(tmp_path / "nothing.jsonl")
    assert "no such data file" in message("some/nothing.jsonl")
    assert "no such asset" in message("asset:nothing.jsonl")
    assert "is a folder" in message(tmp_path)


def test_hub_set_that_cannot_be_reached():
    assert "hub data set cannot be loaded" in message("nobody-here/no-such-data-set:main")


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.parquet"])
def test_empty(tmp_path, name):
    path = tmp_path / name
    if name == "d.parquet":
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), path)
    else:
        path.write_text("")
    assert "is empty" in message(path)


def test_not_jsonl(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "a", "answer": "1"}\nquestion,answer\n')
    assert f"{path} row 2: is not JSON" in message(path)
    path.write_text('[{"question": "a", "answer": "1"}]\n')
    assert "row 1: is not a JSON object" in message(path)
    path.write_text("[" * 100_000)
    assert "row 1: is not JSON" in message(path)


def test_unreadable(tmp_path):
    for suffix in ("json", "parquet"):
        (tmp_path / f"d.{suffix}").write_text("{broken")
        assert f"is not readable as {suffix}" in message(tmp_path / f"d.{suffix}")
    (tmp_path / "d.json").write_text('{"question": "a"}')
    assert "a list of rows" in message(tmp_path / "d.json")
    (tmp_path / "d.txt").write_text("a")
    assert "unknown kind of data file" in message(tmp_path / "d.txt")
    (tmp_path / "d.jsonl").write_bytes(b'{"question": "\xff"}')
    assert "not UTF-8" in message(tmp_path / "d.jsonl")


def test_rows_that_lack_question_or_answer_are_numbered(tmp_path):
    data = rows(12)
    for i, bad in ((1, {"answer": "1"}), (4, {"question": "a"}), (6, {"question": " ", "answer": "1"})):
        data[i] = bad
    text = message(write_jsonl(tmp_path / "d.jsonl", data))
    assert "rows 2, 5, 7 have no question or no answer" in text
    for i in (8, 9, 10, 11):
        data[i]["answer"] = None
    assert "rows 2, 5, 7, 9, 10 and 2 more have" in message(write_jsonl(tmp_path / "d.jsonl", data))


def test_lacking_answers_by_schema(tmp_path):
    gsm8k = [{"question": "a", "answer": "s #### 1"}, {"question": "b", "answer": "no marker"}]
    assert "row 2 has no question or no answer (read as gsm8k)" in message(
        write_jsonl(tmp_path / "g.jsonl", gsm8k)
    )
    math = [{"problem": "a", "solution": "s"}, {"problem": "b", "solution": r"\boxed{2}"}]
    assert "row 1 has no question or no answer (read as math)" in message(
        write_jsonl(tmp_path / "m.jsonl", math)
    )
    questions = [{"question": "a"}, {"question": "b"}]
    assert "rows 1, 2 have no question or no answer" in message(write_jsonl(tmp_path / "q.jsonl", questions))


def test_unknown_columns_are_named(tmp_path):
    text = message(write_jsonl(tmp_path / "d.jsonl", [{"prompt": "a", "target": "b"}]))
    assert "prompt, target" in text


def test_duplicate_ids_are_named(tmp_path):
    data = rows(4)
    data[1]["id"] = data[3]["id"] = "same"
    assert re.search(
        r"rows 2 and 4 have the same id 'same'", message(write_jsonl(tmp_path / "d.jsonl", data))
    )


# --- the real thing ---


@pytest.mark.parametrize(
    ("name", "count"), [("gsm8k/train.jsonl", 7473), ("gsm8k/test.jsonl", 1319), ("math/test.jsonl", 5000)]
)
def test_real_sets_parse_without_a_lost_row(name, count):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not at ../shared/data next to the repository (real sets are not shipped)")
    queries = load(path)
    assert len(queries) == count
    assert all(q.answer and q.solution and "<<" not in q.solution for q in queries)
    if name.startswith("math"):
        assert {q.level for q in queries} == {f"Level {i}" for i in range(1, 6)}
        joined = [q.answer for q in queries if q.answer not in q.solution]
        assert len(joined) == 8  # whose answers are boxed one by one
        assert all(
            f"{{{part.strip()}" in re.sub(r"\{ ", "{", q.solution)
            for q in queries
            if q.answer in joined
            for part in q.answer.split(",")
        )
    else:
        assert all(re.fullmatch(r"-?[\d,]*\.?\d+", q.answer) for q in queries)
        assert all(q.solution.endswith(f"#### {q.answer}") for q in queries)
