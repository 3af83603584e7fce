"""Set up before anything imports jax: four virtual CPU devices, one compilation cache, no network.

With COMPILE=quickly in the environment XLA optimizes little, here and in the processes that tests start.
Where compilation is most of the time, as in tests/training, that takes a third; whole runs take longer.

Numeric code is imported with its annotations checked at every call: shapes and dtypes by jaxtyping, the rest
by beartype.
"""

import getpass
import os
import signal
import tempfile
from pathlib import Path

from helpers_compilation import little_optimization
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


signal.signal(signal.SIGHUP, signal.SIG_DFL)  # subprocesses inherit it: nohup would have them ignore it
os.environ["JAX_PLATFORMS"] = "cpu"
flags = os.environ.get("XLA_FLAGS", "")  # of a worker, those that its parent has set here
if "xla_force_host_platform_device_count" not in flags:
    flags += " --xla_force_host_platform_device_count=4"
if os.environ.get("COMPILE", "quickly") != "quickly":
    raise SystemExit(f"COMPILE={os.environ['COMPILE']}: only COMPILE=quickly has a meaning")
if "COMPILE" in os.environ and "xla_backend_optimization_level" not in flags:
    flags += f" {little_optimization()}"
os.environ["XLA_FLAGS"] = flags.strip()
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
