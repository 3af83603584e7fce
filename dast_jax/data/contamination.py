"""Do test questions also stand in the training data?"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dast_jax.records import Query

__all__ = ["Overlap", "find_overlap", "normalise_question"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Test queries whose question is a training question: pairs (test, train), and how many match exactly."""

    pairs: tuple[tuple[Query, Query], ...]
    exact: int

    @property
    def count(self) -> int:
        return len(self.pairs)

    def message(self, train: str, test: str) -> str:
        """One sentence for a warning, with the first five test queries named."""
        names = ", ".join(query.id for query, _ in self.pairs[:5]) + (", …" if self.count > 5 else "")
        one = self.count == 1
        return (
            f"{self.count:,} question{'' if one else 's'} of {test} also stand{'s' if one else ''} "
            f"in {train} ({self.exact:,} word for word): {names}"
        )


def find_overlap(train: Sequence[Query], test: Sequence[Query]) -> Overlap:
    """The test queries whose question, evened out by `normalise_question`, is one of `train`."""
    known: dict[str, Query] = {}
    for query in train:
        known.setdefault(normalise_question(query.question), query)
    exact = {query.question for query in train}
    pairs = [(query, known[key]) for query in test if (key := normalise_question(query.question)) in known]
    return Overlap(tuple(pairs), exact=sum(query.question in exact for query, _ in pairs))


def normalise_question(text: str) -> str:
    """`text` with Unicode composition, case and white space evened out.

    Punctuation and exponents stay: `7+12` and `7-12`, x² and x2 are different questions.
    """
    return "".join(unicodedata.normalize("NFC", text).casefold().split())
