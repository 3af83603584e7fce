"""The pretraining corpus: documents of solved problems, packed into rows of tokens.

A document is one to five `Q: …\\nA: …` blocks joined by blank lines. Three of ten documents of several blocks
are short throughout: their solutions write every second state. Nothing in a first block says so, and what it
writes is therefore not trained on: a model without exemplars learns to write every state, and behind
exemplars to follow their length. A few documents mix both. Of questions, only the first stage of pretraining
learns to write them (`CorpusOptions.questions`). Questions come from the pretraining share of the
hash split (`problems.is_for`), so none is in a training or test set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from problems import LARGE, SMALL, Problem, draw_problem, is_for, render_solution
from tokenizers import Tokenizer

__all__ = ["CorpusOptions", "Document", "Rows", "corpus_problem", "document", "format_problem", "packed_rows"]

Weights = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The mix of documents; all are shares, or weights by number."""

    operations: Weights = ((1, 8), (2, 8), (3, 8), (4, 12), (5, 20), (6, 24), (7, 12), (8, 8))
    problems: Weights = ((1, 30), (2, 8), (3, 10), (4, 12), (5, 40))
    small: float = 0.4
    """share of problems with values to 99; the others go to 999"""
    division: float = 0.08
    """share of problems of two and more operations with a division, one in four of them with two"""
    bare: float = 0.0
    """share of problems of four and more operations, without division, that write one or two products bare"""
    short: float = 0.3
    """share of documents of several blocks that are short"""
    mixed: float = 0.05
    """share of those that mix short and long solutions"""
    questions: bool = False
    """whether questions are trained on too, not only solutions"""


@dataclass(frozen=True)
class Document:
    """A document, and the parts of its text that are read but not trained on, as (start, stop)."""

    text: str
    untrained: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Rows:
    """Packed rows, int32 [B, T] each; segment 0 is padding; `trained` is 1 where a token is a target."""

    tokens: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    trained: np.ndarray


def format_problem(question: str, solution: str) -> str:
    """Return a solved problem as the model reads it."""
    return f"Q: {question}\nA: {solution}"


def _weighted(rng: random.Random, options: Weights) -> int:
    return rng.choices([value for value, _ in options], [weight for _, weight in options])[0]


def corpus_problem(rng: random.Random, options: CorpusOptions) -> Problem:
    """Draw a problem of the corpus."""
    while True:
        operations = _weighted(rng, options.operations)
        limit = SMALL if rng.random() < options.small else LARGE
        divisions = 0
        if operations > 1 and rng.random() < options.division:
            divisions = 2 if operations > 3 and rng.random() < 0.25 else 1
        bare = 0
        if options.bare and operations > 3 and not divisions and rng.random() < options.bare:
            bare = rng.randint(1, 2)
        problem = draw_problem(rng, operations, limit, divisions, bare)
        if is_for(problem.question, "pretraining"):
            return problem


def document(rng: random.Random, options: CorpusOptions) -> Document:
    """One document: its problems and their solutions, joined by blank lines."""
    count = _weighted(rng, options.problems)
    share = 0.0
    if count > 1:
        drawn = rng.random()
        share = 1.0 if drawn < options.short else options.short if drawn > 1 - options.mixed else 0.0
    text, untrained = "", []
    for k in range(count):
        problem = corpus_problem(rng, options)
        short = rng.random() < share
        solution = render_solution(rng, problem, short=short)
        block = format_problem(problem.question, solution)
        start, answer, stop = len(text), len(text) + len(block) - len(solution) - 1, len(text) + len(block)
        if short and not k:
            untrained.append((answer, stop))
        if not options.questions:
            untrained.append((start, answer))
        text += block + "\n\n" * (k < count - 1)
    return Document(text, tuple(untrained))


def packed_rows(
    tokenizer: Tokenizer, end: int, length: int, *, seed: str, options: CorpusOptions, chunk: int = 500
) -> Iterator[Rows]:
    """Endless rows [1, length]: whole documents, each with its end token, first fit into eight open rows.

    A document longer than a row is cut at the row's end.
    """
    rng = random.Random(seed)
    opened: list[list[tuple[list[int], list[int]]]] = [[] for _ in range(8)]
    while True:
        documents = [document(rng, options) for _ in range(chunk)]
        encodings = tokenizer.encode_batch([d.text for d in documents], add_special_tokens=False)
        for read, encoding in zip(documents, encodings, strict=True):
            ids = [*encoding.ids, end][:length]
            trained = [
                int(not any(start <= begin < stop for start, stop in read.untrained))
                for begin, _ in encoding.offsets
            ] + [1]
            for row in opened:
                if sum(len(some) for some, _ in row) + len(ids) <= length:
                    row.append((ids, trained))
                    break
            else:
                fullest = max(range(len(opened)), key=lambda k: sum(len(some) for some, _ in opened[k]))
                yield _row(opened[fullest], length)
                opened[fullest] = [(ids, trained)]


def _row(documents: list[tuple[list[int], list[int]]], length: int) -> Rows:
    tokens, segments, positions, targets = (np.zeros((1, length), np.int32) for _ in range(4))
    start = 0
    for k, (ids, trained) in enumerate(documents, start=1):
        stop = start + len(ids)
        tokens[0, start:stop] = ids
        segments[0, start:stop] = k
        positions[0, start:stop] = np.arange(len(ids))
        targets[0, start:stop] = trained[: len(ids)]
        start = stop
    return Rows(tokens, segments, positions, targets)
