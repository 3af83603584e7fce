""".gguf files written here with the `gguf` package, as llama.cpp's converter writes them, and read back."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from model_cases import TEXT, byte_tokenizer, case, forward, our_logits, state_equal
from reference.llama_cases import CASES, hf_config, inputs, weights
from tokenizers import Tokenizer as Backend
from tokenizers import pre_tokenizers

from dast_jax.errors import UserError
from dast_jax.models.gguf import open_gguf
from dast_jax.models.gguf_reader import BoundedReader
from dast_jax.models.gguf_tokenizer import build_tokenizer
from dast_jax.models.hf import save_model
from dast_jax.models.load import load_model
from dast_jax.models.rope import rope_frequencies

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
FLOAT32 = gguf.GGMLQuantizationType.F32


def _permute(tensor: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of q and k: the halves of each head interleaved."""
    half = tensor.shape[0] // heads // 2
    index = np.arange(tensor.shape[0]).reshape(heads, 2, half).transpose(0, 2, 1).reshape(-1)
    return tensor[index]


def _write(
    path: Path,
    name: str,
    *,
    kind: gguf.GGMLQuantizationType = FLOAT32,
    pre: str = "gpt-2",
    model: str = "gpt2",
    architecture: str = "",
    **extra,
) -> Path:
    c, (_, theta, scaling, _) = hf_config(name), CASES[name]
    kinds = {"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}
    of_model = kinds.get(c["model_type"], gguf.MODEL_ARCH.LLAMA)
    architecture = architecture or gguf.MODEL_ARCH_NAMES[of_model]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_key_length(c["head_dim"])
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if scaling and scaling["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if scaling and scaling["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if scaling and scaling["rope_type"] == "llama3":
        config = case(name)[0]
        plain = rope_frequencies(replace(config, rope_scaling=None))
        writer.add_tensor("rope_freqs.weight", plain / rope_frequencies(config))
    backend = byte_tokenizer().backend_tokenizer
    vocab = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in vocab])
    writer.add_token_types([CONTROL if i < 4 else NORMAL for _, i in vocab])
    writer.add_token_merges([" ".join(pair) for pair in _merges(backend)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(3)
    for key, value in extra.items():
        getattr(writer, key)(value)
    names = gguf.get_tensor_name_map(of_model, c["num_hidden_layers"])
    for key, tensor in weights(name).items():
        if of_model == gguf.MODEL_ARCH.LLAMA and ("q_proj" in key or "k_proj" in key):
            tensor = _permute(tensor, c["num_attention_heads" if "q_proj" in key else "num_key_value_heads"])
        theirs = names.get_name(key, try_suffixes=(".weight", ".bias"))
        raw = kind if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 else FLOAT32  # blocks of 32
        data = gguf.quantize(np.ascontiguousarray(tensor), raw)
        writer.add_tensor(theirs, data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _merges(backend: Backend) -> list[list[str]]:
    return json.loads(backend.to_str())["model"]["merges"]


@pytest.mark.parametrize(
    "name",
    ["grouped", "tied", "wide_heads", "all_biases", "linear", "llama3_far", "yarn", "qwen2", "qwen3"],
)
def test_a_float32_file_is_the_folder_it_came_from(name, tmp_path):
    loaded = load_model(_write(tmp_path / "tiny.gguf", name))
    config, _, params = case(name)
    assert state_equal(loaded.params, params)
    expected = {**config.__dict__, "bos_token_id": 1, "eos_token_ids": (2,), "pad_token_id": 3}
    assert loaded.config.__dict__ == expected


def test_a_mistral_is_read_as_the_llama_that_it_is_there(tmp_path):
    loaded = load_model(_write(tmp_path / "tiny.gguf", "mistral"))
    assert loaded.config.family == "llama"
    assert state_equal(loaded.params, case("mistral")[2])


def test_yarn_with_other_numbers_is_refused(tmp_path):
    path = _write(tmp_path / "tiny.gguf", "yarn", add_rope_scaling_attn_factors=2.0)
    with pytest.raises(UserError, match=r"rope\.scaling\.attn_factor is not supported"):
        open_gguf(path)


def test_the_permutation_matters():
    """Guards the test above: without undoing it, the parameters would differ."""
    q = weights("grouped")["model.layers.0.self_attn.q_proj.weight"]
    assert not np.array_equal(_permute(q, 4), q)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_quantized_files_are_near(kind, tmp_path):
    path = _write(tmp_path / "tiny.gguf", "llama3_far", kind=gguf.GGMLQuantizationType[kind])
    loaded = load_model(path)
    logits = np.asarray(forward(loaded.graphdef, loaded.params, *inputs("llama3_far")))
    expected = our_logits("llama3_far")
    correlation = np.corrcoef(logits.ravel(), expected.ravel())[0, 1]
    assert correlation > {"Q8_0": 0.999, "Q4_1": 0.95, "F16": 0.99999}[kind]
    assert not np.array_equal(logits, expected)


def test_the_tokenizer_comes_from_the_metadata(tmp_path):
    ours = load_model(_write(tmp_path / "tiny.gguf", "grouped")).tokenizer
    theirs = byte_tokenizer()
    for text in [*TEXT[:3], "</s>", "a </s>b", ""]:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ours.encode(TEXT[0])) == TEXT[0]
    assert (ours.bos_id, ours.eos_ids, ours.pad_id) == (None, (2,), 3)


def test_bos_and_chat_template_come_from_the_metadata(tmp_path):
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}="
    path = _write(tmp_path / "tiny.gguf", "grouped", add_add_bos_token=True, add_chat_template=template)
    ours = open_gguf(path).tokenizer()
    assert ours.bos_id == 1
    assert ours.inner("48")["input_ids"] == [1, *ours.encode("48")]
    assert ours.chat([{"role": "user", "content": "48"}]) == ours.encode("48=")


def test_a_gguf_model_is_saved_as_a_folder(tmp_path):
    loaded = load_model(_write(tmp_path / "tiny.gguf", "tied"))
    save_model(tmp_path / "folder", loaded.config, loaded.params, loaded.tokenizer)
    again = load_model(tmp_path / "folder")
    assert again.config == loaded.config
    assert state_equal(again.params, loaded.params)
    assert again.tokenizer.encode(TEXT[1]) == loaded.tokenizer.encode(TEXT[1])


# --- ways of cutting text into words ------------------------------------------------------------------


def _words(pre: str, text: str) -> list[str]:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    metadata = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [*sorted(alphabet), "<e>"],
        "merges": [],
        "eos_token_id": 256,
    }
    inner = build_tokenizer(metadata, chat_template=None, where="test")
    return [
        word.replace("Ġ", " ").replace("Ċ", "\n")
        for word, _ in inner.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    ]


