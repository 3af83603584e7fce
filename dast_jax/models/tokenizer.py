"""The tokenizer as the rest of the package sees it: text ↔ ids, the special ids, chat prompts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dast_jax.errors import UserError

__all__ = ["Tokenizer", "load_tokenizer"]


class Tokenizer:
    """A thin view of a transformers tokenizer.

    `bos_id` is the id that this tokenizer itself puts in front of a text, None if it puts none (many
    models name a BOS token that they were never trained with). `eos_ids` holds every id that ends a
    response; the tokenizer's own comes first, and ends the training texts. `pad_id` is the padding id,
    or that first EOS.
    """

    def __init__(self, inner: Any, *, eos_ids: Iterable[int] = (), where: str = "tokenizer"):
        if inner.eos_token_id is None:
            raise UserError(
                f"{where}: the tokenizer has no EOS token, so no response could end; "
                "set eos_token in tokenizer_config.json."
            )
        self.inner = inner
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([int(inner.eos_token_id), *map(int, eos_ids)]))
        first = inner("a")["input_ids"][:1]
        self.bos_id: int | None = inner.bos_token_id if first == [inner.bos_token_id] else None
        self.pad_id: int = self.eos_ids[0] if inner.pad_token_id is None else int(inner.pad_token_id)
        self.vocab_size: int = len(inner)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; no special token is added."""
        return list(self.inner(text, add_special_tokens=False)["input_ids"])

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, as `encode` does, many at a time."""
        return (
            [list(ids) for ids in self.inner(list(texts), add_special_tokens=False)["input_ids"]]
            if texts
            else []
        )

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Return the text of `ids`, by default without special tokens."""
        text: str = self.inner.decode(
            [int(i) for i in ids], skip_special_tokens=skip_special, clean_up_tokenization_spaces=False
        )
        return text

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return bool(self.inner.chat_template)

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Return the ids of a conversation (`role`, `content`) up to where the assistant speaks next.

        Raises `UserError` if the tokenizer has no chat template.
        """
        if not self.has_chat_template:
            raise UserError(
                "the tokenizer has no chat template, so chat messages cannot be used; give plain prompts."
            )
        text = self.inner.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return self.encode(text)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json` and its companions into `directory`."""
        self.inner.save_pretrained(os.fspath(directory))


def load_tokenizer(directory: str | os.PathLike[str], *, eos_ids: Iterable[int] = ()) -> Tokenizer:
    """Return the tokenizer of a Hugging Face folder; `eos_ids` are further ids that end a response.

    `tokenizer.json` is taken as it is: the model-specific classes of transformers 5 rebuild parts of it
    from what they think a Llama has. Raises `UserError` if the folder has no readable tokenizer, or one
    without EOS.
    """
    import transformers

    directory = Path(directory)
    try:
        if (directory / "tokenizer.json").is_file():
            inner = transformers.PreTrainedTokenizerFast.from_pretrained(os.fspath(directory))
        else:
            inner = transformers.AutoTokenizer.from_pretrained(os.fspath(directory))
    except Exception as error:  # transformers raises anything here, down to Rust panics
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{directory} has no tokenizer that can be read ({reason}).") from None
    return Tokenizer(inner, eos_ids=eos_ids, where=str(directory))
