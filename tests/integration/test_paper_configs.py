"""The papers' set-ups in configs/papers: each runs at a tiny size, names its sources, and prints whole."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dast_jax.config import RunConfig, build_config, config_dict, config_path, load_config, packaged_configs
from dast_jax.data.mixture import load_training
from dast_jax.data.options import DataOptions
from dast_jax.data.sources import load_queries
from dast_jax.loop.selftrain import run
from dast_jax.options import load_yaml, parse_yaml
from dast_jax.records import PreferenceSet
from dast_jax.store.run_store import RunStore
from dast_jax.train import main

NAMES = ("adastar", "dart_prop2diff", "dart_uniform", "dast", "dast_d", "sai_dpo")
PAPERS = {
    "adastar": "2505.16322",
    "dart_prop2diff": "2407.13690",
    "dart_uniform": "2407.13690",
    "dast": "2503.09029",
    "dast_d": "2503.09029",
    "sai_dpo": "2505.16176",
}
TINY = (
    "model.path=asset:base_model",
    "model.compute_dtype=float32",
    "model.remat=none",
    "mesh.fsdp=1",
    "data.train=asset:problems/train.jsonl",
    "data.limit=8",
    "prompts.style=plain",
    'prompts.instruction=""',
    "evaluation.limit=2",
    "evaluation.length_probe=0",
    "evaluation.probe=0",
    "evaluation.every_round=false",
    "evaluation.max_new_tokens=96",
    "sampling.max_new_tokens=96",
    "sampling.prompt_buckets=[64, 320]",
    "sampling.slots=4",
    "training.batch_size=2",
    "training.sequence_length=256",
    "training.max_steps=2",
    "verifier.workers=1",
    "logging.tensorboard=false",
)
SMALL = {
    "adastar": ("run.rounds=0", "method.batch=2", "method.steps=2"),
    "dart_prop2diff": ("method.trials=2", "method.target=2", "method.max_trials=3", "method.exemplars=2"),
    "dart_uniform": ("method.trials=2", "method.target=2", "method.max_trials=3", "method.exemplars=2"),
    "dast": ("run.rounds=1", "method.trials=5", "method.max_trials=5", "method.exemplars=2"),
    "dast_d": ("run.rounds=1", "method.trials=5", "method.max_trials=5", "method.exemplars=2"),
    "sai_dpo": (
        "run.rounds=0",
        "method.clusters=3",
        "method.probe=0.25",
        "method.draw=8",
        "method.encoder=policy",
        'method.tagger.endpoint=""',
        "method.step_separators=[]",
    ),
}


def sets_of(name: str) -> Sequence[str]:
    return tuple(load_config(f"papers/{name}").evaluation.sets)


def tiny(name: str, folder: object) -> RunConfig:
    """The file's config with another model, other data and small counts; the sets keep their names."""
    sets = (f"evaluation.sets.{each}=asset:problems/test_ood.jsonl" for each in sets_of(name))
    return load_config(f"papers/{name}", [f"run.dir={folder}", *TINY, *SMALL[name], *sets])


