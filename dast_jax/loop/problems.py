"""The queries of a run: the training pool and the evaluation sets, checked before anything is sampled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dast_jax.config import RunConfig
from dast_jax.data.contamination import find_ngrams, find_overlap
from dast_jax.data.fitting import fitting_queries, named_ids
from dast_jax.data.mixture import load_training
from dast_jax.data.sources import load_queries
from dast_jax.records import Pool, Query
from dast_jax.store.analysis_results import Contamination

__all__ = ["EvaluationSet", "Problems", "load_problems", "queries_digest"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """A named test set; `contamination` names its questions that also appear in the training pool."""

    name: str
    source: str
    queries: tuple[Query, ...]
    skipped: tuple[str, ...]
    contamination: Contamination

    @property
    def labelled(self) -> bool:
        """Whether the data itself gives its queries levels."""
        return any(query.level is not None for query in self.queries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """The training pool and the evaluation sets; `skipped` names queries whose prompt does not fit."""

    source: str
    pool: Pool
    skipped: tuple[str, ...]
    evaluation: Mapping[str, EvaluationSet]


def load_problems(config: RunConfig, fits: Callable[[str], bool]) -> Problems:
    """Load the sets that `config` names. `fits(question)` says whether the zero-shot prompt is short enough.

    Warnings name overlong queries, which are skipped, test questions that also appear in the training data,
    as a whole or in most of their n-grams, and training data with hardly more than one answer. Raises
    `UserError` when nothing is left.
    """
    functions = config.verifier.functions
    train, skipped = fitting_queries(load_training(config.data, functions), fits, config.data.train)
    _warn_of_one_class(train, config.data.train)
    _warn_of_lacking_solutions(train, config.data.train)
    sets = {}
    for name, source in config.evaluation.sets.items():
        limited = config.data.for_evaluation(limit=config.evaluation.limit)
        loaded = load_queries(source, options=limited, functions=functions)
        queries, too_long = fitting_queries(loaded, fits, source)
        contamination = _contamination(train, queries, name, (config.data.train, source))
        sets[name] = EvaluationSet(
            name=name, source=source, queries=queries, skipped=too_long, contamination=contamination
        )
    return Problems(source=config.data.train, pool=Pool(train), skipped=skipped, evaluation=sets)


def queries_digest(queries: Sequence[Query]) -> str:
    """Return the SHA-256 of what queries hold and of their order, wherever they were read from."""
    digest = hashlib.sha256()
    for q in queries:
        row = [q.id, q.question, q.answer, q.solution, q.level, q.task, *q.tags]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def _contamination(
    train: Sequence[Query], test: Sequence[Query], name: str, sources: tuple[str, str]
) -> Contamination:
    """Return which test questions appear in the training data, and warn of them; of each once."""
    overlap, ngrams = find_overlap(train, test), find_ngrams(train, test)
    exact = {query.id: None for query, _ in overlap.pairs}
    if exact:
        log.warning("evaluation.sets.%s: %s", name, overlap.message(*sources))
    in_part = dataclasses.replace(ngrams, seen=tuple((q, s) for q, s in ngrams.seen if q.id not in exact))
    if in_part.seen:
        log.warning("evaluation.sets.%s: %s", name, in_part.message(*sources))
    return Contamination(
        exact=tuple(exact),
        ngrams={query.id: share for query, share in ngrams.seen},
        mean_share=ngrams.mean_share,
        short=ngrams.short,
    )


_CLASSES = ("choice", "yes_no", "bool", "label")
_ONE_CLASS = 0.9
"""Share of one answer from which a warning is given."""


def _warn_of_one_class(queries: Sequence[Query], source: str) -> None:
    """Warn if answers are classes and nearly all the same: the policy would learn to always give that one."""
    answers = [query.answer for query in queries if query.task in _CLASSES]
    if not answers:
        return
    answer, count = Counter(answers).most_common(1)[0]
    if count >= _ONE_CLASS * len(answers):
        log.warning(
            "%s: the answer of %d of %d queries is %s, so a policy that always gives it looks good; "
            "check the rows",
            source,
            count,
            len(answers),
            answer,
        )


def _warn_of_lacking_solutions(queries: Sequence[Query], source: str) -> None:
    """Name the queries that have no reference solution where others do.

    They are missing in what is trained on, and among the exemplars. Where none has one, a method that needs
    them refuses.
    """
    lacking = [query.id for query in queries if not query.solution]
    if lacking and len(lacking) < len(queries):
        log.warning(
            "%s: %d of %d queries have no solution, so no reference of theirs is trained on; add it, or set "
            "data.answer_as_solution: %s",
            source,
            len(lacking),
            len(queries),
            named_ids(lacking),
        )
