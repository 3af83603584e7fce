"""Find test questions that also appear in the training data, as a whole or in most of their n-grams."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dast_jax.records import Query

__all__ = ["NGRAM", "NgramOverlap", "Overlap", "find_ngrams", "find_overlap", "normalize_question"]

NGRAM = 8
"""[ours] Words of an n-gram, signs included: long enough that few are seen by chance."""

SEEN = 0.5
"""[ours] Share of a question's n-grams from which it counts as seen."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Test queries whose question is a training question: pairs (test, train), and how many match exactly."""

    pairs: tuple[tuple[Query, Query], ...]
    exact: int

    @property
    def count(self) -> int:
        """Number of test queries."""
        return len(self.pairs)

    def message(self, train: str, test: str) -> str:
        """Return one sentence for a warning, with the first five test queries named."""
        names = ", ".join(query.id for query, _ in self.pairs[:5]) + (", …" if self.count > 5 else "")
        one = self.count == 1
        return (
            f"{self.count:,} question{'' if one else 's'} of {test} also appear{'s' if one else ''} "
            f"in {train} ({self.exact:,} word for word): {names}"
        )


def find_overlap(train: Sequence[Query], test: Sequence[Query]) -> Overlap:
    """Return the test queries whose question, after `normalize_question`, is one of `train`."""
    known: dict[str, Query] = {}
    for query in train:
        known.setdefault(normalize_question(query.question), query)
    exact = {query.question for query in train}
    pairs = [(query, known[key]) for query in test if (key := normalize_question(query.question)) in known]
    return Overlap(tuple(pairs), exact=sum(query.question in exact for query, _ in pairs))


def normalize_question(text: str) -> str:
    """Return `text` with Unicode composition, case and white space normalized.

    Punctuation and exponents stay: `7+12` and `7-12`, x² and x2 are different questions.
    """
    return "".join(unicodedata.normalize("NFC", text).casefold().split())


@dataclass(frozen=True, slots=True)
class NgramOverlap:
    """How much of the test questions the training questions hold, by n-grams of `NGRAM` words.

    `seen` are the test queries with at least the share `SEEN` of their n-grams in the training questions, and
    that share; `mean_share` is the mean of the questions that have n-grams, `short` counts the others.
    """

    seen: tuple[tuple[Query, float], ...]
    mean_share: float | None
    short: int

    def message(self, train: str, test: str) -> str:
        """Return one sentence for a warning, with the first five test queries named."""
        names = ", ".join(f"{query.id} ({share:.0%})" for query, share in self.seen[:5])
        count = len(self.seen)
        one = count == 1
        return (
            f"{count:,} question{'' if one else 's'} of {test} share{'s' if one else ''} at least {SEEN:.0%} "
            f"of {'its' if one else 'their'} {NGRAM}-grams with questions of {train}: {names}"
            f"{', …' if count > 5 else ''}"
        )


def find_ngrams(train: Sequence[Query], test: Sequence[Query]) -> NgramOverlap:
    """Return the test queries whose n-grams appear in the training questions.

    Only the test set's n-grams are kept in memory, so the training set may be large.
    """
    own = [set(_ngrams(query.question)) for query in test]
    wanted = set().union(*own)
    known = (
        {gram for query in train for gram in _ngrams(query.question) if gram in wanted} if wanted else set()
    )
    shares = [len(grams & known) / len(grams) if grams else None for grams in own]
    rated = [share for share in shares if share is not None]
    return NgramOverlap(
        seen=tuple(
            (query, share)
            for query, share in zip(test, shares, strict=True)
            if share is not None and share >= SEEN
        ),
        mean_share=sum(rated) / len(rated) if rated else None,
        short=len(shares) - len(rated),
    )


_WORD = re.compile(r"\w+|[^\w\s]")


def _ngrams(text: str) -> Iterable[tuple[str, ...]]:
    """Return the n-grams of words of the normalized text; a sign is a word too."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    return zip(*(words[i:] for i in range(NGRAM)), strict=False)
