"""The export command on a run directory made with the store, as a run makes it."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
import yaml
from model_cases import TEXT, case, state_equal, tokenizer, write_folder
from reference.llama_cases import hf_config, weights

from dast_jax.config import build_config, run_settings
from dast_jax.export import main
from dast_jax.metrics import stats
from dast_jax.metrics.flops import Flops
from dast_jax.models.load import load_model
from dast_jax.models.model_card import model_card
from dast_jax.store.evaluation_results import EvalEntry, VerdictCounts
from dast_jax.store.results import EvaluationResult, TrainedResult, TrainingResult
from dast_jax.store.run_store import RunStore
from dast_jax.training.checkpoint import save_policy

NAME = "tied"


@pytest.fixture
def run(tmp_path):
    """A run of two rounds that has trained rounds 0 and 1; round r's weights are the base's times r + 2."""
    base = write_folder(tmp_path / "base", hf_config(NAME), weights(NAME))
    mapping = {
        "run": {"dir": str(tmp_path / "run"), "rounds": 2},
        "model": {"path": str(base)},
        "data": {"train": "train.jsonl"},
    }
    with RunStore.open(run_settings(build_config(mapping))) as store:
        for round in (0, 1):
            save_policy(store.path / "checkpoints" / f"round_{round:02d}", _policy(round))
            store.mark_done(f"{round:02d}/train", TrainedResult(training=TrainingResult(), flops=Flops()))
        return store.path


def _policy(round):
    return jax.tree.map(lambda x: x * (round + 2), case(NAME)[2])


def test_the_last_trained_round_is_exported(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--run", str(run), "--out", str(out)]) == 0
    assert "round 1" in capsys.readouterr().out
    loaded = load_model(out)
    assert state_equal(loaded.params, _policy(1))
    assert loaded.tokenizer.encode(TEXT[0]) == tokenizer().encode(TEXT[0])
    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    # again, over the first, another round in another precision
    assert main(["--run", str(run), "--out", str(out), "round=0", "dtype=bfloat16"]) == 0
    tensors = safetensors.numpy.load_file(out / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"bfloat16"}
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_transformers_loads_the_export(run, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra [parity])")
    import transformers

    assert main(["--run", str(run), "--out", str(tmp_path / "out")]) == 0
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    expected = torch.from_numpy(3 * weights(NAME)["model.embed_tokens.weight"])
    assert torch.equal(model.get_input_embeddings().weight, expected)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs(TEXT[0], add_special_tokens=False)["input_ids"] == tokenizer().encode(TEXT[0])


def test_an_export_says_what_it_is(run, tmp_path):
    out = tmp_path / "out"
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}="
    (tmp_path / "base" / "chat_template.jinja").write_text(template)
    assert main(["--run", str(run), "--out", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert "`base` after round 1" in card
    assert "method `dast`" in card
    assert str(tmp_path) not in card  # it may be published
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == 2
    assert load_model(out).tokenizer.inner.chat_template == template


def _evaluated(correct):
    """An evaluation of forty questions, `correct` of them solved."""
    found = stats.accuracy_entry(np.repeat([1, 0], [correct, 40 - correct]), 1)
    return EvalEntry(
        **vars(found), by_level={}, truncated=0, mean_length=12.5, trials=1, pass_at={}, majority_at={},
        verdicts=VerdictCounts(correct=correct, incorrect=40 - correct, no_answer=0, timed_out=0),
    )  # fmt: skip


@pytest.fixture
def evaluated(run):
    """The run with evaluations: 10 of 40 correct by the base model, 30 after round 0, 20 after round 1."""
    manifest = RunStore.read(run)
    with RunStore.open(run_settings(build_config(manifest.config))) as store:
        for name, correct in (("base", 10), ("00", 30), ("01", 20)):
            paired = stats.PairedDifference(difference=0.5, interval=(0.3, 0.7))
            result = EvaluationResult(
                evaluation={"mine": _evaluated(correct)},
                paired={} if name == "base" else {"mine": paired},
                length_ratio=None,
                probe=None,
                flops=Flops(),
            )
            store.mark_done(f"{name}/evaluate", result)
    return run


def test_the_best_round_is_exported_with_its_card(evaluated, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    assert main(["--run", str(evaluated), "--out", str(out), "round=best"]) == 0
    shown = capsys.readouterr()
    assert "the policy after round 0, the best" in shown.out
    assert "best of 75.0 % after round 0, 50.0 % after round 1" in shown.err
    assert state_equal(load_model(out).params, _policy(0))
    card = (out / "README.md").read_text()
    low, high = _evaluated(30).interval
    for text in (
        "Method: `dast`, 1 rounds (0 to 0), seed 0",
        "Training data: `train.jsonl`",
        f"| 40 | 25.0 % [14.2, 40.2] | 75.0 % [{100 * low:.1f}, {100 * high:.1f}] |",
        "| +50.0 [+30.0, +70.0] | 12.5 |",
        "greedy, one response to each, zero-shot",
        "chosen by its accuracy on these sets, which makes it look better",
        "dast-jax train --config config.yaml",
        "learning_rate: 2.0e-05",
        "Versions: python",
    ):
        assert text in card, card
    assert str(tmp_path) not in card
    config = build_config(yaml.safe_load(card.split("```yaml")[1].split("```")[0]))
    assert config.method_name == "dast"  # it reads back
    assert main(["--run", str(evaluated), "--out", str(out)]) == 0
    assert "makes it look better" not in (out / "README.md").read_text()


def test_no_round_is_best_before_one_is_evaluated(run, tmp_path, capsys):
    assert main(["--run", str(run), "--out", str(tmp_path / "out"), "round=best"]) == 2
    assert "no round has been evaluated, so none is best; name a round, or last" in capsys.readouterr().err


def test_the_card_of_a_hub_model_names_it():
    card = model_card("owner/name@abc", case("qwen2")[0], method="star", round=3)
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "owner/name"
    assert "`owner/name` (revision abc) after round 3" in card
    assert "Qwen2ForCausalLM" in card
    assert "base_model" not in model_card("../owner/name", case("qwen2")[0], method="star", round=3)


def test_nothing_is_exported_where_it_cannot_be_pushed(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--run", str(run), "--out", str(out), "--push", "owner/name"]) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run", "{run}", "--out", "{new}", "round=2"], "round 2 has not been trained; choose one of 0, 1"),
        (["--run", "{new}", "--out", "{new}"], "new"),
        (["--run", "{run}", "--out", "{run}"], "holds something that is not a model"),
        (["--run", "{run}", "--out", "{run}/config.yaml"], "is a file"),
        (["--run", "{run}", "--out", "{new}", "dtype=int8"], "dtype"),
        (
            ["--run", "{run}", "--out", "{new}", "round=first"],
            "round: expected a number from 0, or last, best;",
        ),
        (
            ["--run", "{run}", "--out", "{new}", "round=-1"],
            "round: expected a number from 0, or last, best; got",
        ),
        (["--run", "{run}"], "--out"),
    ],
)
def test_mistakes_are_named(arguments, said, run, tmp_path, capsys):
    filled = [a.format(run=run, new=tmp_path / "new") for a in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
