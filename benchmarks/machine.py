"""The name of the machine in results."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["machine_name"]


def machine_name(cores: int = 0) -> str:
    """Return for example "AMD EPYC, 1 of 2 cores": the processor, and the number of cores used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0].strip() if models else name
    total = len(os.sched_getaffinity(0))
    return f"{name}, {cores or total} of {total} cores"
