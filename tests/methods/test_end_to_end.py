"""Every method through the whole loop on the embedded model, with its smallest settings."""

import logging
import math

import numpy as np
import pytest
from simulated_policy import rows
from transformers import AutoTokenizer

from dast_jax.assets import resolve_path
from dast_jax.config import build_config, config_path
from dast_jax.data.sources import load_queries
from dast_jax.errors import InterruptedRunError
from dast_jax.loop import training as learning
from dast_jax.loop.selftrain import run
from dast_jax.options import apply_overrides, load_yaml
from dast_jax.records import PreferenceSet
from dast_jax.reporting.report import render_report
from dast_jax.reporting.run_tables import print_summary
from dast_jax.store.metrics_log import read_metrics
from dast_jax.store.run_store import RunStore
from dast_jax.training.preference import reference_logprobs

METHODS = {
    "dast": {"trials": 5, "max_trials": 5, "loss": "dpo"},
    "vrt": {"trials": 2},
    "rft": {"trials": 2},
    "rest_em": {"trials": 2},
    "dart_uniform": {"trials": 2, "target": 2, "max_trials": 3},
    "dart_prop2diff": {"trials": 2, "target": 2, "max_trials": 3, "warm_up": True},
    "star": {"rationalize": "always", "batch": 2, "steps": 2},
    "star_acc": {"beta": "full"},
    "adastar": {"batch": 2, "steps": 2},
    "sai_dpo": {"clusters": 3, "probe": 0.25, "trials": 3, "draw": 6},
    "hs_star": {"budget": 6, "warm_up": False},
    "sft": {},
    "dpo": {"trials": 4},
    "b_star": {"trials": 2, "probe": 3, "temperatures": [0.7, 1.0]},
    "iterative_rpo": {"trials": 4},
}
"""`dast` with `loss: sft` is what the other integration tests run."""

PAIRS = ("dast", "sai_dpo", "hs_star", "dpo", "iterative_rpo")
SETTING = (
    "data.limit=8",
    "evaluation.limit=2",
    "evaluation.length_probe=0",
    "evaluation.probe=0",
    "evaluation.every_round=false",
    "sampling.max_new_tokens=96",
    "evaluation.max_new_tokens=96",
    "sampling.slots=4",
    "training.batch_size=2",
    "training.epochs=1",
    "logging.tensorboard=false",
    "mesh.cpu_data=0",
)


def config(folder, name, *overrides, **method):
    mapping = load_yaml(config_path("quickstart"))
    mapping["method"] = {"name": name, **(method or METHODS[name])}
    rounds = 0 if name in ("vrt", "rest_em", "dart_uniform", "star", "star_acc", "sft", "hs_star") else 1
    overrides = (f"run.dir={folder}", f"run.rounds={rounds}", *SETTING, *overrides)
    return build_config(apply_overrides(mapping, overrides))


@pytest.mark.parametrize("name", METHODS)
def test_the_method_runs_through_the_loop(name, tmp_path, caplog):
    settings = config(tmp_path / "run", name)
    with caplog.at_level(logging.WARNING, logger="dast_jax"):
        summary = run(settings)
    assert summary.status == "finished"
    last = summary.rounds[-1]
    assert last.evaluation["in_domain"].n == 2
    assert last.flops.sample.padded >= last.flops.sample.useful >= 0
    store = RunStore.read(tmp_path / "run")
    training_set = store.read_training_set(last.round)
    assert isinstance(training_set, PreferenceSet) == (name in PAIRS)
    assert last.training.examples + last.training.skipped == len(training_set)
    if len(training_set):
        assert last.flops.train.useful > 0
    else:
        assert "nothing to train on" in caplog.text
    if name in PAIRS and len(training_set):
        logprobs, _ = store.read_reference(last.round)
        assert logprobs.shape == (len(training_set), 2)
        assert (logprobs < 0).all()
        assert last.training.preference is not None
        first = first_step(tmp_path / "run", last.round)
        # The reference is the policy that the round begins with: before the first update they agree.
        assert first["kl"] == pytest.approx(0, abs=1e-3)
        assert first["reward_margin"] == pytest.approx(0, abs=1e-4)
        beyond = first["loss"] - math.log(2)
        if name == "iterative_rpo":  # and the loss is ln 2 + the chosen responses' NLL per token
            per_token = -logprobs[:, 0] / chosen_tokens(training_set)
            assert 0.01 < per_token.min() - 1e-4 <= beyond <= per_token.max() + 1e-4
        else:
            assert beyond == pytest.approx(0, abs=1e-4)
    assert len(training_set) or name not in ("dpo", "iterative_rpo")
    if name == "adastar":
        first, second = summary.rounds
        assert first.training.examples
        assert second.method["alpha"] == first.method["solved"] / first.method["tried"]


