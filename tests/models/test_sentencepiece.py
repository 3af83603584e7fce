"""Folders with only `tokenizer.model`, against SentencePiece's rule: join the pair with the best score."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import write_folder
from reference.llama_cases import hf_config, weights
from transformers.utils import sentencepiece_model_pb2_new as protocol

from dast_jax.errors import UserError
from dast_jax.models.load import load_model
from dast_jax.models.tokenizer import load_tokenizer

WORDS = ("▁a", "ab", "▁ab", "ba", "aba", "▁b", "b▁", "é")
PIECES = (
    ("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3),
    *((f"<0x{i:02X}>", 0.0, 6) for i in range(256)),
    *((piece, -10.0 - i, 1) for i, piece in enumerate("▁abé\n")),
    *((piece, -1.0 - i, 1) for i, piece in enumerate(WORDS[:7])),
)  # fmt: skip
IDS = {piece: i for i, (piece, _, _) in enumerate(PIECES)}
SCORES = {piece: score for piece, score, kind in PIECES if kind == 1}


def model(**changes) -> bytes:
    made = protocol.ModelProto()
    for piece, score, kind in PIECES:
        made.pieces.add(piece=piece, score=score, type=kind)
    made.trainer_spec.model_type = changes.get("model_type", 2)
    made.trainer_spec.byte_fallback = True
    made.trainer_spec.unk_id, made.trainer_spec.bos_id, made.trainer_spec.eos_id = 0, 1, 2
    made.normalizer_spec.add_dummy_prefix = True
    made.normalizer_spec.remove_extra_whitespaces = changes.get("remove_extra_whitespaces", False)
    return made.SerializeToString()


def folder(path, data=None, **config):
    path.mkdir(exist_ok=True)
    (path / "tokenizer.model").write_bytes(model() if data is None else data)
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(folder(tmp_path_factory.mktemp("spm"), bos_token="<s>", eos_token="</s>"))


def by_rule(text):
    parts = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = enumerate(itertools.pairwise(parts))
        joined = [(SCORES[a + b], -i) for i, (a, b) in pairs if a + b in SCORES]
        if not joined:
            break
        at = -max(joined)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    bytes_of = {part: [IDS[f"<0x{byte:02X}>"] for byte in part.encode()] for part in parts}
    return [id for part in parts for id in ([IDS[part]] if part in IDS else bytes_of[part])]


@settings(max_examples=300, deadline=None)
@given(st.text("ab é\nz日", min_size=1, max_size=12))
def test_texts_are_split_by_the_rule_and_come_back(tokenizer, text):
    assert tokenizer.encode(text) == by_rule(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_and_saving(tokenizer, tmp_path):
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.vocab_size) == (1, (2,), len(PIECES))
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.bos_id, again.eos_ids) == (1, (2,))
    assert again.encode("ab aba\n日") == tokenizer.encode("ab aba\n日")


def test_added_tokens_keep_their_ids(tmp_path):
    n = len(PIECES)
    added = {str(n): {"content": "<pad>", "special": True}, "1": {"content": "<s>", "special": True}}
    read = load_tokenizer(folder(tmp_path / "a", pad_token="<pad>", added_tokens_decoder=added))
    assert (read.pad_id, read.vocab_size) == (n, n + 1)
    wrong = {str(n + 5): {"content": "<pad>", "special": True}}
    with pytest.raises(UserError, match=f"has the id {n + 5}"):
        load_tokenizer(folder(tmp_path / "b", added_tokens_decoder=wrong))
    with pytest.raises(UserError, match="eos_token is '<end>'"):
        load_tokenizer(folder(tmp_path / "c", eos_token="<end>"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "without pieces"),
        (b"\xff" * 40, "cannot be read as a SentencePiece model"),
        (model(model_type=1), "is not a BPE model"),
        (model(remove_extra_whitespaces=True), "normalizes texts"),
    ],
)
def test_other_models_are_refused(tmp_path, data, said):
    with pytest.raises(UserError, match=said):
        load_tokenizer(folder(tmp_path / "d", data))


def test_a_model_folder_with_only_tokenizer_model_is_read(tmp_path):
    config = hf_config("grouped") | {"vocab_size": 300}
    tensors = {k: v.repeat(4, axis=0)[:300] if v.shape[0] == 97 else v for k, v in weights("grouped").items()}
    loaded = load_model(folder(write_folder(tmp_path / "m", config, tensors, tokenizer=False)))
    assert loaded.config.eos_token_ids == (2,)
