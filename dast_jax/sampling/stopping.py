"""Stop strings: where a response ends because of its text. Host side, checked when a tick ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dast_jax.errors import UserError

__all__ = ["StopStrings", "stop_tokens"]

_PARTIAL = "\ufffd"
"""What decoding leaves where the bytes of a character are still incomplete."""


class StopStrings:
    """Finds the smallest number of tokens whose text holds a stop string.

    A function of the tokens alone, wherever ticks happen to end: text of more tokens begins with the text of
    fewer, apart from a character whose bytes are still incomplete, which is ignored.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str], *, min_tokens: int = 0):
        """Search for `stop`; one that is complete before `min_tokens` tokens ends nothing."""
        self._decode = decode
        self._stop = tuple(stop)
        self._min_tokens = min_tokens
        self._last_characters = {s[-1] for s in stop}
        # Decoders may drop blanks around a piece decoded alone, so such an end is not searched for in pieces.
        self._any_token = any(c.isspace() and c != "\n" for c in self._last_characters)
        self._may_end: dict[int, bool] = {}

    def find(self, tokens: Sequence[int], searched: int) -> tuple[int, str] | None:
        """Return (tokens to keep, text before the stop string), or None where no stop string is complete.

        The first `searched` tokens were searched before, without success.
        """
        if not self._stop or not any(map(self._may_complete, tokens[searched:])):
            return None
        if self._cut(tokens, len(tokens)) is None:
            return None
        # There is no stop string in the first `low` tokens, and one in the first `high`.
        low, high = searched, len(tokens)
        while high - low > 1:
            middle = (low + high) // 2
            if self._cut(tokens, middle) is None:
                low = middle
            else:
                high = middle
        text = self._cut(tokens, high)
        assert text is not None
        return high, text

    def _may_complete(self, token: int) -> bool:
        """Return whether this token can complete a stop string (never wrongly False)."""
        if self._any_token:
            return True
        known = self._may_end.get(token)
        if known is None:
            piece = self._decode([token])
            known = _PARTIAL in piece or not self._last_characters.isdisjoint(piece)
            self._may_end[token] = known
        return known

    def _cut(self, tokens: Sequence[int], n: int) -> str | None:
        """Return the text of the first `n` tokens up to the first stop string; None where there is none."""
        if n < max(1, self._min_tokens):
            return None
        text = self._decode(tokens[:n]).rstrip(_PARTIAL)
        begin = (
            len(self._decode(tokens[: self._min_tokens - 1]).rstrip(_PARTIAL)) if self._min_tokens > 1 else 0
        )
        found = [text.find(s, max(0, begin - len(s) + 1)) for s in self._stop]
        first = min((i for i in found if i >= 0), default=-1)
        return text[:first] if first >= 0 else None


def stop_tokens(special: Mapping[str, int], stop: Sequence[str]) -> list[int]:
    """Return the ids of the stop strings that are `special` tokens.

    Raises `UserError` for one that holds a special token and more, which would never be found: decoded text
    has no special tokens.
    """
    for text in stop:
        inside = next((token for token in special if token and token in text and token != text), None)
        if text not in special and inside is not None:
            raise UserError(
                f"sampling.stop: {text!r} holds the special token {inside!r}, which is in no response's "
                "text; give the token alone, or text without it"
            )
    return [special[text] for text in stop if text in special]