def test_words_of_each_kind():
    text = "It's 12345 apples,\n\n  so"
    assert _words("gpt-2", text) == ["It", "'s", " 12345", " apples", ",", "\n\n ", " so"]
    assert _words("smollm", text) == [
        "It",
        "'s",
        " ",
        "1",
        "2",
        "3",
        "4",
        "5",
        " apples",
        ",",
        "\n\n ",
        " so",
    ]
    assert _words("qwen2", text) == ["It", "'s", " ", *"12345", " apples", ",\n\n", " ", " so"]
    assert _words("llama-bpe", text) == ["It", "'s", " ", "123", "45", " apples", ",\n\n", " ", " so"]


def test_sentencepiece_joins_by_score():
    pieces = {
        "<unk>": 0.0, "<s>": 0.0, "</s>": 0.0, **{f"<0x{b:02X}>": 0.0 for b in range(256)},
        "▁": -1.0, "a": -2.0, "b": -3.0, "c": -4.0, "bc": -5.0, "ab": -6.0, "▁a": -7.0, "abc": -8.0,
    }  # fmt: skip
    metadata = {
        "model": "llama",
        "tokens": list(pieces),
        "scores": list(pieces.values()),
        "token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(pieces) - 259)],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    inner = build_tokenizer(metadata, chat_template=None, where="test")

    def tokens(text):
        return inner.convert_ids_to_tokens(inner(text)["input_ids"])

    # "bc" (-5) is above "ab" (-6), so b and c join first; then "▁a" (-7) is above "abc" (-8)
    assert tokens("abc") == ["<s>", "▁a", "bc"]
    assert tokens("ab") == ["<s>", "▁", "ab"]
    assert tokens("é") == ["<s>", "▁", "<0xC3>", "<0xA9>"]
    assert inner.decode(inner("abc é ab")["input_ids"], skip_special_tokens=True) == "abc é ab"


# --- bad files ----------------------------------------------------------------------------------------


def test_unusable_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "none.gguf")
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        load_model(tmp_path / "junk.gguf")
    with pytest.raises(UserError, match=r"architecture is 'gemma3', .*\(llama, qwen2, qwen3 are\)"):
        load_model(_write(tmp_path / "gemma.gguf", "grouped", architecture="gemma3"))
    with pytest.raises(UserError, match="pre-tokenizer 'tekken' is not supported"):
        load_model(_write(tmp_path / "tekken.gguf", "grouped", pre="tekken"))
    with pytest.raises(UserError, match="tokenizer model 'bert'"):
        build_tokenizer({"model": "bert", "tokens": ["a"]}, chat_template=None, where="x.gguf")


