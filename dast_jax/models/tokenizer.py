"""The tokenizer as the rest of the package sees it: text ↔ ids, the special ids, chat prompts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dast_jax.assets.paths import file_within
from dast_jax.errors import UserError
from dast_jax.models.chat_template import ChatTemplate, TemplateFailedError
from dast_jax.models.plain_tokenizer import open_plain
from dast_jax.models.sentencepiece import read_sentencepiece

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
                "set eos_token in tokenizer_config.json"
            )
        self.inner = inner
        self._template_where = where
        self._own_template = ""
        self._rendering: tuple[tuple[str, dict[str, Any]], ChatTemplate] | None = None
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
        return bool(self._own_template or self.inner.chat_template)

    def use_chat_template(self, text: str, where: str) -> None:
        """Render chats by the template `text` from now on, instead of the model's; `where` it comes from."""
        self._own_template, self._template_where = text, where

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Return the ids of a conversation (`role`, `content`) up to where the assistant speaks next.

        Raises `UserError` if the tokenizer has no chat template, or one that fails. A template comes with
        the model, and so runs in a sandbox and in a process with limits (`chat_template`).
        """
        if not self.has_chat_template:
            raise UserError(
                "the tokenizer has no chat template, so chat messages cannot be used; give plain prompts"
            )
        try:
            template = self._own_template or self.inner.get_chat_template()
            text = self._template(template).render(messages)
        except (TemplateFailedError, ValueError) as error:  # ValueError: several templates, no default
            raise UserError(
                f"{self._template_where}: the chat template cannot be used ({_one_line(error)}); "
                "fix it, or give plain prompts"
            ) from None
        return self.encode(text)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens, which `decode` leaves out of texts, by their own text."""
        return {
            token.content: id for id, token in self.inner.added_tokens_decoder.items() if token.special
        } | dict(zip(self.inner.all_special_tokens, self.inner.all_special_ids, strict=True))

    def _template(self, text: str) -> ChatTemplate:
        """Return the template, the one of the last call where it is the same."""
        key = (text, dict(self.inner.special_tokens_map))
        if self._rendering is None or self._rendering[0] != key:
            self._rendering = (key, ChatTemplate(*key))
        return self._rendering[1]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json` and its companions into `directory`."""
        self.inner.save_pretrained(os.fspath(directory))
        if self._own_template:
            (Path(directory) / "chat_template.jinja").write_text(self._own_template, encoding="utf-8")


def load_tokenizer(directory: str | os.PathLike[str], *, eos_ids: Iterable[int] = ()) -> Tokenizer:
    """Return the tokenizer of a Hugging Face folder; `eos_ids` are further ids that end a response.

    `tokenizer.json` is taken as it is: the model-specific classes of transformers 5 rebuild parts of it
    from what they think a Llama has. Without it, SentencePiece's `tokenizer.model` is read. Raises
    `UserError` if the folder has no readable tokenizer, one without EOS, or one that needs the folder's code.
    """
    directory = Path(directory)
    _refuse_code(directory)
    _refuse_links(directory)
    whole = directory / "tokenizer.json"
    plain = open_plain(directory)
    if plain is not None:
        return Tokenizer(plain, eos_ids=eos_ids, where=str(directory))
    import transformers

    try:
        if whole.is_file():
            inner = transformers.PreTrainedTokenizerFast.from_pretrained(
                os.fspath(directory),
                tokenizer_file=os.fspath(whole),  # and no other that tokenizer_config.json may name
                trust_remote_code=False,
            )
        elif file_within(directory, "tokenizer.model").is_file():
            inner = read_sentencepiece(directory)
        else:
            inner = transformers.AutoTokenizer.from_pretrained(
                os.fspath(directory), trust_remote_code=False, local_files_only=True
            )
    except UserError:
        raise
    except Exception as error:  # transformers raises anything here, down to Rust panics
        raise UserError(f"{directory} has no tokenizer that can be read ({_one_line(error)})") from None
    return Tokenizer(inner, eos_ids=eos_ids, where=str(directory))


def _refuse_code(directory: Path) -> None:
    """Raise `UserError` if the folder declares its tokenizer to be a class in one of its own files.

    What `tokenizer.json` beside it does need not be what that class does, so it is not used as a substitute.
    """
    for name in ("tokenizer_config.json", "config.json"):
        file = file_within(directory, name)
        try:
            said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except (OSError, ValueError, RecursionError):
            continue  # whoever needs the file says that it is broken
        code = said.get("auto_map") if isinstance(said, dict) else None
        if isinstance(code, dict):
            code = code.get("AutoTokenizer")
        elif name == "config.json":
            code = None  # in the old form it says nothing of tokenizers
        if code:
            raise UserError(
                f"{file} says that the tokenizer is code (auto_map), and a model's code is not run; remove "
                "auto_map if tokenizer.json works without it, or use another model"
            )


def _refuse_links(directory: Path) -> None:
    """Raise `UserError` for a file of the folder, as a tokenizer may have it, that is a link out of it."""
    for pattern in ("*.json", "*.jinja", "*.model", "*.txt", "additional_chat_templates", "*/*.jinja"):
        for file in sorted(directory.glob(pattern)):
            file_within(directory, str(file.relative_to(directory)))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
