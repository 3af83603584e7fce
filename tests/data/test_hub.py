"""Hub data sets in folders that `datasets` treats as repositories, so that its real code runs offline."""

import json
import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.errors import UserError

IMAGE = bytes.fromhex("89504e470d0a1a0a0000000d49484452")  # the beginning of one: nothing may decode it


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    logging.getLogger("datasets").setLevel(logging.ERROR)


def put_rows(path, rows, features=None):
    """Rows as JSONL, or with features as the Parquet file that `datasets` writes, their names in it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if features is None:
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(path)


def put(path, *questions):
    put_rows(path, [{"question": question, "answer": "1"} for question in questions])


def questions(source, **options):
    return [q.question for q in load_queries(source, options=DataOptions(train=source, **options))]


def message(source, **options):
    with pytest.raises(UserError) as error:
        questions(source, **options)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(source)
    return str(error.value)


def with_subsets(name):
    """A repository of two subsets, a and b, of which b has no training split, and a folder next to them."""
    put(f"{name}/a_train.jsonl", "a train")
    put(f"{name}/a_test.jsonl", "a test")
    put(f"{name}/b_test.jsonl", "b test")
    put(f"{name}/more/test.jsonl", "more test")
    Path(f"{name}/README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: train, path: a_train.jsonl}\n"
        "  - {split: test, path: a_test.jsonl}\n- config_name: b\n  data_files:\n"
        "  - {split: test, path: b_test.jsonl}\n---\n"
    )


def test_a_part_alone_is_a_subset_or_else_a_split():
    put("owner/one/test.jsonl", "one test")
    assert questions("owner/one:test") == questions("owner/one::test") == ["one test"]
    with_subsets("owner/two")
    assert questions("owner/two:a") == ["a train"]
    assert questions("owner/two:b:test") == ["b test"]
    assert "Unknown split" in message("owner/two:b")  # a subset, and so not tried as anything else
    assert "no subset, split or folder test; its subsets are a, b" in message("owner/two:test")


def test_a_subset_of_that_name_comes_before_the_split():
    put("owner/name/train.jsonl", "train")
    put("owner/name/x.jsonl", "subset test, split train")
    Path("owner/name/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: test, path: train.jsonl}\n"
        "- config_name: test\n  data_files:\n  - {split: train, path: x.jsonl}\n---\n"
    )
    assert questions("owner/name:test") == ["subset test, split train"]
    assert questions("owner/name::test") == ["train"]


def test_what_is_no_subset_is_tried_as_a_folder():
    for language in ("EN", "CN"):
        for split in ("train", "test"):
            put(f"owner/name/NAME-{language}/{split}.jsonl", f"{language} {split}")
    assert questions("owner/name:NAME-EN:test") == ["EN test"]
    assert questions("owner/name:NAME-EN") == ["EN train"]
    assert "Unknown split" in message("owner/name:NAME-EN:validation")
    assert "no subset or folder NAME-FR; its subsets are default" in message("owner/name:NAME-FR:test")
    with_subsets("owner/two")
    assert questions("owner/two:more:test") == ["more test"]


def test_folders_of_the_parquet_conversion_and_revisions():
    for part in ("algebra", "calculus"):
        put(f"owner/name/{part}/test/0000.jsonl", f"{part} test")
    assert questions("owner/name@refs/convert/parquet:algebra:test") == ["algebra test"]


def test_images_are_not_decoded():
    text = datasets.Value("string")
    row = {"Question": "q", "Answer": "5", "Answer_type": "integer"}
    rows = [
        {**row, "Picture": None, "more": []},
        {**row, "Picture": {"bytes": IMAGE, "path": "a.png"}, "more": [{"bytes": IMAGE, "path": "b.png"}]},
    ]
    features = dict.fromkeys(row, text) | {
        "Picture": datasets.Image(),
        "more": datasets.Sequence(datasets.Image()),
    }
    # `datasets` writes no images without Pillow, and so this file is written by hand.
    Path("owner/name").mkdir(parents=True)
    schema = datasets.Features(features).arrow_schema
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), "owner/name/train.parquet")
    queries = load_queries("owner/name::train", options=DataOptions(train="x"))
    assert [(q.answer, q.tags) for q in queries] == [("5", ()), ("5", ("picture",))]


def test_columns_of_several_types_are_still_decoded():
    with_types = [{"question": "a", "answer": 1}, {"question": "b", "answer": "x"}]
    put_rows("owner/name/train.jsonl", with_types)
    queries = load_queries("owner/name::train", options=DataOptions(train="x"))
    assert [q.answer for q in queries] == ["1", "x"]


@pytest.mark.parametrize("source", ["owner/name::train", "owner/name/train.parquet"])
def test_class_numbers_are_replaced_by_names(source):
    rows = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]
    label = datasets.ClassLabel(names=["neg", "pos"])
    put_rows("owner/name/train.parquet", rows, {"text": datasets.Value("string"), "label": label})
    options = DataOptions(train=source, columns={"question": "text", "answer": "label"}, task="label")
    assert [q.answer for q in load_queries(source, options=options)] == ["pos", "neg"]


def test_class_numbers_of_anli_keep_its_own_reading():
    features = dict.fromkeys(("premise", "hypothesis"), datasets.Value("string"))
    features["label"] = datasets.ClassLabel(names=["e", "n", "c"])
    rows = [{"premise": "p", "hypothesis": "h", "label": 2}]
    put_rows("anli.parquet", rows, features)
    (query,) = load_queries("anli.parquet", options=DataOptions(train="x"))
    assert query.answer == "contradiction"