def _text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _head(tensors: int, keys: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


MANY = 2**60


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        _head(0, MANY) + _text(b"a") + struct.pack("<II", 4, 1),
        _head(MANY, 0),
        _head(MANY, 0) + bytes(4_000),
        _head(0, 1) + _text(b"a") + struct.pack("<IIQ", 9, 4, MANY),  # numbers
        _head(0, 1) + _text(b"a") + struct.pack("<IIQ", 9, 8, MANY) + bytes(80),  # texts
        _head(0, 1) + _text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 3_000,  # lists in lists
        _head(0, 1) + struct.pack("<Q", 2**64 - 1) + b"abc",
        _head(1, 0) + _text(b"t") + struct.pack("<I", 2**32 - 1),
        _head(1, 0) + _text(b"t") + struct.pack("<IQQIQ", 2, 2**32, 2**32, 0, 0) + bytes(64),
        _head(1, 0) + _text(b"t") + struct.pack("<IQIQ", 1, 2**50, 0, 0) + bytes(64),
        _head(1, 0) + _text(b"t") + struct.pack("<IQIQ", 1, 1, 0, 2**63) + bytes(64),
    ],
)
def test_counts_beyond_the_file(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "counts.gguf"
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"counts\.gguf cannot be read as GGUF \(.*\); download it again"):
        open_gguf(file)


class _ShortReader(BoundedReader):
    max_reads = 1_000


def test_a_file_with_absurdly_much_metadata(tmp_path: Path) -> None:
    """The file itself may be as long as it says: a sparse one takes no space."""
    file = tmp_path / "sparse.gguf"
    file.write_bytes(_head(0, 1) + _text(b"a") + struct.pack("<IIQ", 9, 0, 2**36))
    os.truncate(file, 2**37)
    with pytest.raises(ValueError, match="its metadata have more than 1,000 values"):
        _ShortReader(file)


@pytest.mark.parametrize("tokens", [["a" * 100_000, "b"], ["a", "b"] + ["ab" * 1_000] * 5_000])
def test_sentencepiece_tokens_of_absurd_length(tokens: list[str]) -> None:
    metadata = {"model": "llama", "tokens": tokens, "scores": [0.0] * len(tokens)}
    with pytest.raises(ValueError, match="tokens of up to"):
        build_tokenizer(metadata, chat_template=None, where="x.gguf")


def test_a_tokenizer_that_cannot_be_built(tmp_path: Path) -> None:
    file = _write(tmp_path / "odd.gguf", "grouped", model="llama")  # without scores
    with pytest.raises(UserError, match=r"odd\.gguf: its tokenizer cannot be built \('scores'\)"):
        open_gguf(file).tokenizer()
