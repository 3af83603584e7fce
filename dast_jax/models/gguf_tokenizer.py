"""Tokenizers from the metadata of .gguf files, built with the `tokenizers` package (no torch, no hub).

Two kinds: byte-level BPE with merges ("gpt2"), whose way of splitting text into words is named by `pre`, and
SentencePiece BPE with scores ("llama").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from dast_jax.errors import UserError

__all__ = ["build_tokenizer"]

# llama.cpp's token types
_CONTROL, _USER_DEFINED = 3, 4

_MAX_TOKEN, _MAX_CUTS = 4_096, 8_000_000
"""Characters of one SentencePiece token, and of all; a vocabulary of 256,000 tokens has about two million."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(metadata: dict[str, Any], *, chat_template: str | None, where: str) -> Any:
    """Return a transformers tokenizer; `metadata` holds the `tokenizer.ggml.*` keys without that prefix.

    Raises `UserError` if the kind of tokenizer, or its way of splitting text into words, is not supported.
    """
    from transformers import PreTrainedTokenizerFast

    kind, tokens = metadata.get("model"), metadata.get("tokens")
    if kind not in ("gpt2", "llama") or not tokens:
        raise UserError(f"{where}: tokenizer model {kind!r} is not supported (gpt2 and llama are)")
    backend = _byte_level(metadata, tokens, where) if kind == "gpt2" else _sentencepiece(metadata, tokens)
    types = metadata.get("token_type") or []
    for token, type_ in zip(tokens, types, strict=False):
        if type_ in (_CONTROL, _USER_DEFINED):
            added = AddedToken(token, special=type_ == _CONTROL, normalized=False)
            (backend.add_special_tokens if type_ == _CONTROL else backend.add_tokens)([added])

    def special(name: str) -> str | None:
        index = metadata.get(f"{name}_token_id")
        return None if index is None or not 0 <= index < len(tokens) else tokens[index]

    bos = special("bos")
    if bos is not None and _adds_bos(metadata):
        backend.post_processor = processors.Sequence(
            [
                *([backend.post_processor] if backend.post_processor else []),
                processors.TemplateProcessing(
                    single=f"{bos} $A",
                    pair=f"{bos} $A {bos} $B",
                    special_tokens=[(bos, metadata["bos_token_id"])],
                ),
            ]
        )
    names = {"bos_token": bos, "eos_token": special("eos"), "unk_token": special("unknown")}
    names["pad_token"] = special("padding")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in names.items() if token is not None},
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def _adds_bos(metadata: dict[str, Any]) -> bool:
    """Return whether a text starts with BOS; where the file is silent, as in llama.cpp.

    By default SentencePiece and Llama 3 do.
    """
    default = metadata["model"] == "llama" or metadata.get("pre") in ("llama3", "llama-v3", "llama-bpe")
    return bool(metadata.get("add_bos_token", default))


def _byte_level(metadata: dict[str, Any], tokens: Sequence[str], where: str) -> Backend:
    pre = metadata.get("pre")
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.get("merges") or []]
    backend = Backend(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=merges,
            # Llama 3's words that are tokens themselves are not rebuilt from merges.
            ignore_merges=pre in ("llama3", "llama-v3", "llama-bpe"),
        )
    )
    bytes_after_regex = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if pre == "gpt-2":
        backend.pre_tokenizer = bytes_after_regex
    elif pre == "smollm":
        single_digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([single_digits, bytes_after_regex])
    elif pre in ("llama3", "llama-v3", "llama-bpe", "qwen2"):
        digits = "" if pre == "qwen2" else "{1,3}"
        words = pre_tokenizers.Split(Regex(_WORDS.replace("DIGITS", digits)), behavior="isolated")
        if pre == "qwen2":
            backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_only])
    else:
        raise UserError(
            f"{where}: pre-tokenizer {pre!r} is not supported (gpt-2, smollm, llama-bpe and qwen2 are); "
            "use the original Hugging Face folder"
        )
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(metadata: dict[str, Any], tokens: Sequence[str]) -> Backend:
    vocab = {token: i for i, token in enumerate(tokens)}
    unknown = metadata.get("unknown_token_id", 0)
    backend = Backend(
        models.BPE(
            vocab=vocab,
            merges=_merges_from_scores(tokens, metadata["scores"], vocab),
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = bool(metadata.get("add_space_prefix", True))
    spaces = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return backend


def _merges_from_scores(
    tokens: Sequence[str], scores: Sequence[float], vocab: dict[str, int]
) -> list[tuple[str, str]]:
    """Return the merges, best first: SentencePiece joins the pair whose result has the highest score.

    Raises `ValueError` where the tokens are so long that this would take forever.
    """
    if max(map(len, tokens)) > _MAX_TOKEN or sum(map(len, tokens)) > _MAX_CUTS:
        raise ValueError(f"tokens of up to {max(map(len, tokens)):,} characters")
    ranked: list[tuple[float, int, int, tuple[str, str]]] = []
    for token, score in zip(tokens, scores, strict=True):
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocab and right in vocab:
                ranked.append((-score, vocab[left], vocab[right], (left, right)))
    return [pair for *_, pair in sorted(ranked)]
