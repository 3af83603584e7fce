"""The prompts of a round's trials in a whole tiny run, also when it is resumed: by query, kind and block."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from dast_jax.config import RunConfig, build_config, config_path
from dast_jax.data.options import DataOptions
from dast_jax.data.prompts import PromptBuilder
from dast_jax.data.sources import load_queries
from dast_jax.errors import InterruptedRunError, UserError
from dast_jax.loop.round_requests import RoundRequests
from dast_jax.loop.selftrain import run
from dast_jax.methods.exemplars import BLOCK
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.records import PromptKind, Responses
from dast_jax.store.evaluation_results import EvalFile
from dast_jax.store.run_store import RunStore

TRIALS = 2 * BLOCK + 1
QUERIES = 6


def config(folder: Path) -> RunConfig:
    mapping = load_yaml(config_path("quickstart"))
    mapping["method"] = {"name": "dart_uniform", "trials": BLOCK, "target": 99, "max_trials": TRIALS}
    return build_config(apply_overrides(mapping, overrides(folder)))


def overrides(folder: Path) -> tuple[str, ...]:
    """Return what makes the run tiny."""
    return (
        f"run.dir={folder}", "run.rounds=0", f"data.limit={QUERIES}", "evaluation.limit=2",
        "evaluation.length_probe=0", "evaluation.probe=0", "evaluation.max_new_tokens=16",
        "sampling.max_new_tokens=24",
        "sampling.slots=8", "training.batch_size=2", "training.epochs=1", "logging.tensorboard=false",
        "mesh.cpu_data=0",
    )  # fmt: skip


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


def test_own_exemplars_are_shown_everywhere_and_few_shot_evaluation_too(shown, tmp_path):
    """`prompts.exemplars` in trials and in evaluations; another file on resuming is refused."""
    own = [{"question": f"{i}+{i}=?", "answer": str(2 * i), "solution": f" {2 * i}"} for i in range(3)]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in own))
    keys = [f"prompts.exemplars={file}", "evaluation.exemplars=2", "method.exemplars=3"]
    chosen = load_yaml(config_path("quickstart")) | {
        "method": {"name": "dart_uniform", "trials": 2, "max_trials": 2, "target": 2}
    }
    chosen = apply_overrides(chosen, [*overrides(tmp_path / "run"), *keys])
    summary = run(build_config(chosen))
    questions = tuple(row["question"] for row in own)
    store = RunStore.read(tmp_path / "run")
    pool = load_queries("asset:problems/train.jsonl", options=DataOptions(train="", limit=QUERIES))
    for query in pool:
        assert shown[query.question] == {questions}
    asked = {row.question for row in store.read_result(EvalFile, "rounds/base/eval.json").samples}
    assert asked
    for question in asked:
        assert shown[question] == {questions[:2]}
    assert summary.status == "finished"
    file.write_text(file.read_text().replace("2+2=?", "2+1=?"))
    with pytest.raises(UserError, match=r"data\.train or prompts\.exemplars: .* does not hold the queries"):
        run(build_config(apply_overrides(chosen, ["run.rounds=1"])))
