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

PARENT = """
import signal, subprocess, sys
{turn_off}
print(subprocess.run([sys.executable, "-c", sys.argv[1]], timeout=60).returncode)
"""

TURNED_OFF = {
    "ignored": "signal.signal(signal.SIGPROF, signal.SIG_IGN)",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])",
}


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="this system has no SIGPROF")
@pytest.mark.parametrize("inherited", sorted(TURNED_OFF))
def test_time_ends_a_process_whose_parent_turned_its_signal_off(inherited: str) -> None:
    """libtpu ignores SIGPROF in the process that loads it."""
    parent = PARENT.format(turn_off=TURNED_OFF[inherited])
    printed = subprocess.run(
        [sys.executable, "-c", parent, ENDLESS], timeout=120, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert ended_by_overtime(int(printed))
