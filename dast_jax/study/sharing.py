"""What the runs of a study share: trials of the base model and compiled samplers.

Round 0 of every run samples M_0. There `CachedRequests` wraps the run's request source, and gets from a
`TrialCache` what another run has sampled already; neither the loop nor its stages depend on it, and no result
changes. The cost of a trial from the cache is counted as if the run had sampled it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dast_jax.config import RunConfig, config_dict
from dast_jax.records import Requests, Rollout, SamplingStats, StageKey
from dast_jax.store.durable import plain
from dast_jax.store.trial_cache import CachedTrial, TrialCache, TrialKey, trial_key

if TYPE_CHECKING:
    from dast_jax.loop.context import Tools
    from dast_jax.loop.policy import Policy
    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.options import SamplingOptions
    from dast_jax.sampling.scheduler import RequestSource

__all__ = ["CachedRequests", "base_fingerprint", "sharing_tools"]

_OF_ONE_METHOD = ("run", "method", "training", "logging", "profile")
"""Sections that do not affect M_0's responses, except for `run.seed`."""


def base_fingerprint(config: RunConfig) -> str:
    """Return a digest that is equal for two configs only where M_0's trials and evaluation are the same."""
    kept = {name: value for name, value in config_dict(config).items() if name not in _OF_ONE_METHOD}
    text = json.dumps([config.run.seed, plain(kept)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sharing_tools(config: RunConfig, cache: TrialCache, engines: dict[Any, Engine]) -> Tools:
    """Return a run's tools; they answer M_0's trials from `cache` and reuse the `engines` of earlier runs."""
    from dast_jax.loop.context import COLLECT, Tools, make_engine, stage_key
    from dast_jax.sampling.scheduler import sample

    first_round = stage_key(config.run.seed, 0, COLLECT)

    def engine(policy: Policy, options: SamplingOptions) -> Engine:
        key = (config.model, policy.sampling_graphdef, options, policy.sampling_mesh)
        if key not in engines:
            engines[key] = make_engine(policy, options)
        return engines[key]

    def cached_sample(
        engine: Engine,
        source: RequestSource,
        *,
        key: StageKey,
        progress: Callable[[SamplingStats], None] | None = None,
    ) -> SamplingStats:
        if key != first_round:
            return sample(engine, source, key=key, progress=progress)
        requests = CachedRequests(source, cache)

        def on_tick(cost: SamplingStats) -> None:
            if progress is not None:
                progress(cost + requests.cached_cost)

        cost = sample(engine, requests, key=key, progress=on_tick)
        whole = cost + requests.cached_cost
        requests.keep(cost)
        return whole

    return Tools(make_engine=engine, sample=cached_sample)


class CachedRequests:
    """A `RequestSource` around another one that answers from a trial cache, and puts new trials into it."""

    def __init__(self, source: RequestSource, cache: TrialCache):
        self._source = source
        self._cache = cache
        self._asked: dict[tuple[int, int], tuple[int, float | None]] = {}
        self._keys: dict[tuple[int, int], TrialKey] = {}
        self._replayed: dict[tuple[int, int], CachedTrial | None] = {}
        self._cached_tokens: Counter[int] = Counter()  # by batch
        self._sampled: list[Rollout] = []

    @property
    def cached_cost(self) -> SamplingStats:
        """What sampling the responses that came from the cache has cost."""
        return self._cache.cost_of(self._cached_tokens)

    def next(self, tick: int) -> Requests:
        """Return the source's requests."""
        requests = self._source.next(tick)
        temperatures: Sequence[float | None] = (
            [None] * len(requests) if requests.temperature is None else requests.temperature.tolist()
        )
        columns = requests.query.tolist(), requests.trial.tolist(), requests.kind.tolist()
        for query, trial, kind, temperature in zip(*columns, temperatures, strict=True):
            self._asked[query, trial] = kind, temperature
        return requests

    def block(self, kind: int, trial: int) -> int:
        """Return the source's block."""
        return self._source.block(kind, trial)

    def prompt(self, query: int, kind: int, block: int) -> Sequence[int]:
        """Return the source's prompt."""
        return self._source.prompt(query, kind, block)

    def known(self, query: int, trial: int) -> Rollout | None:
        """Return the response that the source stored, else the one in the cache."""
        stored = self._source.known(query, trial)
        if stored is not None:
            self._replayed[query, trial] = None
            return stored
        found = self._cache.get(self._key(query, trial))
        if found is None:
            return None
        self._replayed[query, trial] = found
        return dataclasses.replace(found.rollout, kind=self._asked[query, trial][0])

    def finished(self, responses: list[Rollout], tick: int) -> None:
        """Hand the responses to the source; note which were sampled, and which came from the cache."""
        for rollout in responses:
            name = rollout.query, rollout.trial
            if name not in self._replayed:
                self._sampled.append(rollout)
            elif (cached := self._replayed[name]) is not None:
                self._cached_tokens[cached.batch] += len(rollout.tokens)
        self._source.finished(responses, tick)

    def done(self) -> bool:
        """Return whether the source is done."""
        return self._source.done()

    def keep(self, cost: SamplingStats) -> None:
        """Put what was sampled into the cache, as one batch that cost `cost`, and save it."""
        self._cache.put_batch(((self._key(r.query, r.trial), r) for r in self._sampled), cost)
        self._cache.save()

    def _key(self, query: int, trial: int) -> TrialKey:
        if (query, trial) not in self._keys:
            kind, temperature = self._asked[query, trial]
            prompt = self._source.prompt(query, kind, self._source.block(kind, trial))
            self._keys[query, trial] = trial_key(query, trial, prompt, temperature)
        return self._keys[query, trial]
