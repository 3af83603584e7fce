"""The prompts of a round's trials in a whole tiny run, also when it is resumed: by query, kind and block."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from dast_jax.config import RunConfig, build_config, config_path
from dast_jax.data.prompts import PromptBuilder
from dast_jax.errors import InterruptedRunError
from dast_jax.loop.round_requests import RoundRequests
from dast_jax.loop.selftrain import run
from dast_jax.methods.exemplars import BLOCK
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.records import PromptKind, Responses
from dast_jax.store.run_store import RunStore

TRIALS = 2 * BLOCK + 1
QUERIES = 6


def config(folder: Path) -> RunConfig:
    mapping = load_yaml(config_path("quickstart"))
    mapping["method"] = {"name": "dart_uniform", "trials": BLOCK, "target": 99, "max_trials": TRIALS}
    overrides = (
        f"run.dir={folder}", "run.rounds=0", f"data.limit={QUERIES}", "evaluation.limit=2",
        "evaluation.length_probe=0", "evaluation.probe=0", "evaluation.max_new_tokens=16",
        "sampling.max_new_tokens=24",
        "sampling.slots=8", "training.batch_size=2", "training.epochs=1", "logging.tensorboard=false",
    )  # fmt: skip
    return build_config(apply_overrides(mapping, overrides))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[tuple[str, ...]]]:
    """The sets of exemplars' questions that few-shot prompts of each question were built with."""
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    build = PromptBuilder.build

    def noted(self, question, exemplars):
        if exemplars:
            found[question].add(tuple(e.question for e in exemplars))
        return build(self, question, exemplars)

    monkeypatch.setattr(PromptBuilder, "build", noted)
    return found


def names(responses: Responses) -> list[tuple]:
    order = np.lexsort((responses.trial, responses.query))
    columns = (responses.query, responses.trial, responses.kind, responses.text, responses.logprob)
    return list(zip(*(column[order].tolist() for column in columns), strict=True))


def test_estimates_share_one_prompt_and_samples_one_per_block(shown, tmp_path, monkeypatch):
    run(config(tmp_path / "whole"))
    whole = RunStore.read(tmp_path / "whole").response_log(0).responses()
    assert len(whole) == QUERIES * TRIALS
    assert np.array_equal(whole.kind == PromptKind.FIXED, whole.trial < BLOCK)
    assert {len(sets) for sets in shown.values()} == {3}  # of the estimate and of the two blocks after it
    fixed = [s for sets in shown.values() for s in sets if sum(s in other for other in shown.values()) > 1]
    assert len(set(fixed)) <= 2  # the same for all queries but those that are in it

    ahead = RoundRequests.next

    def stopping(self, tick):
        if tick == 9:
            raise InterruptedRunError("stopped by the test")
        return ahead(self, tick)

    seen = {question: set(sets) for question, sets in shown.items()}
    with monkeypatch.context() as patch:
        patch.setattr(RoundRequests, "next", stopping)
        with pytest.raises(InterruptedRunError):
            run(config(tmp_path / "broken"))
    stored = len(RunStore.read(tmp_path / "broken").response_log(0).responses())
    assert 0 < stored < len(whole)
    run(config(tmp_path / "broken"))
    assert names(RunStore.read(tmp_path / "broken").response_log(0).responses()) == names(whole)
    assert shown == seen  # the same prompts as before, and no others
