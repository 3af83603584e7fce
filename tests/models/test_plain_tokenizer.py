"""A plain tokenizer.json is read without transformers, and as transformers reads it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.assets import ASSETS
from dast_jax.models.plain_tokenizer import PlainTokenizer, open_plain
from dast_jax.models.tokenizer import Tokenizer, load_tokenizer

FOLDER = ASSETS / "base_model"
PLAIN = load_tokenizer(FOLDER)
WHOLE = Tokenizer(
    transformers.PreTrainedTokenizerFast.from_pretrained(
        FOLDER, tokenizer_file=os.fspath(FOLDER / "tokenizer.json")
    )
)


def test_facts_are_those_of_transformers():
    assert isinstance(PLAIN.inner, PlainTokenizer)
    for name in ("eos_ids", "bos_id", "pad_id", "vocab_size", "special_tokens", "has_chat_template"):
        assert getattr(PLAIN, name) == getattr(WHOLE, name), name


@given(
    st.lists(
        st.text(max_size=60) | st.sampled_from(["3+4=?\nA: ", " 12 <|end|> so", "é <|pad|>"]), min_size=1
    )
)
@settings(max_examples=60, deadline=None)
def test_encodes_and_decodes_as_transformers(texts):
    ids = PLAIN.encode_batch(texts)
    assert ids == WHOLE.encode_batch(texts) == [PLAIN.encode(text) for text in texts]
    for row in ids:
        for skip in (True, False):
            assert PLAIN.decode([*row, 0, 1], skip_special=skip) == WHOLE.decode(
                [*row, 0, 1], skip_special=skip
            )


def test_saves_what_transformers_saves(tmp_path):
    PLAIN.save(tmp_path / "a")
    WHOLE.save(tmp_path / "b")
    for file in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"chat_template": "{{ messages }}"},
        {"add_bos_token": True},
        {"tokenizer_class": "LlamaTokenizerFast"},
        {"eos_token": "<|new|>"},
        {"added_tokens_decoder": {}},
    ],
)
def test_anything_more_is_left_to_transformers(tmp_path, change):
    shutil.copytree(FOLDER, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert open_plain(tmp_path / "model") is None


def test_does_not_import_transformers():
    code = (
        "import sys; from dast_jax.models.tokenizer import load_tokenizer; "
        f"load_tokenizer({str(FOLDER)!r}).encode('1+1'); print('transformers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
