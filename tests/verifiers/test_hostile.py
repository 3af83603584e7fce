"""Answers made to hang, crash, or run: refused or cut off in time, never correct, others unaffected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dast_jax.records import VerdictKind
from dast_jax.verifiers import Verifier, VerifierOptions

TIME_LIMIT = 3.0

PAYLOADS = {
    "tower": "9**9**9**9",
    "latex tower": "9^{9^{9^{9}}}",
    "short tower": "9^{9^9}",
    "tower in a sum": "1+9^{9^9}",
    "tower after a marker": "The answer is 9**9**9**9.",
    "tower in prose": "I think that it is 9**9**9**9 or so",
    "factorial": r"\boxed{100000000!}",
    "factorials": "9!!!!!!!",
    "grouped factorial": r"\boxed{(10^{8})!}",
    "polynomial": "(a+b+c+d+e+f+g+h)^{40}",
    "exponent": "2^{99999999999}",
    "exponent product": r"2^{99999 \cdot 99999}",
    "power of ten": "1e999999999",
    "braces": "{" * 1_000 + "5" + "}" * 1_000,
    "many braces": "{" * 10_000 + "5" + "}" * 10_000,
    "boxed braces": r"\boxed{" + "{" * 1_000 + "5" + "}" * 1_000 + "}",
    "boxes": r"\boxed{" * 1_000 + "5" + "}" * 1_000,
    "open boxes": r"\boxed{" * 10_000,
    "parentheses": "(" * 1_000 + "5" + ")" * 1_000,
    "fractions": r"\frac{1}{" * 300 + "5" + "}" * 300,
    "sum": "+".join(["1"] * 20_000),
    "digits": "7" * 1_000_000,
    "letters": "a" * 1_000_000,
    "a long text": "word " * 200_000 + r"\boxed{5}",
    "spaces": "answer" + " " * 150_000 + "x",
    "dollars": "the answer is " + "$" * 150_000,
    "lone surrogate": "5\ud800",
    "boxed lone surrogate": "\\boxed{5\udfff}",
    "nul": "5\0",
    "boxed nul": "\\boxed{\0 5}",
}
HEAVY = {
    "binomial": r"\binom{1000000000}{500000000}",
    "iterated sum": r"\sum_{i=1}^{10^9} \sin(i^i)",
    "integral": r"\int_0^1 \sin(x^x) e^{x^{x}} \tan(x) dx",
    "product": r"\prod_{k=1}^{99999999} k^k",
}
REFERENCES = ["5", "9", r"\frac{1}{2}", "x+1"]


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as verifier:
        assert verifier.verify_one("x+1", "1+x").correct  # the workers are up
        yield verifier


def check_unharmed(verifier: Verifier) -> None:
    rows = [("18", f"So {i} + 1 is more. #### {i}") for i in range(50)]
    rows += [(f"x+{i}", f"{i}+x") for i in range(50)]
    verdicts = verifier.verify_many(rows)
    assert [v.correct for v in verdicts] == [i == 18 for i in range(50)] + [True] * 50


@pytest.mark.parametrize("name", PAYLOADS)
def test_payload_is_refused_in_time_and_never_correct(verifier, name):
    """Decided without a worker, whatever the reference, even the payload itself."""
    payload = PAYLOADS[name]
    for reference in [*REFERENCES, payload]:
        start = time.monotonic()
        future = verifier.submit(reference, payload)
        assert future.done()
        assert time.monotonic() - start < TIME_LIMIT
        assert future.result().kind in (VerdictKind.INCORRECT, VerdictKind.NO_ANSWER), future.result()
    check_unharmed(verifier)


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_answer_is_cut_off(verifier, name):
    """Nothing static is wrong with these: the worker's limits hold (the machine may be busy)."""
    start = time.process_time()
    verdict = verifier.verify_one("5", HEAVY[name])
    assert verdict.kind is not VerdictKind.CORRECT, verdict
    assert time.process_time() - start < TIME_LIMIT
    check_unharmed(verifier)


@pytest.mark.parametrize("wrap", ["{}", r"\boxed{{{}}}", "#### {}", "The answer is {}", "Thus {} it is, 5"])
def test_nothing_is_executed(verifier, tmp_path, wrap):
    marker = tmp_path / "executed"
    codes = [
        f"__import__('os').system('touch {marker}')",
        f"open('{marker}','w')",
        f"exec(\"open('{marker}','w')\")",
        f"(lambda: open('{marker}','w'))()",
        f"[c for c in ().__class__.__base__.__subclasses__()][0] or open('{marker}','w')",
        f"\\text{{__import__('os').system('touch {marker}')}} + 1",
        f"x + sympify(\"__import__('os').system('touch {marker}')\")",
        f'f\'{{open("{marker}","w")}}\'',
    ]
    for code in codes:
        prediction = wrap.format(code) if wrap != "{}" else code
        for reference in ("0", "5", code):
            verdict = verifier.verify_one(reference, prediction)
            assert verdict.kind is not VerdictKind.CORRECT, (verdict, code)
    assert not marker.exists()
    check_unharmed(verifier)


