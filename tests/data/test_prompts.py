"""Prompts with real, small tokenizers: characters, and byte-level BPE with a chat template."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from dast_jax.data.options import PromptOptions
from dast_jax.data.prompts import PromptBuilder, PromptTooLongError
from dast_jax.errors import UserError
from dast_jax.models.chat_template import read_template
from dast_jax.models.tokenizer import Tokenizer, load_tokenizer
from dast_jax.options import build
from dast_jax.records import Exemplar

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|turn|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|turn|>", "<|system|>", "<|user|>", "<|assistant|>"]
EXEMPLARS = tuple(Exemplar(f"{i} + {i}?", f"{i} + {i} = {2 * i}") for i in range(1, 5))


def wrap(backend, *, chat=False, bos=True):
    from transformers import PreTrainedTokenizerFast

    if bos:
        start = backend.token_to_id("<s>")
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", start)]
        )
    inner = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    if chat:
        inner.chat_template = CHAT
    return Tokenizer(inner, eos_ids=[inner.convert_tokens_to_ids("<|turn|>")] if chat else [])


def byte_level(**kwargs):
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "".join(f"Q: what is {i} + {i}?\nA: the answer is {2 * i}\n\n" for i in range(200))
    backend.train_from_iterator([text], trainer)
    return wrap(backend, **kwargs)


def characters(**kwargs):
    alphabet = sorted(set("".join(map(chr, range(32, 127))) + "\n"))
    vocab = {token: i for i, token in enumerate(SPECIAL + alphabet)}
    backend = Backend(models.WordLevel(vocab, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(SPECIAL)
    return wrap(backend, **kwargs)


TOKENIZERS = {"bytes": byte_level(), "characters": characters(), "chat": byte_level(chat=True)}


def builder(name="bytes", limit=10_000, **options):
    return PromptBuilder(TOKENIZERS[name], PromptOptions(**options), limit)


@pytest.mark.parametrize("name", ["bytes", "characters"])
def test_plain_prompt_reads_as_configured(name):
    tokenizer, b = TOKENIZERS[name], builder(name)
    zero, few = b.build("7 + 7?", ()), b.build("7 + 7?", EXEMPLARS[:2])
    assert zero[0] == few[0] == tokenizer.bos_id
    assert tokenizer.decode(zero) == "Q: 7 + 7?\nA:"
    assert tokenizer.decode(few) == "Q: 1 + 1?\nA: 1 + 1 = 2\n\nQ: 2 + 2?\nA: 2 + 2 = 4\n\nQ: 7 + 7?\nA:"
    assert list(zero).count(tokenizer.bos_id) == list(few).count(tokenizer.bos_id) == 1
    assert b.style == "plain"


def test_own_template_separator_instruction():
    b = builder(template="<{question}>", response_prefix="", separator="|", instruction="Solve.")
    assert TOKENIZERS["bytes"].decode(b.build(r"\frac{a}{b} {question}", EXEMPLARS[:1])) == (
        r"Solve.|<1 + 1?>1 + 1 = 2|<\frac{a}{b} {question}>"
    )


def test_no_bos_where_the_tokenizer_has_none():
    b = PromptBuilder(byte_level(bos=False), PromptOptions(), 100)
    assert b.build("a", ())[0] != TOKENIZERS["bytes"].bos_id


@pytest.mark.parametrize("name", ["bytes", "characters"])
@settings(max_examples=50, deadline=None)
@given(text=st.text("0123456789+-= the answer is\n#", min_size=1, max_size=40).filter(str.strip))
def test_prompt_and_response_are_the_whole_text_then_eos(name, text):
    tokenizer, b = TOKENIZERS[name], builder(name)
    response = b.response_tokens(text)
    assert response[-1] == tokenizer.eos_ids[0]
    assert tokenizer.decode(response[:-1], skip_special=False) == " " + text.strip()
    # What follows the prompt in a few-shot prompt is what is trained after a zero-shot one.
    shown = b.build("q", (Exemplar("e", text),))
    before = b.build("e", ())
    assert shown[: len(before)] == before
    assert shown[len(before) : len(before) + len(response) - 1] == response[:-1]


def test_outer_white_space_of_a_response_is_not_doubled():
    assert builder().response_tokens("\n  the answer is 4 \n") == builder().response_tokens("the answer is 4")


def test_chat_prompt_is_turns_and_ends_with_the_turn_token():
    tokenizer, b = TOKENIZERS["chat"], builder("chat", instruction="Solve.")
    assert b.style == "chat"
    text = tokenizer.decode(b.build("q", EXEMPLARS[:1]), skip_special=False)
    assert text == (
        "<|system|>Solve.<|turn|><|user|>1 + 1?<|turn|><|assistant|>1 + 1 = 2<|turn|>"
        "<|user|>q<|turn|><|assistant|>"
    )
    response = b.response_tokens(" 4 ")
    assert tokenizer.decode(response, skip_special=False) == "4<|turn|>"
    assert tokenizer.eos_ids[0] != response[-1] == tokenizer.eos_ids[1]


def test_styles():
    assert builder("chat", style="plain").style == "plain"
    assert builder("bytes", style="auto").style == "plain"
    with pytest.raises(UserError, match=r"prompts\.style"):
        builder("bytes", style="chat")
    with pytest.raises(UserError, match="template"):
        build(PromptOptions, {"template": "no slot"}, where="prompts")


@pytest.mark.parametrize("name", ["bytes", "chat"])
def test_exemplars_are_dropped_one_by_one_and_counted(name):
    whole = builder(name)
    lengths = [len(whole.build("q", EXEMPLARS[k:])) for k in range(5)]
    b = builder(name, limit=lengths[2])
    assert b.build("q", EXEMPLARS) == whole.build("q", EXEMPLARS[2:])
    assert (b.shortened, b.dropped_exemplars) == (1, 2)
    assert b.build("q", EXEMPLARS[2:]) == whole.build("q", EXEMPLARS[2:])
    assert (b.shortened, b.dropped_exemplars) == (1, 2)
    assert len(builder(name, limit=lengths[4]).build("q", EXEMPLARS)) == lengths[4]


def test_a_question_that_does_not_fit_is_refused_never_cut():
    whole = builder().build("q" * 50, ())
    exact, short = builder(limit=len(whole)), builder(limit=len(whole) - 1)
    assert exact.fits("q" * 50)
    assert exact.build("q" * 50, EXEMPLARS) == whole
    assert not short.fits("q" * 50)
    with pytest.raises(PromptTooLongError):
        short.build("q" * 50, EXEMPLARS)


@pytest.mark.parametrize("option", ["template", "response_prefix", "separator"])
def test_options_of_plain_style_are_refused_where_the_chat_template_is_used(option):
    value = {"template": "Solve: {question}", "response_prefix": "\n", "separator": "\n\n\n"}[option]
    with pytest.raises(UserError, match=rf"prompts\.{option}: for plain style only"):
        builder("chat", **{option: value})
    assert builder("chat", style="plain", **{option: value}).style == "plain"
    assert builder("bytes", **{option: value}).style == "plain"


def test_the_users_turn_has_its_own_template_and_suffix():
    """In chat style, in the question's turn and those of the exemplars."""
    b = builder("chat", user_template="Solve: {question}", user_suffix="\nPut it in \\boxed{}.")
    assert TOKENIZERS["chat"].decode(b.build("7?", EXEMPLARS[:1]), skip_special=False) == (
        "<|user|>Solve: 1 + 1?\nPut it in \\boxed{}.<|turn|><|assistant|>1 + 1 = 2<|turn|>"
        "<|user|>Solve: 7?\nPut it in \\boxed{}.<|turn|><|assistant|>"
    )
    with pytest.raises(ValueError, match=r"user_template: must contain \{question\} exactly once"):
        PromptOptions(user_template="Solve.")


