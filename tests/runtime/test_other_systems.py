"""Windows and macOS: the package starts and verifies without what only some kernels have."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dast_jax.runtime import limits

ROOT = Path(__file__).parents[2]

_SITE = """
import builtins, signal, sys
real = builtins.__import__
def refusing(name, globals=None, *more, **named):  # other packages have their own ways
    mine = str((globals or {}).get("__name__")).startswith(("dast_jax", "__main__"))
    if mine and name in ("fcntl", "resource"):
        raise ImportError(name)
    return real(name, globals, *more, **named)
builtins.__import__ = refusing
sys.modules["torch"] = None
for name in ("SIGHUP", "SIGPROF", "SIGXCPU", "setitimer", "ITIMER_PROF"):
    delattr(signal, name)
"""


def _elsewhere(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python, and every Python that it starts, without these modules and signals."""
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(_SITE)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    env = {**os.environ, **environment, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, timeout=300)


def test_no_module_needs_them_at_import() -> None:
    for path in (ROOT / "dast_jax").rglob("*.py"):
        for statement in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(statement, "names", ())]
            assert not {"fcntl", "resource"} & {*names, getattr(statement, "module", "")}, path


def test_a_run_directory_is_opened_and_locked(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dast_jax.cli.main import main\n"
        "from dast_jax.config import load_config, run_settings\n"
        "from dast_jax.runtime.limits import peak_memory\n"
        "from dast_jax.store.run_store import RunStore\n"
        "config = load_config('quickstart', [f'run.dir={sys.argv[1]}'])\n"
        "RunStore.open(run_settings(config)).close()\n"
        "assert 2**24 < peak_memory() < 2**36\n"
        "sys.exit(main(['train', '--config', 'quickstart', '--print-config']))\n"
    )
    done = _elsewhere(tmp_path, "-c", code, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "manifest.json").is_file()


def test_verify_works_and_cuts_off_what_takes_too_long(tmp_path: Path) -> None:
    rows = [
        {"reference": "x+1", "prediction": r"\boxed{1+x}"},
        {"reference": r"\int_0^1 \sin(x^x) e^{x^{x}} \tan(x) dx", "prediction": r"\boxed{\int_0^2 x^x dx}"},
        {"reference": "x+2", "prediction": r"\boxed{2+x}"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    arguments = ("--data", str(tmp_path / "in.jsonl"), "--out", str(out))
    keys = ("verifier.workers=1", "verifier.cpu_seconds=0.3")
    done = _elsewhere(tmp_path, "-m", "dast_jax.verify", *arguments, *keys)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["verdict"] for row in found] == ["correct", "timed_out", "correct"]


def test_memory_is_watched_where_the_kernel_does_not_limit_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from dast_jax.runtime.limits import ProcessLimits\n"
        "ProcessLimits(cpu_seconds=60, memory_mb=int(sys.argv[1]))\n"
        "kept = b'x' * (300 << 20)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    assert _elsewhere(tmp_path, "-c", code, "100", "60").returncode == limits._MEMORY_STATUS
    assert _elsewhere(tmp_path, "-c", code, "2000", "0.2").returncode == 0


def test_a_task_has_its_own_cpu_time(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from dast_jax.runtime.limits import ProcessLimits\n"
        "limits = ProcessLimits(cpu_seconds=0.3, memory_mb=4000)\n"
        "def work(seconds):\n"
        "    end = time.process_time() + seconds\n"
        "    while time.process_time() < end: pass\n"
        "for _ in range(3):\n"
        "    with limits.task(): work(0.15)\n"
        "work(0.4)\n"
        "print('so far', flush=True)\n"
        "with limits.task(): work(5)\n"
    )
    done = _elsewhere(tmp_path, "-c", code)
    assert (done.stdout, limits.ended_by_overtime(done.returncode)) == ("so far\n", True)


@pytest.mark.parametrize("status", [0, 1, -9, limits._MEMORY_STATUS])
def test_other_ends_are_no_overtime(status: int) -> None:
    assert not limits.ended_by_overtime(status)


def test_peak_memory_does_not_sink() -> None:
    before = limits.peak_memory()
    kept = b"x" * (before + (64 << 20) - _resident())
    risen = limits.peak_memory()
    del kept
    time.sleep(0)
    assert before < risen <= limits.peak_memory()


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def test_commands_do_not_say_that_pytorch_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing transformers without torch prints so by itself."""
    monkeypatch.delenv("TRANSFORMERS_NO_ADVISORY_WARNINGS", raising=False)  # a command run here has set it
    code = "import transformers"
    command = f"from dast_jax.cli.command import command\ncommand(lambda argv: exec({code!r}))([])"
    by_itself = _elsewhere(tmp_path, "-c", code, TRANSFORMERS_VERBOSITY="")
    if importlib.util.find_spec("torch") is None:  # with torch there is nothing to say
        assert "PyTorch was not found" in by_itself.stderr
    done = _elsewhere(tmp_path, "-c", command, TRANSFORMERS_VERBOSITY="")
    assert (done.returncode, done.stderr) == (0, "")
