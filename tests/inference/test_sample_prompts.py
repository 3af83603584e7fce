"""`python -m dast_jax.sample`: rows in, rows out, and errors for bad input."""

from __future__ import annotations

import json

import pytest

from dast_jax import sample
from dast_jax.inference.options import SampleOptions
from dast_jax.inference.sample_prompts import sample_prompts
from dast_jax.models.options import ModelOptions
from dast_jax.sampling.options import SamplingOptions

SETTINGS = [
    "sampling.temperature=0",
    "sampling.max_new_tokens=6",
    "sampling.prompt_buckets=[16]",
    "sampling.slots=4",
    "sampling.prefill_batch=2",
    "sampling.tick_steps=3",
]


def call(folder, data, out, *more):
    return sample.main(["--model", str(folder), "--data", str(data), "--out", str(out), *SETTINGS, *more])


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_row_per_trial_in_order(folder, tmp_path):
    import tiny_llama

    rows = [
        {"id": "first", "prompt": "2+2="},
        {"prompt": "hello"},
        {"id": 7, "messages": [{"role": "user", "content": "hi"}]},
        {"prompt": "u:hi|a:"},
    ]
    out = tmp_path / "out.jsonl"
    assert call(folder, write(tmp_path / "in.jsonl", *rows), out, "sampling.trials=2") == 0
    found = read(out)
    assert [(r["id"], r["trial"]) for r in found] == [(i, t) for i in ("first", 2, 7, 4) for t in range(2)]
    assert [list(r) for r in found] == [["id", "trial", "text", "tokens", "logprob", "finish_reason"]] * 8
    for r in found:
        assert 1 <= len(r["tokens"]) <= 6
        assert r["logprob"] < 0
        assert r["finish_reason"] == ("eos" if r["tokens"][-1] in tiny_llama.EOS else "length")
    assert found[0]["tokens"] == found[1]["tokens"], "greedy"
    assert found[4]["tokens"] == found[6]["tokens"], "messages go through the chat template"


def test_parquet_in_and_out(folder, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": ["a", "b"], "prompt": ["2+2=", "hello"]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert call(folder, tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    rows = [{"id": "a", "prompt": "2+2="}, {"id": "b", "prompt": "hello"}]
    assert call(folder, write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl") == 0
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == read(tmp_path / "out.jsonl")


def test_overlong_prompts_are_named_and_skipped(folder, tmp_path, capsys):
    prompts = ["abc", "x" * 17, "def", "y" * 16]
    data = write(tmp_path / "in.jsonl", *({"prompt": p} for p in prompts))
    settings = ["sampling.temperature=1", "sampling.trials=3"]
    assert call(folder, data, tmp_path / "out.jsonl", *settings) == 0
    assert "row 2 has a prompt longer than the limit" in capsys.readouterr().err
    found = read(tmp_path / "out.jsonl")
    assert [r["id"] for r in found] == [1, 1, 1, 3, 3, 3, 4, 4, 4]
    prompts[1] = "x"  # the others' noise does not depend on whether row 2 was skipped
    data = write(tmp_path / "in.jsonl", *({"prompt": p} for p in prompts))
    assert call(folder, data, tmp_path / "all.jsonl", *settings) == 0
    assert [r for r in read(tmp_path / "all.jsonl") if r["id"] != 2] == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such data file"),
        ("", "is empty"),
        ("not json\n", "row 1: is not JSON"),
        ('{"prompt": "a"}\n' + '{"question": "b"}\n' * 7, "7 rows (2, 3, 4, 5, 6 and 2 more) have no prompt"),
        ('{"prompt": ""}\n', "row 1 has no prompt"),
        ('{"messages": [{"role": "user"}]}\n', "row 1 has no prompt"),
        ('{"prompt": "' + "x" * 40 + '"}\n', "no prompt is left; row 1 has a prompt longer than the limit"),
    ],
)
def test_bad_input_gets_one_sentence(folder, tmp_path, capsys, content, message):
    data, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    if content is not None:
        data.write_text(content)
    assert call(folder, data, out) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(err) == 1
    assert message in err[0]
    assert str(data) in err[0]
    assert not out.exists()


def test_missing_model_is_named(tmp_path, capsys):
    data = write(tmp_path / "in.jsonl", {"prompt": "a"})
    assert call(tmp_path / "nowhere", data, tmp_path / "out.jsonl") == 2
    assert "nowhere" in capsys.readouterr().err


def test_texts_and_chats_from_python(folder):
    options = SampleOptions(
        model=ModelOptions(path=str(folder)),
        sampling=SamplingOptions(
            temperature=0, trials=2, max_new_tokens=6, prompt_buckets=(16,), slots=4, tick_steps=3
        ),
    )
    chat = [{"role": "user", "content": "hi"}]
    found = sample_prompts(["u:hi|a:", "x" * 17, chat], options)
    assert [(r.id, r.trial) for r in found.responses] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert [prompt.row for prompt in found.skipped] == [2]
    assert found.responses[0].tokens == found.responses[2].tokens
    assert found.new_tokens == sum(len(r.tokens) for r in found.responses)


def test_compilation_is_shown_once_for_each_program(folder):
    sampling = SamplingOptions(max_new_tokens=6, prompt_buckets=(16, 32), slots=4, tick_steps=3)
    options = SampleOptions(model=ModelOptions(path=str(folder)), sampling=sampling)
    shown: list[str] = []
    sample_prompts(["2+2=", "hello"], options, on_progress=lambda event: shown.append(event.info))
    compiling = [text for text in shown if "compiling" in text]
    assert compiling == [f"compiling sampler ({i} of 4)" for i in (1, 2, 3)]
    assert shown[-1] == ""
