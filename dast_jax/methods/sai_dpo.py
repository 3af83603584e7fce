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
    draw without replacement, in proportion to the weights of what is left; with weights: flat, the control
    for any claim, as many queries are drawn with equal chances

A query's difficulty is what was last seen of it, in a probe or as drawn; of a query never sampled, its
cluster's mean, so that it ranks between those that were solved and those that were not. `step_count` says
what ends a step. Tags are the data's own subjects, else the tagger's (`tagger.endpoint`), else the query's
text. Trials of probed queries that are drawn too are not sampled again. A query whose trials are all correct
or all incorrect gives no pair; if all queries are so, there is nothing to train on in this round, and the
policy is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dast_jax.errors import UserError
from dast_jax.estimators.clustering import ENCODERS
from dast_jax.estimators.estimate import TrialSums, rank_quantiles
from dast_jax.llm.tagger import TaggerOptions
from dast_jax.methods.allocation import draw, numbered
from dast_jax.methods.annotations import Annotation, Clusters
from dast_jax.methods.base import Method, MethodOptions, RoundStart, exemplars_option, warm_up_option
from dast_jax.methods.cluster_means import cluster_errors, filled_by_cluster, last_seen
from dast_jax.methods.pairs import candidates, draw_pairs
from dast_jax.methods.training_sets import reference_set
from dast_jax.options import opt
from dast_jax.records import Pool, PreferenceSet, Requests, Responses, Tally, TrainingSet

__all__ = ["Options", "SaiDpo"]


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Options of `method.name: sai_dpo`."""

    clusters: int = opt(32, "clusters of the queries", min=1)
    encoder: str = opt("policy", "what embeds texts: the base model itself, or the extra", choices=ENCODERS)
    encoder_model: str = opt("all-MiniLM-L6-v2", "model of sentence_transformers")
    tagger: TaggerOptions = opt(TaggerOptions, "the model that tags queries, where the data has no tags")
    probe: float = opt(0.01, "share of the pool that is probed in each round", min=0, max=1)
    trials: int = opt(8, "K, the trials of each probed or drawn query", min=2)
    draw: int = opt(20_000, "queries drawn each round; all of them in a smaller pool", min=1)
    kappa: float = opt(4.0, "κ: the weight, in probed queries, of the mean error within a cluster's", min=0)
    epsilon: float = opt(0.05, "ε: weight of a cluster without errors", min=0)
    weights: str = opt(
        "dynamic", "draw by error and difficulty (dynamic), or all alike (flat)", choices=("dynamic", "flat")
    )
    step_separators: tuple[str, ...] = opt((), "what ends a step of a response; none are the task's own")
    band: str = opt(
        "rank",
        "how difficulty is weighted: rank prefers a quantile of its rank, pairs the probability of a pair",
        choices=("rank", "pairs"),
    )
    centre: float = opt(0.5, "preferred quantile of the difficulty rank", min=0, max=1)
    width: float = opt(0.25, "standard deviation of the preference, in quantiles", min=1e-3)
    pairs: int = opt(1, "maximum pairs per query", min=1)
    exemplars: int = exemplars_option()
    warm_up: bool = warm_up_option(True)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The clusters of the queries."""
        return (Clusters(self.clusters, self.encoder, self.encoder_model, self.tagger),)

    def __post_init__(self) -> None:
        if "" in self.step_separators:
            raise ValueError("step_separators: an empty text ends no step; remove it")


def _probe_size(options: Options, n_queries: int) -> int:
    return int(options.probe * n_queries + 0.5)


