"""Set up before anything imports jax: four virtual CPU devices, one compilation cache, no network.

With COMPILE=quickly in the environment XLA optimizes little, here and in the processes that tests start.
Where compilation is most of the time, as in tests/training, that takes a third; whole runs take longer.

Numeric code is imported with its annotations checked at every call: shapes and dtypes by jaxtyping, the rest
by beartype.
"""

import getpass
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from jaxtyping import install_import_hook


def _cache_dir() -> str:
    """A compilation cache shared by test processes, their subprocesses and later runs."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    path = Path(tempfile.gettempdir()) / f"dast_jax-test-cache-{user}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(path)


def _little_optimization() -> str:
    """The flags with which XLA compiles three times as fast, as far as this version of it has them."""
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    more = f"{flags} --xla_cpu_use_fusion_emitters=false"
    environment = {**os.environ, "XLA_FLAGS": more, "JAX_PLATFORMS": "cpu"}
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=environment, capture_output=True, check=False
    )
    return more if known.returncode == 0 else flags


signal.signal(signal.SIGHUP, signal.SIG_DFL)  # subprocesses inherit it: nohup would have them ignore it
os.environ["JAX_PLATFORMS"] = "cpu"
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    devices = "--xla_force_host_platform_device_count=4"
    compilation = _little_optimization() if os.environ.get("COMPILE") == "quickly" else ""
    os.environ["XLA_FLAGS"] = " ".join(filter(None, (os.environ.get("XLA_FLAGS"), devices, compilation)))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache_dir())
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["MPLBACKEND"] = "Agg"
os.environ["WANDB_MODE"] = "disabled"

CHECKED = (
    "dast_jax.data.packing",
    "dast_jax.data.pair_packing",
    "dast_jax.estimators.agreement",
    "dast_jax.estimators.distinct",
    "dast_jax.estimators.estimate",
    "dast_jax.estimators.levels",
    "dast_jax.metrics.stats",
    "dast_jax.models",
    "dast_jax.sampling.engine",
    "dast_jax.sampling.filters",
    "dast_jax.sampling.state",
    "dast_jax.training",
)
"""Modules whose annotations the tests check, and all modules below them."""

install_import_hook(CHECKED, "helpers_typechecker.checked")