def test_there_is_one_for_each_paper():
    assert sorted(each for each in packaged_configs() if "/" in each) == [f"papers/{n}" for n in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_at_a_tiny_size(name, tmp_path):
    config = tiny(name, tmp_path / "run")
    summary = run(config)
    assert summary.status == "finished"
    last = summary.rounds[-1]
    assert set(last.evaluation) == set(sets_of(name))
    assert last.training.steps > 0
    assert last.training.steps <= 2
    pairs = isinstance(RunStore.read(tmp_path / "run").read_training_set(last.round), PreferenceSet)
    assert pairs == (name in ("dast_d", "sai_dpo"))


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_whole_from_any_folder(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--config", f"papers/{name}", "--print-config"]) == 0
    printed = parse_yaml(capsys.readouterr().out)
    config = load_config(f"configs/papers/{name}.yaml")
    assert build_config(printed) == config
    assert printed == config_dict(config)  # every key, defaults included


TAG = re.compile(r"\[(paper|code|figure|page|ours)\]")


@pytest.mark.parametrize("name", NAMES)
def test_each_line_says_where_it_comes_from(name):
    """On the line, in the comment above it, or, for the sets, beside `sets:`; but for names of our own."""
    text = config_path(f"papers/{name}").read_text()
    assert f"arXiv {PAPERS[name]}." in text.split("\n\n")[0].replace("\n#", "")
    above, tagged_sets, untagged = "", False, []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#") or not stripped:
            above = above + stripped if stripped else ""
            continue
        key, _, value = stripped.partition("#")[0].partition(":")
        own = bool(TAG.search(line) or TAG.search(above))
        if key == "sets":
            tagged_sets = own
        inside_sets = line.startswith("    ") and tagged_sets
        if value.strip() and key not in ("dir", "name", "endpoint") and not own and not inside_sets:
            untagged.append(line)
        above = ""
    assert not untagged


@pytest.mark.parametrize("name", NAMES)
def test_its_method_is_of_that_paper(name):
    method = load_yaml(config_path(f"papers/{name}"))["method"]["name"]
    module = importlib.import_module(f"dast_jax.methods.{method}")
    assert PAPERS[name] in module.__doc__


def test_what_the_papers_say_is_what_the_files_say():
    """The facts that the sources state, once more, so that an edit of a file does not change them unseen."""
    dast, dast_d = (load_config(f"papers/{name}") for name in ("dast", "dast_d"))
    for config in (dast, dast_d):
        assert config.training.learning_rate == 2e-5
        assert (config.training.warmup_fraction, config.training.weight_decay) == (0.05, 0.01)
        assert (config.training.clip_norm, config.training.batch_size) == (0.3, 32)
        assert (config.training.schedule, config.training.sequence_length) == ("cosine", 512)
        assert (config.sampling.temperature, config.sampling.top_k) == (0.2, 40)
        assert (config.method.trials, config.run.rounds, config.method.re_estimate) == (10, 3, "never")
        assert {"tal_scq", "college_math", "theoremqa"} < set(config.evaluation.sets)
        assert config.training.start == "restart"
    assert (dast.method.loss, dast.training.epochs) == ("sft", 1)
    assert (dast_d.method.loss, dast_d.training.epochs, dast_d.training.beta) == ("dpo", 3, 0.1)
    assert dast_d.training.reference == "base"
    uniform, prop = (load_config(f"papers/dart_{name}") for name in ("uniform", "prop2diff"))
    assert (uniform.method.target, prop.method.target) == (40, 192)
    for config in (uniform, prop):
        assert (config.sampling.temperature, config.sampling.top_p) == (1.6, 0.95)
        assert config.sampling.max_new_tokens == 2048
        assert (config.training.sequence_length, config.training.batch_size) == (4096, 64)
        assert (config.training.learning_rate, config.training.warmup_fraction) == (5e-5, 0.03)
        assert (config.training.weight_decay, config.training.schedule) == (0.0, "cosine")
    adastar = load_config("papers/adastar")
    assert (adastar.method.batch, adastar.method.steps, adastar.method.growth) == (8, 40, 1.2)
    assert (adastar.method.alpha, adastar.method.collect, adastar.method.trials) == (
        "solved_share",
        "first",
        2,
    )
    assert (adastar.training.learning_rate, adastar.training.batch_size) == (1e-5, 8)
    assert (adastar.sampling.temperature, adastar.sampling.top_p) == (1.0, 0.9)
    sai = load_config("papers/sai_dpo")
    assert (sai.method.probe, sai.method.trials, sai.method.draw) == (0.01, 8, 20_000)


def test_the_two_data_sets_of_the_papers_can_be_sources(tmp_path, monkeypatch):
    """GSM8K and MATH by data.mixture: what is read is what each source holds."""
    monkeypatch.chdir(tmp_path)
    gsm8k = {"question": "Ann has 2 pens and buys 3.", "answer": "She has 2+3 = <<2+3=5>>5.\n#### 5"}
    math = {
        "problem": "Half of a half?",
        "solution": r"It is $\boxed{\frac{1}{4}}$.",
        "level": "Level 2",
        "type": "Algebra",
    }
    sources = []
    for name, row in (("gsm8k.jsonl", gsm8k), ("math.jsonl", math)):
        Path(name).write_text(json.dumps(row) + "\n")
        sources.append(name)
    data = load_config("papers/dast", ["data.train=gsm8k.jsonl", "data.mixture={math.jsonl: 1}"]).data
    apart = [q for name in sources for q in load_queries(name, options=DataOptions(train=name))]
    together = load_training(data)
    assert [replace(q, source="", id="") for q in together] == [replace(q, source="", id="") for q in apart]
    assert (together[0].answer, together[1].answer) == ("5", r"\frac{1}{4}")
    assert together[1].tags == ("Algebra",)
