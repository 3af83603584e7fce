"""The keys of `evaluate`: each is used or refused, and a run's config can be given."""

from __future__ import annotations

import pytest

from dast_jax.errors import UserError
from dast_jax.evaluate import ARGUMENTS
from dast_jax.inference.evaluate_model import evaluate_model

GIVEN = ["--model", "asset:base_model", "--data", "asset:problems/test_ood.jsonl"]


@pytest.mark.parametrize(
    "key",
    [
        "evaluation.sets.x=y",
        "evaluation.every_round=false",
        "evaluation.level_trials=2",
        "evaluation.length_probe=1",
        "sampling.temperature=1",
        "sampling.top_k=1",
        "sampling.top_p=0.5",
        "sampling.trials=2",
    ],
)
def test_keys_that_evaluate_has_no_use_for_are_refused(key):
    with pytest.raises(UserError, match=key.split("=")[0].removesuffix(".x") + ": unknown key"):
        ARGUMENTS.parse([*GIVEN, key])


def test_a_run_config_is_read_without_the_keys_of_runs():
    _, options = ARGUMENTS.parse(["--config", "quickstart", *GIVEN])
    assert options.sampling.stop == ("\n\n",)
    assert not hasattr(options.evaluation, "sets")


def test_limit_takes_the_first_queries():
    shapes = ["sampling.slots=4", "sampling.max_new_tokens=4", "sampling.prompt_buckets=[128]"]
    _, options = ARGUMENTS.parse([*GIVEN, *shapes, "evaluation.limit=3", "data.limit=5"])
    assert evaluate_model(options).n == 3


def test_few_shot_needs_exemplars_and_a_mixture_is_named_as_ignored(caplog):
    shapes = ["sampling.slots=4", "sampling.max_new_tokens=4", "sampling.prompt_buckets=[128]"]
    few = ["evaluation.limit=3", "evaluation.exemplars=20", "data.mixture={x.jsonl: 1}"]
    _, options = ARGUMENTS.parse([*GIVEN, *shapes, *few])
    with pytest.raises(UserError, match=r"evaluation\.exemplars: there are none to show; name a file"):
        evaluate_model(options)
    own = "prompts.exemplars=asset:problems/train.jsonl"
    _, options = ARGUMENTS.parse([*GIVEN, *shapes, *few, own])
    with caplog.at_level("WARNING", "dast_jax"):
        assert evaluate_model(options).n == 3
    assert "data.mixture is ignored: evaluated is asset:problems/test_ood.jsonl alone" in caplog.text
    assert "3 prompts show fewer exemplars than evaluation.exemplars" in caplog.text