class SaiDpo(Method):
    """Run the algorithm box above."""

    state = ("last",)
    options: Options

    def __init__(self, pool: Pool, options: Options, seed: int):
        super().__init__(pool, options, seed)
        n = len(pool)
        if options.clusters > n:
            raise UserError(
                f"method.clusters: {options.clusters} clusters, but there are {n:,} queries; lower it"
            )
        if _probe_size(options, n) < 1:
            raise UserError(
                f"method.probe: {options.probe:g} of {n:,} queries is less than one query; "
                f"use at least {1 / n:g}"
            )
        self.last = np.full((4, n), np.nan, np.float32)  # last seen: P@K, pass rate, steps, length
        self._probe = np.zeros(0, np.int64)  # the queries probed in this round, sorted
        self._probed: list[Responses] = []  # the responses to the probe
        self._drawn: np.ndarray | None = None

    # --- which queries to sample next ---

    def begin(self, round: RoundStart) -> Responses:
        """Draw the queries of the round's probe."""
        n = len(self.pool)
        rng = np.random.default_rng([self.seed, 6, round.number])
        self._probe = np.sort(rng.choice(n, _probe_size(self.options, n), replace=False))
        self._probed = []
        self._drawn = None
        return super().begin(round)

    @property
    def _clusters(self) -> np.ndarray:
        return self.pool.columns[Clusters.column]

    def requests(self, tally: Tally, news: Responses) -> Requests:
        """Return the probe; when it has finished, the queries drawn by what it showed."""
        if self.warming_up or self._drawn is not None:
            return Requests.none()
        self._probed.append(news)
        n, trials = len(self.pool), self.options.trials
        probe = self._probe
        if (tally.requested[probe] == 0).any():
            count = np.zeros(n, np.int64)
            count[probe] = trials
            return numbered(count, tally, self.fixed)
        if (tally.finished[probe] < trials).any():
            return Requests.none()
        self._drawn = self._draw(self._sums(Responses.concatenate(self._probed)))
        count = np.zeros(n, np.int64)
        count[self._drawn] = trials
        return numbered(np.maximum(count - tally.requested, 0), tally, self.plain)

    def _draw(self, probed: TrialSums) -> np.ndarray:
        """Return the queries drawn in this round, sorted int64, from the responses to its probe."""
        rng = np.random.default_rng([self.seed, 7, self.round])
        return draw(self.weights(probed), self.options.draw, rng)

    def weights(self, probed: TrialSums) -> np.ndarray:
        """Return (ε + e_c)·d of every query, float64 [n], from sums over the responses to the probe."""
        o, probe = self.options, self._probe
        if o.weights == "flat":
            return np.ones(len(self.pool))
        fail = 1 - probed.correct[probe] / probed.trials[probe]
        errors = cluster_errors(self._clusters[probe], fail, o.clusters, o.kappa)
        last = last_seen(self.last, probed, probe)
        solved, rate, steps, length = filled_by_cluster(last, self._clusters, o.clusters)
        if o.band == "rank":
            quantile = rank_quantiles(-solved, steps, length)
            band = np.exp(-0.5 * ((quantile - o.centre) / o.width) ** 2)
        else:
            band = 1 - rate**o.trials - (1 - rate) ** o.trials
        weights: np.ndarray = (o.epsilon + errors[self._clusters]) * band
        return weights

    def _sums(self, responses: Responses) -> TrialSums:
        return TrialSums.of(responses, self.pool.queries, self.options.step_separators)

    # --- what to train on ---

    def training_set(self, responses: Responses) -> TrainingSet | PreferenceSet:
        """Return random pairs of the drawn queries."""
        if self.warming_up:
            return reference_set(self.pool)
        n, probe = len(self.pool), self._probe
        probed = self._sums(responses.take(np.flatnonzero(np.isin(responses.query, probe))))
        drawn = self._draw(probed)
        chosen, rejected = candidates(responses, n, [self.seed, self.round], self.distinct)
        wanted = np.zeros(n, np.int64)
        wanted[drawn] = self.options.pairs
        pairs = draw_pairs(chosen, rejected, wanted)
        seen = self._sums(responses)
        self.facts = {
            "probed": len(probe),
            "probe_accuracy": float((seen.correct[probe] / seen.trials[probe]).mean()),
            "drawn": len(drawn),
            "drawn_with_pairs": len(np.unique(pairs.query)),
            "drawn_all_correct": int((seen.correct[drawn] == seen.trials[drawn]).sum()),
            "drawn_none_correct": int((seen.correct[drawn] == 0).sum()),
        }
        self.last = last_seen(self.last, seen, np.flatnonzero(seen.trials))
        return pairs
