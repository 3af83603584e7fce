"""Find test questions that also appear in the training data."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dast_jax.records import Query

__all__ = ["Overlap", "find_overlap", "normalize_question"]


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
