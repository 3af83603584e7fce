"""The tiny model of tests/sampling as a Hugging Face folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "sampling"))

CHAT = (
    "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + '|' }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """The tiny model with a character tokenizer and a chat template."""
    import tiny_llama
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from dast_jax.models.hf import build_params, config_from_dict, save_model
    from dast_jax.models.load import abstract_model
    from dast_jax.models.tokenizer import Tokenizer as Ours

    names = ["<s>", "</s>", "<end>", *(chr(32 + i) for i in range(93))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", additional_special_tokens=["<end>"]
    )
    fast.chat_template = CHAT
    config = config_from_dict(tiny_llama.CONFIG, "tiny")
    template, tensors = abstract_model(config)[1], tiny_llama.tensors()
    params = build_params(template, config, tensors.__getitem__)
    path = tmp_path_factory.mktemp("model")
    save_model(path, config, params, Ours(fast, eos_ids=tiny_llama.EOS))
    return path