def test_a_training_cut_by_max_steps_says_so(tmp_path, capsys):
    settings = config(tmp_path / "run", "sft", "training.max_steps=1", "training.sequence_length=160")
    summary = run(settings)
    trained = summary.rounds[0].training
    assert (trained.steps, trained.planned_steps > 1) == (1, True)
    assert 0 < trained.unseen < 8
    assert trained.examples == trained.reference_examples == 8 - trained.unseen
    ids = [query.id for query in load_queries(settings.data.train, options=settings.data)]
    (warning,) = [w for w in summary.warnings if "max_steps" in w]
    expected = f"round 0: training.max_steps=1 ended the training before its {trained.planned_steps} steps; "
    assert warning.startswith(f"{expected}{trained.unseen} of 8 examples were never used: ")
    assert warning.split(": ")[-1].split(" and ")[0].split(", ")[0] in ids
    print_summary(summary)
    assert f"1 of {trained.planned_steps}" in capsys.readouterr().out
    page = render_report([tmp_path / "run"])
    assert f"1 of {trained.planned_steps}" in page
    assert f"0, {trained.unseen} not reached" in page


def first_step(folder, round):
    """What the first training step of `round` has logged."""
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if line["stage"] == "train"]
    return next(line for line in lines if (line["round"], line["step"]) == (round, 1))


def chosen_tokens(pairs):
    """About how many tokens each chosen response is trained on, EOS among them."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_path("asset:base_model"))
    return np.array([len(tokenizer.encode(text, add_special_tokens=False)) + 1 for text in pairs.chosen])


class _Interrupted:
    """Makes the run stop right before a stage is marked as done, as a kill there would."""

    def __init__(self, monkeypatch, stage):
        self.whole = RunStore.mark_done
        monkeypatch.setattr(RunStore, "mark_done", lambda store, *args, **more: self(store, *args, **more))
        self.stage, self.stopped = stage, False

    def __call__(self, store, name, result, **more):
        if name == self.stage and not self.stopped:
            self.stopped = True
            raise InterruptedRunError("stopped by the test")
        self.whole(store, name, result, **more)


@pytest.mark.parametrize(("name", "stage"), [("adastar", "00/train"), ("dast", "01/train")])
def test_a_training_stage_that_is_run_again_ends_the_same(name, stage, tmp_path, monkeypatch):
    scored = []

    def noted(*args, **kwargs):
        scored.append(len(args[2]))
        return reference_logprobs(*args, **kwargs)

    monkeypatch.setattr(learning, "reference_logprobs", noted)
    whole = run(config(tmp_path / "whole", name))
    assert len(scored) == (name in PAIRS)
    with monkeypatch.context() as patch:
        _Interrupted(patch, stage)
        with pytest.raises(InterruptedRunError):
            run(config(tmp_path / "broken", name))
    again = run(config(tmp_path / "broken", name))
    assert len(scored) == 2 * (name in PAIRS)  # what the reference said was kept when it was interrupted
    stores = [RunStore.read(tmp_path / folder) for folder in ("whole", "broken")]
    for round in (0, 1):
        ours, theirs = (s.read_arrays(f"rounds/{round:02d}/method.npz") for s in stores)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
        assert rows(stores[0].read_training_set(round)) == rows(stores[1].read_training_set(round))
    for key in ("final_loss", "accuracy", "examples"):
        assert [getattr(r.training, key) for r in again.rounds] == [
            getattr(r.training, key) for r in whole.rounds
        ]
    assert [r.method for r in again.rounds] == [r.method for r in whole.rounds]
    assert [r.flops.train for r in again.rounds] == [r.flops.train for r in whole.rounds]


@pytest.mark.parametrize("start", ["continue", "restart"])
def test_the_reference_is_the_base_model_or_the_rounds_start(start, tmp_path):
    """The pairs have other log-probabilities under M_0 than under M_1, where a restart begins with M_0."""
    found = {}
    for reference in ("round_start", "base"):
        overrides = (f"training.reference={reference}", f"training.start={start}", "data.limit=6")
        folder = tmp_path / reference
        run(config(folder, "dpo", *overrides, trials=4))
        store = RunStore.read(folder)
        logprobs, _ = store.read_reference(1)
        found[reference] = rows(store.read_training_set(1)), logprobs, first_step(folder, 1)
    (ours, by_start, first), (theirs, by_base, other) = found["round_start"], found["base"]
    assert ours == theirs
    assert first["kl"] == pytest.approx(0, abs=1e-3)
    if start == "restart":
        np.testing.assert_array_equal(by_start, by_base)
    else:
        assert np.abs(by_start - by_base).max() > 0.1
        assert abs(other["reward_margin"]) > 1e-3  # training does not start from the reference


def test_start_is_the_methods_own_unless_said_otherwise(tmp_path):
    """Where the second training of rft starts shows in its loss; by itself it restarts."""
    losses = {}
    for start in ("method", "restart", "continue"):
        settings = config(tmp_path / start, "rft", f"training.start={start}", trials=2)
        losses[start] = [r.training.mean_loss for r in run(settings).rounds]
    assert losses["method"] == losses["restart"]
    assert losses["continue"][0] == losses["restart"][0]
    assert losses["continue"][1] < losses["restart"][1]
