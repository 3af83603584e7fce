"""What a small pool leaves out of prompts and probes is said."""

from __future__ import annotations

from pathlib import Path

from dast_jax.config import load_config
from dast_jax.loop.selftrain import run


def test_missing_exemplars_and_probes_are_named(tmp_path: Path, caplog) -> None:
    settings = [
        f"run.dir={tmp_path / 'run'}",
        "run.rounds=0",
        "data.limit=3",
        "evaluation.limit=2",
        "evaluation.max_new_tokens=16",
        "evaluation.length_probe=2",
        "evaluation.probe=2",
        "method.trials=5",
        "method.max_trials=5",
        "sampling.slots=8",
        "sampling.max_new_tokens=16",
        "training.batch_size=2",
        "logging.tensorboard=false",
        "mesh.cpu_data=0",
    ]
    run(load_config("quickstart", settings))
    said = [record.getMessage() for record in caplog.records]
    assert "evaluation.probe: no few-shot prompts" in "\n".join(said)
    assert any(text.startswith("M_0: evaluation.length_probe has no ratio") for text in said)
    assert any(
        text.startswith("round 0: 3 prompts show fewer exemplars than method.exemplars") for text in said
    )