@pytest.mark.parametrize("option", ["user_template", "user_suffix"])
def test_options_of_chat_style_are_refused_where_prompts_are_plain(option):
    value = {"user_template": "Solve: {question}", "user_suffix": " Go."}[option]
    for name, style in (("bytes", "auto"), ("chat", "plain")):
        with pytest.raises(UserError, match=rf"prompts\.{option}: for chat style only"):
            builder(name, style=style, **{option: value})


def test_an_own_chat_template_replaces_the_models_and_is_saved(tmp_path):
    tokenizer = byte_level(chat=True)
    tokenizer.use_chat_template("{% for m in messages %}[{{ m.content }}]{% endfor %}", "mine.jinja")
    b = PromptBuilder(tokenizer, PromptOptions(), 100)
    assert tokenizer.decode(b.build("7?", ()), skip_special=False) == "[7?]"
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.chat([{"role": "user", "content": "7?"}]) == tokenizer.encode("[7?]")
    plain = byte_level()
    assert not plain.has_chat_template
    plain.use_chat_template("{{ raise_exception('never') }}", "model.chat_template: mine.jinja")
    with pytest.raises(UserError, match=r"^model\.chat_template: mine\.jinja: the chat template.*never"):
        plain.chat([{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"\xff", "is not UTF-8"),
        (b" \n", "is empty"),
        (b"a" * 1_000_001, "has more"),
    ],
)
def test_a_template_file_that_cannot_be_used_is_named(content, why, tmp_path):
    path = tmp_path / "t.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^model\.chat_template: .*t\.jinja {why}"):
        read_template(str(path))


def test_an_instruction_that_the_chat_template_refuses_is_named():
    tokenizer = byte_level(chat=True)
    tokenizer.inner.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
    )
    assert PromptBuilder(tokenizer, PromptOptions(), 100).style == "chat"
    with pytest.raises(UserError, match=r"prompts\.instruction is the system message.*no system role"):
        PromptBuilder(tokenizer, PromptOptions(instruction="Be brief."), 100)


def test_special_tokens_are_known_by_their_text():
    special = TOKENIZERS["chat"].special_tokens
    assert special == {token: i for i, token in enumerate(SPECIAL)}
    assert TOKENIZERS["chat"].decode(list(special.values())) == ""
