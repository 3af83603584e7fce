"""Tokenizers of folders that have only SentencePiece's `tokenizer.model`, as the first Llamas do.

The model is read with the protocol that transformers ships, and built as that of a .gguf file is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dast_jax.assets.paths import file_within
from dast_jax.errors import UserError
from dast_jax.models.gguf_tokenizer import build_tokenizer

__all__ = ["read_sentencepiece"]

_BPE = 2
_SPECIAL = ("bos", "eos", "unk", "pad")


def read_sentencepiece(directory: Path) -> Any:
    """Return a transformers tokenizer for the folder's `tokenizer.model` and `tokenizer_config.json`.

    Raises `UserError` where the model is damaged, no BPE, or changes texts in a way that is not rebuilt here.
    """
    file = file_within(directory, "tokenizer.model")
    model = _parse(file)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type != _BPE:
        raise UserError(f"{file}: is not a BPE model of SentencePiece; convert it to tokenizer.json")
    if normalizer.precompiled_charsmap or normalizer.remove_extra_whitespaces:
        raise UserError(f"{file}: normalizes texts before it splits them; convert it to tokenizer.json")
    settings = _settings(directory, "tokenizer_config.json")
    template = settings.get("chat_template")
    jinja = file_within(directory, "chat_template.jinja")
    if jinja.is_file():
        template = jinja.read_text(encoding="utf-8")
    inner = build_tokenizer(
        {
            "model": "llama",
            "tokens": [piece.piece for piece in model.pieces],
            "scores": [piece.score for piece in model.pieces],
            "token_type": [piece.type for piece in model.pieces],  # GGUF has the same numbers
            "bos_token_id": trainer.bos_id,
            "eos_token_id": trainer.eos_id,
            "unknown_token_id": trainer.unk_id,
            "padding_token_id": trainer.pad_id,
            "add_bos_token": settings.get("add_bos_token", True),
            "add_space_prefix": normalizer.add_dummy_prefix,
        },
        chat_template=template if isinstance(template, str) else None,
        where=str(file),
    )
    _add_tokens(inner, directory, settings)
    for name in _SPECIAL:
        stated = settings.get(f"{name}_token")
        content = stated.get("content") if isinstance(stated, dict) else stated
        if content:
            if inner.convert_tokens_to_ids(content) in (None, inner.unk_token_id) and name != "unk":
                raise UserError(
                    f"{directory}: {name}_token is {content!r}, which the tokenizer does not have"
                )
            setattr(inner, f"{name}_token", content)
    return inner


def _parse(file: Path) -> Any:
    try:
        from transformers.utils import sentencepiece_model_pb2_new
    except ImportError as error:
        raise UserError(f"{file}: reading it needs the package protobuf ({error}); install it") from None
    protocol: Any = sentencepiece_model_pb2_new  # whose classes are made when it is imported
    model = protocol.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf's own kinds of errors differ between its versions
        raise UserError(f"{file}: cannot be read as a SentencePiece model ({error})") from None
    if not model.pieces:
        raise UserError(f"{file}: is a SentencePiece model without pieces; download it again")
    return model


def _add_tokens(inner: Any, directory: Path, settings: dict[str, Any]) -> None:
    """Add the tokens that the folder's JSON files have beyond the model's, under the ids they say."""
    from transformers import AddedToken

    added: dict[int, tuple[str, bool]] = {}
    for content, id in _settings(directory, "added_tokens.json").items():
        added[int(id)] = content, False
    for id, entry in (settings.get("added_tokens_decoder") or {}).items():
        added[int(id)] = entry["content"], bool(entry.get("special"))
    for id, (content, special) in sorted(added.items()):
        inner.add_tokens([AddedToken(content, special=special, normalized=False)], special_tokens=special)
        if inner.convert_tokens_to_ids(content) != id:
            raise UserError(
                f"{directory}: the added token {content!r} has the id {id}, and is number "
                f"{inner.convert_tokens_to_ids(content)} of the tokenizer's; convert it to tokenizer.json"
            )


def _settings(directory: Path, name: str) -> dict[str, Any]:
    file = file_within(directory, name)
    try:
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); download the model again") from None
    return said if isinstance(said, dict) else {}
