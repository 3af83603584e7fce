"""SAI-DPO: self-aware iterative DPO with dynamic data selection, arXiv 2505.16176.

    offline    tag the queries, embed the tags, K-Means: clusters
    round t    probe a small random subset, K trials a query: where does the policy fail?
               draw the round's queries from the pool by weight (ε + e_c) · d
               sample them; DPO on a random correct and a random incorrect response of each

From the paper: the clusters, a probe of 1 %, K = 8, 20,000 queries a round, the drawing by cluster error
and difficulty, the random pair, and self-aware difficulty, which is lexicographic: P@K first (is one of K
trials correct), then the number of steps, then the mean length; lower P@K, more steps and longer responses
are harder. Its formulas were not reachable; [ours] are these:

    e_c = (wrong_c + κ·ē) / (n_c + κ)       n_c probed queries of cluster c, wrong_c the sum of their fail
                                            rates, ē the fail rate of the whole probe
    d   = exp(−((q − centre) / width)² / 2) q the quantile of the query's difficulty rank, 0 the easiest;
                                            or, with band: pairs, 1 − p^K − (1−p)^K, the chance of a
                                            valid pair
    draw without replacement, in proportion to the weights of what is left

A query's difficulty is what was last seen of it, in a probe or as drawn; of a query never sampled, its
cluster's mean, so that it ranks between those that were solved and those that were not. A step is a line that
is not blank. Tags are the data's own subjects, else those of the tagger (`tagger.endpoint`), else the query's
text stands for them. Trials of probed queries that are drawn too are not sampled again. A query whose trials
are all correct or none correct gives no pair; with all queries so there is nothing to train on in this round,
and the policy stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.clustering import ENCODERS, make_encoder
from dast_jax.estimators.estimate import count_steps, rank_quantiles
from dast_jax.llm.tagger import Tagger, TaggerOptions
from dast_jax.methods.base import ModelTools
from dast_jax.methods.clusters import cluster_queries, subjects
from dast_jax.methods.common import MethodBase, exemplars_option, numbered, warm_up_option
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set
from dast_jax.options import opt
from dast_jax.records import Pool, PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["Options", "SaiDpo", "cluster_errors", "draw", "make"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `method.name: sai_dpo`."""

    clusters: int = opt(32, "clusters of the queries", min=1)
    encoder: str = opt(
        "policy", "what makes vectors of texts: the base model itself, or the extra", choices=ENCODERS
    )
    encoder_model: str = opt("all-MiniLM-L6-v2", "model of sentence_transformers")
    tagger: TaggerOptions = opt(TaggerOptions, "the model that tags queries, where the data has no tags")
    probe: float = opt(0.01, "share of the pool that is probed each round", min=0, max=1)
    trials: int = opt(8, "K, the trials of each probed or drawn query", min=2)
    draw: int = opt(20_000, "queries drawn each round; a smaller pool is taken whole", min=1)
    kappa: float = opt(4.0, "κ: so many probed queries' weight has the mean error in a cluster's", min=0)
    epsilon: float = opt(0.05, "ε: weight of a cluster without errors", min=0)
    band: str = opt(
        "rank",
        "how difficulty weighs: rank prefers a quantile of the difficulty rank, pairs the chance of a pair",
        choices=("rank", "pairs"),
    )
    centre: float = opt(0.5, "quantile of the difficulty rank that is preferred", min=0, max=1)
    width: float = opt(0.25, "standard deviation of the preference, in quantiles", min=1e-3)
    pairs: int = opt(1, "most pairs of a query", min=1)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)


def make(pool: Pool, options: Options, seed: int, tools: ModelTools | None = None) -> SaiDpo:
    """The method bound to its pool; raises `UserError` for more clusters than queries, or an empty probe."""
    n = len(pool)
    if options.clusters > n:
        raise UserError(
            f"method.clusters: {options.clusters} clusters, and there are {n:,} queries; lower it"
        )
    if _probe_size(options, n) < 1:
        raise UserError(
            f"method.probe: {options.probe:g} of {n:,} queries is less than one query; use at least {1 / n:g}"
        )
    if tools is None:
        raise ValueError("sai_dpo needs tools to embed the queries")
    if options.tagger.endpoint and not all(query.tags for query in pool.queries):
        Tagger(options.tagger, name="method.tagger")  # says at once what it lacks; nothing is asked
    return SaiDpo(pool, options, seed, tools)


