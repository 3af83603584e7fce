"""A plain `tokenizer.json` without transformers, whose import takes longer than sampling a first response.

It stands for `transformers.PreTrainedTokenizerFast` where that adds nothing to what the file says: no chat
template, no tokens beside the file's, no settings that change how text is read. Whatever is asked of it
beyond encoding and decoding is answered by the transformers tokenizer, loaded then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["PlainTokenizer", "open_plain"]

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_HARMLESS = {*_NAMED, "tokenizer_class", "model_max_length", "clean_up_tokenization_spaces", "backend"}
_BESIDE = ("special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "additional_chat_templates")
"""Files and folders beside `tokenizer.json` that change what transformers makes of it."""


class PlainTokenizer:
    """The part of a transformers tokenizer that encodes and decodes, with its attributes' names."""

    chat_template = None

    def __init__(self, directory: Path, inner: Any, named: dict[str, str]):
        self._directory = directory
        self._inner = inner
        self.all_special_tokens = list(dict.fromkeys(named.values()))
        self.all_special_ids = [inner.token_to_id(token) for token in self.all_special_tokens]
        ids = {name: inner.token_to_id(named[name]) if name in named else None for name in _NAMED}
        self.bos_token_id: int | None = ids["bos_token"]
        self.eos_token_id: int | None = ids["eos_token"]
        self.pad_token_id: int | None = ids["pad_token"]

    def __call__(self, text: str | list[str], add_special_tokens: bool = True) -> dict[str, Any]:
        if isinstance(text, str):
            return {"input_ids": self._inner.encode(text, add_special_tokens=add_special_tokens).ids}
        found = self._inner.encode_batch(text, add_special_tokens=add_special_tokens)
        return {"input_ids": [each.ids for each in found]}

    def __len__(self) -> int:
        return int(self._inner.get_vocab_size(with_added_tokens=True))

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by their id."""
        return dict(self._inner.get_added_tokens_decoder())

    def decode(
        self, ids: Sequence[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str:
        """Return the text of `ids`; spaces are never cleaned up."""
        assert not clean_up_tokenization_spaces
        return str(self._inner.decode(ids, skip_special_tokens=skip_special_tokens))

    @cached_property
    def _whole(self) -> Any:
        import transformers

        return transformers.PreTrainedTokenizerFast.from_pretrained(
            os.fspath(self._directory),
            tokenizer_file=os.fspath(self._directory / "tokenizer.json"),
            trust_remote_code=False,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole, name)


def open_plain(directory: Path) -> PlainTokenizer | None:
    """Return the tokenizer of a folder with a plain `tokenizer.json`; None where transformers must read it.

    Files that cannot be read are left to transformers too, so that its errors are the ones reported.
    """
    if any((directory / name).exists() for name in _BESIDE):
        return None
    try:
        config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        data = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
        special = {token["content"] for token in data["added_tokens"] if token["special"]}
        named = {name: config[name] for name in _NAMED if config.get(name) is not None}
        plain = (
            set(config) <= _HARMLESS
            and config.get("tokenizer_class") == "PreTrainedTokenizerFast"
            and all(isinstance(token, str) and token in special for token in named.values())
            and data.get("truncation") is None
            and data.get("padding") is None
        )
        if not plain:
            return None
        import tokenizers

        inner = tokenizers.Tokenizer.from_file(os.fspath(directory / "tokenizer.json"))
    except Exception:  # the Rust part of tokenizers raises plain exceptions
        return None
    return PlainTokenizer(directory, inner, named)
