"""Clusters of queries by what they are about."""

from __future__ import annotations

import logging

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.clustering import Encoder, embed, kmeans
from dast_jax.llm.tagger import Tagger, TaggerOptions
from dast_jax.records import Pool

__all__ = ["cluster_queries", "subjects"]

log = logging.getLogger(__name__)


def subjects(pool: Pool, tagger: TaggerOptions) -> list[str]:
    """What each query is about, as a text to embed.

    [ours] The data's own tags (subjects, types) where every query has some. Else, where `tagger` has an
    endpoint, those without tags are tagged by it, and what stays untagged gives its own text, with a warning,
    or ends the run with a `UserError`, as `tagger.fallback` says. Without one every query gives its text.
    """
    tags = [", ".join(query.tags) for query in pool.queries]
    bare = [i for i, tag in enumerate(tags) if not tag]
    if not bare:
        return tags
    if not tagger.endpoint:
        return [query.question for query in pool.queries]
    found, _ = Tagger(tagger, name="method.tagger")([pool.queries[i].question for i in bare])
    for i, names in zip(bare, found, strict=True):
        tags[i] = ", ".join(names or ())
    untagged = tags.count("")
    if untagged and tagger.fallback == "stop":
        raise UserError(
            f"method.tagger: {untagged:,} of {len(bare):,} queries got no tags; look at the endpoint, or set "
            "method.tagger.fallback"
        )
    if untagged:
        log.warning("method.tagger: %d of %d queries got no tags; their text stands in", untagged, len(bare))
    return [tag or query.question for tag, query in zip(tags, pool.queries, strict=True)]


def cluster_queries(texts: list[str], clusters: int, encoder: Encoder, seed: int) -> np.ndarray:
    """The cluster of each query by its text from `subjects`, int32 [n], in [0, `clusters`).

    [ours] Where there are no more different texts than clusters, each is a cluster; else K-Means on
    unit vectors.
    """
    place = {text: i for i, text in enumerate(sorted(set(texts)))}
    which = np.array([place[text] for text in texts], np.int32)
    if len(place) <= clusters:
        return which
    return kmeans(embed(list(place), encoder), clusters, seed=seed)[which]
