"""Limits of a process hold whatever its parent did to the signal that ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from dast_jax.runtime.limits import ended_by_overtime

ENDLESS = """
from dast_jax.runtime.limits import ProcessLimits
with ProcessLimits(cpu_seconds=0.2, memory_mb=4096).task():
    while True:
        pass
"""


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="this system has no SIGPROF")
@pytest.mark.parametrize("inherited", ["ignored", "blocked"])
def test_time_ends_a_process_whose_parent_turned_its_signal_off(inherited: str) -> None:
    """libtpu ignores SIGPROF in the process that loads it."""
    before = signal.getsignal(signal.SIGPROF)
    if inherited == "ignored":
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])
    try:
        status = subprocess.run([sys.executable, "-c", ENDLESS], timeout=60, check=False).returncode
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
        signal.signal(signal.SIGPROF, before if before is not None else signal.SIG_DFL)
    assert ended_by_overtime(status)
