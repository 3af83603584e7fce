"""The pretraining corpus: documents of solved problems, packed into rows of tokens.

A document is one to six `Q: …\\nA: …` blocks joined by blank lines. Most documents keep one style of
solution throughout, which is what teaches the model to follow the exemplars in its context. Questions
come from the pretraining share of the hash split (`problems.is_for`), so none is in a training or test set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from problems import draw_problem, is_for, render_solution
from tokenizers import Tokenizer

__all__ = ["CorpusOptions", "Rows", "document", "format_problem", "packed_rows"]


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The mix of documents; all are shares, or weights by number."""

    operations: tuple[tuple[int, int], ...] = ((1, 18), (2, 20), (3, 20), (4, 17), (5, 13), (6, 8), (7, 4))
    nested_right: float = 0.12
    problems: tuple[tuple[int, int], ...] = ((1, 40), (2, 10), (3, 10), (4, 10), (5, 20), (6, 10))
    brief: float = 0.60
    mixed_styles: float = 0.10
    style_slip: float = 0.03


@dataclass(frozen=True)
class Rows:
    """Packed rows, int32 [B, T] each; segment 0 is padding."""

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray


def format_problem(question: str, solution: str) -> str:
    """Return a solved problem as the model reads it."""
    return f"Q: {question}\nA: {solution}"


def _weighted(rng: random.Random, options: tuple[tuple[int, int], ...]) -> int:
    return rng.choices([value for value, _ in options], [weight for _, weight in options])[0]


def document(rng: random.Random, options: CorpusOptions) -> str:
    """One document: its problems and their solutions, joined by blank lines."""
    style = "brief" if rng.random() < options.brief else "detailed"
    mixed = rng.random() < options.mixed_styles
    blocks = []
    for _ in range(_weighted(rng, options.problems)):
        while True:
            operations = _weighted(rng, options.operations)
            nested = 2 <= operations <= 5 and rng.random() < options.nested_right
            problem = draw_problem(rng, operations, nested_right=nested)
            if is_for(problem.question, "pretraining"):
                break
        this = style
        if mixed:
            this = rng.choice(("brief", "detailed"))
        elif rng.random() < options.style_slip:
            this = "detailed" if style == "brief" else "brief"
        blocks.append(format_problem(problem.question, render_solution(rng, problem, this)))
    return "\n\n".join(blocks)


def packed_rows(
    tokenizer: Tokenizer, end: int, length: int, *, seed: str, options: CorpusOptions, chunk: int = 2000
) -> Iterator[Rows]:
    """Endless rows [1, length]: whole documents, each with its end token, first fit into eight open rows.

    A document longer than a row is cut at the row's end.
    """
    rng = random.Random(seed)
    opened: list[list[list[int]]] = [[] for _ in range(8)]
    while True:
        texts = [document(rng, options) for _ in range(chunk)]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            ids = [*encoding.ids, end][:length]
            for row in opened:
                if sum(map(len, row)) + len(ids) <= length:
                    row.append(ids)
                    break
            else:
                fullest = max(range(len(opened)), key=lambda k: sum(map(len, opened[k])))
                yield _row(opened[fullest], length)
                opened[fullest] = [ids]


def _row(documents: list[list[int]], length: int) -> Rows:
    tokens, segments, positions = (np.zeros((1, length), np.int32) for _ in range(3))
    start = 0
    for k, ids in enumerate(documents, start=1):
        stop = start + len(ids)
        tokens[0, start:stop] = ids
        segments[0, start:stop] = k
        positions[0, start:stop] = np.arange(len(ids))
        start = stop
    return Rows(tokens, segments, positions)
