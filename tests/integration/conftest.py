"""A small run on the embedded model, and the same run as a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.faults import SMALL


def arguments(run_dir: Path, *overrides: str) -> list[str]:
    """The small run's arguments to the train command."""
    return ["--config", "quickstart", f"run.dir={run_dir}", *SMALL, *overrides]


def command(run_dir: Path, *overrides: str) -> list[str]:
    """The small run's command line."""
    return [sys.executable, "-m", "dast_jax.train", *arguments(run_dir, *overrides)]


def run_command(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the JAX settings of this process's environment."""
    return subprocess.run(
        arguments, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def summary(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def weights(run_dir: Path, round: int) -> dict[str, np.ndarray]:
    """The policy after `round`, by parameter name."""
    import jax

    from dast_jax.assets import resolve_path
    from dast_jax.models.hf import open_folder
    from dast_jax.models.load import abstract_model
    from dast_jax.training.checkpoint import load_policy

    config = open_folder(resolve_path("asset:base_model")).config
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract_model(config)[1]
    )
    params = load_policy(run_dir / "checkpoints" / f"round_{round:02d}", like)
    return {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken small run."""
    run_dir = tmp_path_factory.mktemp("runs") / "unbroken"
    result = run_command(command(run_dir))
    assert result.returncode == 0, result.stderr
    return run_dir
