"""The tiny model as parameters, and engines shared by tests that ask for the same options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny():
    """(config, graphdef, params) of the tiny model."""
    import tiny_llama

    from dast_jax.models.hf import build_params, config_from_dict
    from dast_jax.models.load import abstract_model

    config = config_from_dict(tiny_llama.CONFIG, "tiny")
    graphdef, template = abstract_model(config)
    tensors = tiny_llama.tensors()
    params = build_params(template, config, tensors.__getitem__)
    return config, graphdef, params


@pytest.fixture(scope="session")
def make_engine(tiny):
    """make_engine(**options): an engine of the tiny model; the same options give the same engine."""
    import tiny_llama

    from dast_jax.sampling.engine import Engine
    from dast_jax.sampling.options import SamplingOptions

    _, graphdef, params = tiny
    made = {}

    def make(**options):
        options = {
            "slots": 7,
            "prompt_buckets": (16, 40),
            "max_new_tokens": 12,
            "tick_steps": 4,
            "prefill_batch": 3,
            **options,
        }
        key = SamplingOptions(**options)
        if key not in made:
            made[key] = Engine(graphdef, params, tokenizer=tiny_llama.CharTokenizer(), options=key)
        return made[key]

    return make
