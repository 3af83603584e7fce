"""Chat templates in their own process: the same text as transformers', and nothing endless or huge."""

from __future__ import annotations

import copy
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from model_cases import byte_tokenizer

from dast_jax.errors import UserError
from dast_jax.models.chat_template import ChatTemplate, TemplateFailedError
from dast_jax.models.tokenizer import Tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {{- message['role'] + ': ' + message | tojson + eos_token }}
    {%- if loop.last %}{% break %}{% endif %}
{%- endfor %}
{%- generation %}{{ tools is none }}{% endgeneration %}
{%- if add_generation_prompt %}{{ strftime_now('%Y') }}{% endif %}"""
CONVERSATIONS = (
    [{"role": "user", "content": "1+1=?"}],
    [
        {"role": "system", "content": " brief "},
        {"role": "user", "content": "é\u2028\U0001f600 \ud800 \x1b[2J\n"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": ""},
    ],
)
ENDLESS = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3


def _tokenizer(template: str) -> Tokenizer:
    inner = copy.deepcopy(byte_tokenizer())
    inner.chat_template = template
    return Tokenizer(inner, where="the model")


@pytest.mark.parametrize("template", [CHATML, LLAMA])
def test_texts_are_those_of_transformers(template: str) -> None:
    inner = copy.deepcopy(byte_tokenizer())
    inner.chat_template = template
    ours = ChatTemplate(template, inner.special_tokens_map)
    for messages in CONVERSATIONS:
        theirs = inner.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert ours.render(messages) == theirs


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (ENDLESS, "more than 2 seconds of CPU time"),
        ("{{ 3 ** 300_000_000 > 1 }}", "more than 2 seconds of CPU time"),  # within one C call
        ("{{ 'a' * 3_000_000_000 }}", "more than 1,024 MB of memory"),
        ("{{ 'a' * 3_000_000 }}", "more than 1,000,000 characters"),
        ("{{ messages[0].content.no.such }}", "has no attribute 'no'"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_on_any_thread(template: str, why: str) -> None:
    tokenizer = _tokenizer(template)
    with ThreadPoolExecutor(1) as thread:
        failed = thread.submit(tokenizer.chat, [{"role": "user", "content": "a"}])
        with pytest.raises(UserError, match=rf"the model: the chat template .* \(.*{why}\); fix it"):
            failed.result()


def test_a_conversation_after_an_endless_one() -> None:
    template = ChatTemplate("{% if messages | length > 1 %}" + ENDLESS + "{% endif %}fine", {})
    one = [{"role": "user", "content": "a"}]
    assert template.render(one) == "fine"
    with pytest.raises(TemplateFailedError):
        template.render(one * 2)
    assert template.render(one) == "fine"


def test_several_threads_get_their_own_texts() -> None:
    template = ChatTemplate("{{ messages[0].content }}", {})
    texts = [f"question {i}" for i in range(200)]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda text: template.render([{"role": "user", "content": text}]), texts)
        assert list(found) == texts


def test_the_process_knows_no_token_and_ends_with_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "SECRET-TOKEN")
    template = ChatTemplate("fine", {})
    template.render([{"role": "user", "content": "a"}])
    assert template._process is not None
    process = Path(f"/proc/{template._process.pid}")
    if process.exists():  # Linux
        assert b"SECRET-TOKEN" not in (process / "environ").read_bytes()
    pid = template._process.pid
    del template
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert threading.active_count() < 50
