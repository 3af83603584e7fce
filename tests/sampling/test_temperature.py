"""A temperature per request gives the tokens of an engine set to it, in one program for all of them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_llama

from dast_jax.errors import UserError
from dast_jax.records import Requests, StageKey
from dast_jax.sampling.scheduler import StaticRequests, sample

KEY = StageKey(seed=3, round=1, stage=0)
PROMPTS = tiny_llama.prompts()[:6]
TEMPERATURES = (0.5, 1.0, 1.6, 0.0)


class Tempered(StaticRequests):
    """Trial t of every prompt at temperature `temperatures[t]`."""

    def __init__(self, prompts, temperatures):
        super().__init__(prompts, trials=len(temperatures))
        self._temperatures = np.array(temperatures, np.float32)

    def next(self, tick):
        requests = super().next(tick)
        return Requests(requests.query, requests.trial, requests.kind, self._temperatures[requests.trial])


def tokens(engine, source):
    sample(engine, source, key=KEY)
    return [[r.tokens for r in row] for row in source.rollouts]


def test_a_request_at_a_temperature_draws_what_an_engine_of_that_temperature_draws(make_engine):
    mixed = tokens(make_engine(temperature=0.9), Tempered(PROMPTS, TEMPERATURES))
    for t, temperature in enumerate(TEMPERATURES):
        alone = tokens(
            make_engine(temperature=temperature), StaticRequests(PROMPTS, trials=len(TEMPERATURES))
        )
        assert [row[t] for row in mixed] == [row[t] for row in alone], temperature


def test_requests_without_a_temperature_take_the_configured_one(make_engine):
    engine = make_engine(temperature=0.5)
    plain = tokens(engine, StaticRequests(PROMPTS, trials=2))
    assert plain == tokens(engine, Tempered(PROMPTS, (0.5, 0.5)))
    assert plain != tokens(engine, Tempered(PROMPTS, (1.5, 1.5)))


def test_temperatures_compile_nothing_again(make_engine):
    engine = make_engine(temperature=0.9)
    tokens(engine, Tempered(PROMPTS, TEMPERATURES))
    before = engine.compilations()
    tokens(engine, Tempered(PROMPTS, (0.3, 1.3, 0.7)))
    tokens(engine, StaticRequests(PROMPTS))
    assert engine.compilations() == before


def test_a_greedy_engine_takes_no_other_temperature(make_engine):
    with pytest.raises(UserError, match=r"sampling\.temperature"):
        tokens(make_engine(temperature=0), Tempered(PROMPTS, (1.0,)))