def _probe_size(options: Options, n_queries: int) -> int:
    return int(options.probe * n_queries + 0.5)


# --- the formulas -------------------------------------------------------------------------------------


def cluster_errors(cluster: np.ndarray, fail: np.ndarray, clusters: int, kappa: float) -> np.ndarray:
    """e_c float64 [clusters], from probed queries' `cluster` int [q] and fail rate float [q]."""
    n = np.bincount(cluster, minlength=clusters)
    wrong = np.bincount(cluster, weights=fail, minlength=clusters)
    mean = fail.mean()
    return np.where(n + kappa > 0, (wrong + kappa * mean) / np.maximum(n + kappa, 1e-12), mean)


def draw(weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` queries drawn one by one without replacement in proportion to `weight` float [n]; sorted int64.

    Queries of weight 0 are never drawn. By exponential race (Efraimidis and Spirakis, 2006).
    """
    eligible = np.flatnonzero(weight > 0)
    arrival = rng.exponential(size=len(weight))[eligible] / weight[eligible]
    if count < len(eligible):
        eligible = eligible[np.argpartition(arrival, count - 1)[:count]]
    return np.sort(eligible)


# --- the method ---------------------------------------------------------------------------------------


class _Sums:
    """Sums over the responses seen of each query, int64 [n]; the same in whatever order they come."""

    def __init__(self, n_queries: int, responses: Responses | None = None):
        self.trials, self.correct, self.steps, self.length = (np.zeros(n_queries, np.int64) for _ in range(4))
        if responses is not None:
            self.add(responses)

    def add(self, responses: Responses) -> None:
        steps = np.fromiter(map(count_steps, responses.text), np.int64, len(responses))
        n = len(self.trials)
        self.trials += np.bincount(responses.query, minlength=n)
        self.correct += np.bincount(responses.query[responses.correct], minlength=n)
        self.steps += np.bincount(responses.query, weights=steps, minlength=n).astype(np.int64)
        self.length += np.bincount(responses.query, weights=responses.length, minlength=n).astype(np.int64)


class SaiDpo(MethodBase):
    """See the module's docstring for the algorithm."""

    def __init__(self, pool: Pool, options: Options, seed: int, tools: ModelTools):
        super().__init__(pool, options, seed)
        self._tools = tools
        n = len(pool)
        self._clusters: np.ndarray | None = None
        self._last = np.full((4, n), np.nan, np.float32)  # last seen: P@K, pass rate, steps, length
        self._probe = np.zeros(0, np.int64)  # the queries probed in this round, sorted
        self._seen = _Sums(n)
        self._drawn: np.ndarray | None = None
        self._facts: dict[str, Any] = {}

    # --- whom to sample next ---

    def start_round(self, round: int, earlier: Responses) -> Responses:
        if self._clusters is None:
            o = self._options
            encoder = make_encoder(o.encoder, policy=self._tools.embed, model=o.encoder_model)
            texts = subjects(self._pool, o.tagger)
            self._clusters = cluster_queries(texts, o.clusters, encoder, self._seed)
        n = len(self._pool)
        rng = np.random.default_rng([self._seed, 6, round])
        self._probe = np.sort(rng.choice(n, _probe_size(self._options, n), replace=False))
        self._seen = _Sums(n)
        self._drawn = None
        return super().start_round(round, earlier)

    def observe(self, responses: Responses) -> None:
        self._seen.add(responses)

    def requests(self, tally: Tally) -> Requests:
        """The probe; when it has finished, the queries drawn by what it showed."""
        if self._warming_up or self._drawn is not None:
            return Requests.none()
        n, trials = len(self._pool), self._options.trials
        probe = self._probe
        if (tally.requested[probe] == 0).any():
            count = np.zeros(n, np.int64)
            count[probe] = trials
            return numbered(count, tally, self._plain)
        if (tally.finished[probe] < trials).any():
            return Requests.none()
        self._drawn = self._draw(self._seen)
        count = np.zeros(n, np.int64)
        count[self._drawn] = trials
        return numbered(np.maximum(count - tally.requested, 0), tally, self._plain)

    def _draw(self, probed: _Sums) -> np.ndarray:
        """The queries drawn in this round, sorted int64, from the responses to its probe."""
        rng = np.random.default_rng([self._seed, 7, self._round])
        return draw(self.weights(probed), self._options.draw, rng)

    def weights(self, probed: _Sums) -> np.ndarray:
        """(ε + e_c)·d of every query, float64 [n], from sums over the responses to the probe."""
        o, probe = self._options, self._probe
        assert self._clusters is not None, "start_round comes first"
        fail = 1 - probed.correct[probe] / probed.trials[probe]
        errors = cluster_errors(self._clusters[probe], fail, o.clusters, o.kappa)
        solved, rate, steps, length = self._filled(self._updated(probed, probe))
        if o.band == "rank":
            quantile = rank_quantiles(-solved, steps, length)
            band = np.exp(-0.5 * ((quantile - o.centre) / o.width) ** 2)
        else:
            band = 1 - rate**o.trials - (1 - rate) ** o.trials
        return (o.epsilon + errors[self._clusters]) * band

    def _updated(self, sums: _Sums, queries: np.ndarray) -> np.ndarray:
        """What was last seen of each query, float32 [4, n], with `queries` as `sums` has them."""
        last = self._last.copy()
        trials, correct = sums.trials[queries], sums.correct[queries]
        last[:, queries] = (
            correct > 0,
            correct / trials,
            sums.steps[queries] / trials,
            sums.length[queries] / trials,
        )
        return last

    def _filled(self, last: np.ndarray) -> np.ndarray:
        """`last` float64 [4, n] with the cluster's mean, else the pool's, for queries never seen."""
        assert self._clusters is not None
        seen = ~np.isnan(last[0])
        own, n_clusters = self._clusters[seen], self._options.clusters
        count = np.bincount(own, minlength=n_clusters)
        filled = last.astype(np.float64)
        for row in filled:
            total = np.bincount(own, weights=row[seen], minlength=n_clusters)
            mean = np.where(count > 0, total / np.maximum(count, 1), row[seen].mean())
            row[~seen] = mean[self._clusters[~seen]]
        return filled

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        if self._warming_up:
            return reference_set(self._pool)
        n, probe = len(self._pool), self._probe
        probed = _Sums(n, responses.take(np.flatnonzero(np.isin(responses.query, probe))))
        drawn = self._draw(probed)
        chosen, rejected = candidates(responses, n, [self._seed, self._round])
        wanted = np.zeros(n, np.int64)
        wanted[drawn] = self._options.pairs
        pairs = draw_pairs(chosen, rejected, wanted)
        seen = _Sums(n, responses)
        self._facts = {
            "probed": len(probe),
            "probe_accuracy": float((seen.correct[probe] / seen.trials[probe]).mean()),
            "drawn": len(drawn),
            "drawn_with_pairs": len(np.unique(pairs.query)),
            "drawn_all_correct": int((seen.correct[drawn] == seen.trials[drawn]).sum()),
            "drawn_none_correct": int((seen.correct[drawn] == 0).sum()),
        }
        self._last = self._updated(seen, np.flatnonzero(seen.trials))
        return pairs

    # --- what to remember ---

    def state(self) -> Mapping[str, np.ndarray]:
        """`clusters` int32 [n]; `last` float32 [4, n], what was last seen of each query, NaN for nothing."""
        clusters = {} if self._clusters is None else {"clusters": self._clusters}
        return {**clusters, "last": self._last.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._clusters = np.asarray(state["clusters"], np.int32) if "clusters" in state else None
        self._last = np.array(state["last"], np.float32)

    def facts(self) -> Mapping[str, Any]:
        return self._facts
