"""How XLA compiles for tests whose time is mostly compilation."""

import os
import subprocess
import sys


def little_optimization() -> str:
    """Return the flags with which XLA compiles three times as fast, as far as this version of it has them."""
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    more = f"{flags} --xla_cpu_use_fusion_emitters=false"
    environment = {**os.environ, "XLA_FLAGS": more, "JAX_PLATFORMS": "cpu"}
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=environment, capture_output=True, check=False
    )
    return more if known.returncode == 0 else flags
