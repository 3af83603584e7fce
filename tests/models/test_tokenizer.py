"""The tokenizer's view: no special tokens unasked, all special ids, chat prompts, and a faithful copy."""

from __future__ import annotations

import pytest
from model_cases import TEXT, byte_tokenizer, tokenizer
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from dast_jax.errors import UserError
from dast_jax.models.tokenizer import Tokenizer, load_tokenizer

CHAT = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _copy(**settings) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer().backend_tokenizer, unk_token="<unk>", eos_token="</s>", **settings
    )


def test_text_round_trips_and_nothing_is_added():
    ours = tokenizer()
    for text in TEXT[:3]:
        ids = ours.encode(text)
        assert ours.decode(ids) == text
        assert not set(ids) & {ours.eos_ids[0], ours.pad_id, 1}
    assert ours.encode_batch(TEXT[:3]) == [ours.encode(text) for text in TEXT[:3]]
    assert ours.encode("") == []
    assert ours.encode_batch([]) == []


def test_special_ids():
    ours = Tokenizer(byte_tokenizer(), eos_ids=[7, 2, 9])
    assert (ours.eos_ids, ours.pad_id, ours.bos_id) == ((2, 7, 9), 3, None)
    assert ours.vocab_size == 90
    assert ours.decode([*ours.encode("48"), 2]) == "48"
    assert ours.decode([*ours.encode("48"), 2], skip_special=False) == "48</s>"
    assert Tokenizer(_copy()).pad_id == 2  # no padding token: EOS


def test_bos_is_known_only_where_the_tokenizer_puts_it():
    backend = byte_tokenizer().backend_tokenizer.__class__.from_str(
        byte_tokenizer().backend_tokenizer.to_str()
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    with_bos = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))
    assert with_bos.bos_id == 1
    assert with_bos.encode("48") == tokenizer().encode("48")


def test_a_saved_copy_is_the_same(tmp_path):
    inner = _copy(bos_token="<s>", pad_token="<pad>")
    inner.chat_template = CHAT
    ours = Tokenizer(inner)
    ours.save(tmp_path)
    copy = load_tokenizer(tmp_path, eos_ids=[5])
    assert [copy.encode(text) for text in TEXT] == [ours.encode(text) for text in TEXT]
    assert (copy.eos_ids, copy.pad_id, copy.vocab_size) == ((2, 5), ours.pad_id, ours.vocab_size)
    messages = [{"role": "user", "content": "48/2"}]
    assert copy.has_chat_template
    assert copy.chat(messages) == ours.chat(messages) == ours.encode("<user>48/2<assistant>")


def test_chat_without_a_template_is_refused():
    assert not tokenizer().has_chat_template
    with pytest.raises(UserError, match="no chat template"):
        tokenizer().chat([{"role": "user", "content": "hi"}])


def test_unusable_tokenizers(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="no EOS token"):
        Tokenizer(PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().backend_tokenizer))
