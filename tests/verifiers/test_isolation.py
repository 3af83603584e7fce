"""Workers and the command stay light: no jax, transformers or datasets; workers start only when needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dast_jax.verifiers import Verifier

HEAVY = ("jax", "jaxlib", "flax", "transformers", "datasets", "torch", "optax")


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["dast_jax.verify", "dast_jax.verifiers", "dast_jax.verifiers.worker"])
def test_modules_import_nothing_heavy(module):
    then = "; m.worker._load(6)" if module.endswith("worker") else ""
    code = f"import sys; import {module}; m = sys.modules['dast_jax.verifiers']{then}; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & set(HEAVY)
    assert ("sympy" in loaded) is module.endswith("worker")


PROGRAM = """
import json, sys
import jax                      # what a careless program does
from dast_jax.verifiers import Verifier

print("main module loaded", flush=True)
verifier = Verifier()           # and no `if __name__ == "__main__"` guard either
assert verifier.verify_one("x+1", "1+x").correct
maps = [open(f"/proc/{pid}/maps").read() for pid in verifier.worker_pids()]
mine = open("/proc/self/maps").read()
print(json.dumps([["jaxlib" in m for m in maps], "jaxlib" in mine]))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_workers_do_not_load_the_main_module_nor_jax(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},  # installed or not
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines.count("main module loaded") == 1
    in_workers, in_main = json.loads(lines[-1])
    assert in_main
    assert in_workers
    assert not any(in_workers)


def test_plain_checks_start_no_worker():
    with Verifier() as verifier:
        rows = [
            ("18", "#### 18"),
            ("1/2", "0.5"),
            ("yes", "no"),
            ("(1,2)", "[1,2]"),
            ("5", "9**9**9**9"),
            ("5", ""),
        ]
        verifier.verify_many(rows)
        assert verifier.worker_pids() == []
        assert verifier.submit("x", "18").done() is False
        assert verifier.submit("18", "18").done()


def test_workers_get_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with Verifier() as verifier:
        assert verifier.verify_one("x+1", "1+x").correct
        for pid in verifier.worker_pids():
            assert b"hf_secret" not in Path(f"/proc/{pid}/environ").read_bytes()
