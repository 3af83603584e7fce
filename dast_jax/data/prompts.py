"""From a question and exemplars to the token ids of a prompt, and from a response to the ids to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dast_jax.data.options import PromptOptions
from dast_jax.errors import UserError
from dast_jax.records import Exemplar

__all__ = ["PromptBuilder", "PromptTokenizer", "PromptTooLongError"]

_SLOT = "{question}"
_CHAT_ONLY = ("user_template", "user_suffix")


class PromptTokenizer(Protocol):
    """What a `PromptBuilder` needs of `models.tokenizer.Tokenizer`."""

    bos_id: int | None
    eos_ids: tuple[int, ...]

    @property
    def has_chat_template(self) -> bool: ...

    def encode(self, text: str) -> list[int]: ...

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]: ...


class PromptTooLongError(ValueError):
    """The zero-shot prompt alone is over the limit; such a query is skipped and named, never truncated."""


class PromptBuilder:
    """Builds prompts of at most `max_prompt_tokens` tokens in one style.

    `shortened` counts the prompts built so far that had exemplars dropped to fit, `dropped_exemplars`
    the exemplars.
    """

    def __init__(self, tokenizer: PromptTokenizer, options: PromptOptions, max_prompt_tokens: int):
        """Raise `UserError` for options that do not fit the style, or that the chat template refuses."""
        if options.style == "chat" and not tokenizer.has_chat_template:
            raise UserError(
                "prompts.style: chat needs a model with a chat template, and this one has none; use plain"
            )
        self._tokenizer = tokenizer
        self._options = options
        self._chat = options.style != "plain" and tokenizer.has_chat_template
        self._check_style()
        if self._chat and options.instruction:
            self._check_instruction()
        self._limit = max_prompt_tokens
        self.shortened = 0
        self.dropped_exemplars = 0
        self._end = self._end_of_turn() if self._chat else tokenizer.eos_ids[0]
        self._tail = options.template.partition(_SLOT)[2][-16:]
        self._tail_ids = tokenizer.encode(self._tail)

    @property
    def style(self) -> str:
        """The style in use: "plain" or "chat"."""
        return "chat" if self._chat else "plain"

    def fits(self, question: str) -> bool:
        """Return whether the zero-shot prompt of `question` is within the limit."""
        return len(self._encode(question, ())) <= self._limit

    def build(self, question: str, exemplars: Sequence[Exemplar]) -> tuple[int, ...]:
        """Return the token ids of the prompt, with BOS where the tokenizer has one; the response comes next.

        A prompt over the limit loses its exemplars one by one, from the first. Raises
        `PromptTooLongError` when the question alone is too long.
        """
        for dropped in range(len(exemplars) + 1):
            ids = self._encode(question, exemplars[dropped:])
            if len(ids) <= self._limit:
                self.shortened += dropped > 0
                self.dropped_exemplars += dropped
                return tuple(ids)
        raise PromptTooLongError(f"the prompt has {len(ids)} tokens, above the limit of {self._limit}")

    def response_tokens(self, text: str) -> tuple[int, ...]:
        """Return the token ids to train on after a zero-shot prompt: `text` as a policy writes it, then EOS.

        In plain style the text follows the response prefix, and is encoded after the end of the
        template, so that tokenizers which treat the start of a text specially see none here.
        """
        text = text.strip()
        if self._chat:
            return (*self._tokenizer.encode(text), self._end)
        text = self._options.response_prefix + text
        whole = self._tokenizer.encode(self._tail + text)
        cut = len(self._tail_ids)
        if whole[:cut] != self._tail_ids:  # the tokenizer joins tail and response in one token
            whole, cut = self._tokenizer.encode(text), 0
        return (*whole[cut:], self._end)

    def _encode(self, question: str, exemplars: Sequence[Exemplar]) -> list[int]:
        if self._chat:
            return self._tokenizer.chat(self._messages(question, exemplars))
        parts = [self._options.instruction] if self._options.instruction else []
        parts += [
            self._put(e.question) + self._options.response_prefix + e.response.strip() for e in exemplars
        ]
        text = self._options.separator.join([*parts, self._put(question)])
        bos = self._tokenizer.bos_id
        return ([] if bos is None else [bos]) + self._tokenizer.encode(text)

    def _put(self, question: str) -> str:
        return self._options.template.replace(_SLOT, question)

    def _messages(self, question: str, exemplars: Sequence[Exemplar]) -> list[dict[str, str]]:
        messages = []
        if self._options.instruction:
            messages.append({"role": "system", "content": self._options.instruction})
        for exemplar in exemplars:
            messages.append({"role": "user", "content": self._turn(exemplar.question)})
            messages.append({"role": "assistant", "content": exemplar.response.strip()})
        messages.append({"role": "user", "content": self._turn(question)})
        return messages

    def _turn(self, question: str) -> str:
        return self._options.user_template.replace(_SLOT, question) + self._options.user_suffix

    def _check_style(self) -> None:
        """Raise `UserError` for options that the style in use would ignore."""
        default = PromptOptions()
        others = ("template", "response_prefix", "separator") if self._chat else _CHAT_ONLY
        ignored = [
            f"prompts.{name}" for name in others if getattr(self._options, name) != getattr(default, name)
        ]
        if not ignored:
            return
        if self._chat:
            raise UserError(
                f"{' and '.join(ignored)}: for plain style only, and this model's chat template is used; "
                "set prompts.style=plain, or say it in prompts.user_template or prompts.instruction"
            )
        raise UserError(
            f"{' and '.join(ignored)}: for chat style only, and prompts are plain here; say it in "
            "prompts.template, or use a model with a chat template"
        )

    def _check_instruction(self) -> None:
        """Raise `UserError` for an instruction that the chat template cannot give."""
        self._tokenizer.chat([{"role": "user", "content": "a"}])  # a template that fails anyway says so
        try:
            self._tokenizer.chat(self._messages("a", ()))
        except UserError as error:
            raise UserError(
                "prompts.instruction is the system message, which this model's chat template refuses; "
                f"leave it empty, or set prompts.style=plain ({error})"
            ) from error

    def _end_of_turn(self) -> int:
        """Return the EOS id that the chat template puts after an assistant's turn, else the tokenizer's own.

        Chat models may have several EOS ids, and the one that ends a turn need not be the first.
        """
        before = self._tokenizer.chat([{"role": "user", "content": "a"}])
        after = self._tokenizer.chat(
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ]
        )
        for token in after[len(before) :]:
            if token in self._tokenizer.eos_ids:
                return token
        return self._tokenizer.eos_ids[0]
