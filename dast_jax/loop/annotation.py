"""The annotation stage: results of a judge, a tagger or an encoder for the queries, as columns of the pool.

A method declares what it needs (`methods.annotations`). It is requested once, before anything is
sampled, and stored, as an endpoint may answer differently the next time. Only the base model's own encoder
imports jax.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.clustering import Encoder, embed, kmeans, make_encoder
from dast_jax.estimators.estimate import check_rated
from dast_jax.llm.judge import Judge, JudgeOptions
from dast_jax.llm.tagger import Tagger, TaggerOptions
from dast_jax.methods import make_method
from dast_jax.methods.annotations import Annotation, Clusters, Ratings
from dast_jax.records import Pool
from dast_jax.runtime.progress import OnProgress, silent

if TYPE_CHECKING:
    from dast_jax.loop.context import Context
    from dast_jax.loop.policy import Policy

__all__ = ["annotate", "annotated_pool", "ask_annotations", "check_annotations"]

log = logging.getLogger(__name__)

_JUDGE, _TAGGER = "method.judge", "method.tagger"


# --- the stage --------------------------------------------------------------------------------------


def annotate(context: Context) -> dict[str, Any]:
    """Compute the annotations that the run's method needs, and store them."""
    config = context.config
    make_method(config.method, context.pool, config.run.seed)  # what does not suit it is refused first
    columns = ask_annotations(
        context.pool,
        config.method.annotations,
        policy_encoder=_policy_encoder(context.policy),
        seed=config.run.seed,
        on_progress=context.on_progress,
    )
    context.store.write_annotations(context.pool, columns)
    return {}


def annotated_pool(context: Context) -> Pool:
    """Return the training queries with the stored columns."""
    if not context.config.method.annotations:
        return context.pool
    return dataclasses.replace(context.pool, columns=context.store.read_annotations(context.pool))


def _policy_encoder(policy: Policy) -> Encoder:
    """Return the encoder that takes the mean of M_0's last hidden states over a text's tokens."""
    from dast_jax.loop.lead import tell_embedding
    from dast_jax.loop.policy import BASE
    from dast_jax.models.embed import mean_pooled

    def encode(texts: Sequence[str]) -> np.ndarray:
        tokens = [policy.tokenizer.encode(text) for text in texts]
        params = policy.after(BASE)
        tell_embedding(tokens)
        return mean_pooled(policy.graphdef, params, tokens, mesh=policy.mesh)

    return encode


# --- asking -----------------------------------------------------------------------------------------


def check_annotations(pool: Pool, wanted: Sequence[Annotation]) -> None:
    """Raise `UserError` where an endpoint, its model or its key is not set; nothing is asked."""
    for annotation in wanted:
        if isinstance(annotation, Ratings):
            Judge(annotation.judge, name=_JUDGE)
        elif annotation.tagger.endpoint and not all(query.tags for query in pool.queries):
            Tagger(annotation.tagger, name=_TAGGER)


def ask_annotations(
    pool: Pool,
    wanted: Sequence[Annotation],
    *,
    policy_encoder: Encoder,
    seed: int,
    on_progress: OnProgress = silent,
) -> dict[str, np.ndarray]:
    """Return the columns of `wanted` by name, [n] each; `policy_encoder` is the base model's own.

    Raises `UserError` where something is not set, or where a query gets no answer and the options' `fallback`
    says stop.
    """
    check_annotations(pool, wanted)
    columns: dict[str, np.ndarray] = {}
    for annotation in wanted:
        if isinstance(annotation, Ratings):
            columns[annotation.column] = _ratings(pool, annotation.judge, on_progress)
        else:
            columns[annotation.column] = _clusters(pool, annotation, policy_encoder, seed, on_progress)
    return columns


def _ratings(pool: Pool, options: JudgeOptions, on_progress: OnProgress) -> np.ndarray:
    """Return the judge's ratings, float64 [n], NaN where it gave none; failures are logged."""
    questions = [query.question for query in pool.queries]
    ratings, _ = Judge(options, name=_JUDGE)(questions, on_progress=on_progress)
    if options.fallback == "stop":
        check_rated(ratings, _JUDGE)
    return ratings


def _clusters(
    pool: Pool, wanted: Clusters, policy_encoder: Encoder, seed: int, on_progress: OnProgress
) -> np.ndarray:
    """Return the cluster of each query by the text of its subjects, int32 [n], in [0, `wanted.count`).

    [ours] Where there are no more different texts than clusters, each is a cluster; else K-Means on
    unit vectors.
    """
    texts = _subjects(pool, wanted.tagger, on_progress)
    place = {text: i for i, text in enumerate(sorted(set(texts)))}
    which = np.array([place[text] for text in texts], np.int32)
    if len(place) <= wanted.count:
        return which
    encoder = make_encoder(wanted.encoder, policy=policy_encoder, model=wanted.encoder_model)
    vectors = embed(list(place), encoder, on_progress=on_progress)
    return kmeans(vectors, wanted.count, seed=seed)[which]


def _subjects(pool: Pool, tagger: TaggerOptions, on_progress: OnProgress) -> list[str]:
    """Return what each query is about, as a text to embed.

    [ours] The data's own tags (subjects, types) where every query has some. Else, where `tagger` has an
    endpoint, it tags those without, and what stays untagged gives its own text, with a warning, or ends the
    run with a `UserError`, as `tagger.fallback` says. Without an endpoint every query gives its text.
    """
    tags = [", ".join(query.tags) for query in pool.queries]
    untagged = [i for i, tag in enumerate(tags) if not tag]
    if not untagged:
        return tags
    if not tagger.endpoint:
        return [query.question for query in pool.queries]
    questions = [pool.queries[i].question for i in untagged]
    found, _ = Tagger(tagger, name=_TAGGER)(questions, on_progress=on_progress)
    for i, names in zip(untagged, found, strict=True):
        tags[i] = ", ".join(names or ())
    missing = tags.count("")
    if missing and tagger.fallback == "stop":
        raise UserError(
            f"{_TAGGER}: {missing:,} of {len(untagged):,} queries got no tags; check the endpoint, or set "
            f"{_TAGGER}.fallback"
        )
    if missing:
        log.warning(
            "%s: %d of %d queries got no tags; their text is used instead", _TAGGER, missing, len(untagged)
        )
    return [tag or query.question for tag, query in zip(tags, pool.queries, strict=True)]