def test_text_never_reaches_eval_even_past_the_guard(tmp_path):
    """In a worker sympy's text parser is closed: a payload that came so far would not run."""
    marker = tmp_path / "executed"
    code = (
        "from dast_jax.verifiers import worker\n"
        "equal = worker._load(6)\n"
        "import sympy\n"
        f"bad = \"__import__('pathlib').Path('{marker}').touch()\"\n"
        "for door in (sympy.sympify, sympy.S, sympy.Number, sympy.parsing.sympy_parser.parse_expr):\n"
        "    try:\n"
        "        door(bad)\n"
        "    except Exception:\n"
        "        pass\n"
        "equal(bad, bad)\n"
        "assert equal('x^2+2x+1', '(x+1)^2')[0] and equal('1.5', r'\\frac{3}{2}')[0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert not marker.exists()


SLOW = (r"\int_0^1 \sin(x^x) e^{x^{x}} \tan(x) dx", r"\int_0^2 \cos(x^x) \log(x^{x}) dx")


def test_overtime_is_its_own_verdict_and_the_worker_is_replaced():
    options = VerifierOptions(cpu_seconds=0.15, workers=1)
    with Verifier(options) as verifier:
        assert verifier.verify_one("x+1", "1+x").correct
        before = verifier.worker_pids()
        pending = [verifier.submit(*SLOW)] + [verifier.submit(f"x+{i}", f"{i}+x") for i in range(10)]
        verdicts = [p.result(timeout=30) for p in pending]
        assert verdicts[0].kind is VerdictKind.TIMED_OUT, verdicts[0]
        assert "CPU" in verdicts[0].reason
        assert all(v.correct for v in verdicts[1:])  # the rest of its batch went to the successor
        assert verifier.worker_pids() != before


def test_a_worker_that_is_silent_for_too_long_is_replaced_and_its_pair_tried_again():
    with Verifier(VerifierOptions(wall_seconds=2, workers=1)) as verifier:
        assert verifier.verify_one("x+1", "1+x").correct
        (pid,) = verifier.worker_pids()
        os.kill(pid, signal.SIGSTOP)
        assert verifier.verify_one("x+2", "2+x").correct  # by its successor: load decides no verdict
        assert verifier.worker_pids() != [pid]


def test_a_worker_killed_from_outside_is_replaced_and_no_check_is_lost():
    with Verifier(VerifierOptions(workers=1)) as verifier:
        assert verifier.verify_one("x+1", "1+x").correct
        for i in range(2):
            (pid,) = verifier.worker_pids()
            os.kill(pid, signal.SIGKILL)
            assert verifier.verify_one(f"y+{i}", f"{i}+y").correct
            assert verifier.worker_pids() not in ([], [pid])


def test_workers_killed_while_they_start_are_replaced():
    with Verifier(VerifierOptions(workers=1)) as verifier:
        pending = verifier.submit("x+1", "1+x")
        killed: set[int] = set()
        deadline = time.monotonic() + 30
        while len(killed) < 2 and time.monotonic() < deadline:  # importing takes longer than being found
            for pid in set(verifier.worker_pids()) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert len(killed) == 2
        assert pending.result(timeout=60).correct
        assert not killed & set(verifier.worker_pids())


def test_workers_are_limited_in_memory_and_write_no_files():
    with Verifier(VerifierOptions(workers=1, memory_mb=700)) as verifier:
        assert verifier.verify_one("x+1", "1+x").correct
        (pid,) = verifier.worker_pids()
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        soft = {line[:26].strip(): line[26:].split()[0] for line in limits}
        assert soft["Max address space"] == str(700 * 2**20)
        assert soft["Max file size"] == "0"


def test_running_out_of_memory_is_no_verdict_on_the_answer():
    """The worker replies so: the verdict is timed out with the reason, and the worker is replaced."""
    code = (
        "import io, json\n"
        "from dast_jax.runtime.limits import ProcessLimits\n"
        "from dast_jax.verifiers import worker\n"
        "limits = ProcessLimits(cpu_seconds=5, memory_mb=400, writes=False)\n"
        "out = io.StringIO()\n"
        "lines = io.StringIO('[0, 1, 2, null]\\n[0, 3, 4, null]\\n')\n"
        "worker._serve(lines, out, lambda a, b, _: (bytes(10**9), ''), limits)\n"
        "assert json.loads(out.getvalue()) == [0, None, 'memory limit', None], out.getvalue()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_closing_ends_the_workers_and_cancels_what_waits():
    verifier = Verifier(VerifierOptions(workers=1))
    assert verifier.verify_one("x+1", "1+x").correct
    pids = verifier.worker_pids()
    verifier.close()
    verifier.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert verifier.verify_one("5", "5").correct  # plain numbers need no worker
    with pytest.raises(RuntimeError, match="closed"):
        verifier.verify_one("y+1", "1+y")
