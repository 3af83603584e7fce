"""Ours and a peer on the same machine, alternating: the ratio of their rates, with its spread.

Each side is a process that stays alive and is asked, in turn, to do the work once. A rate is useful units
per CPU second of its process (user and system time of all threads), so that other load on the machine, which
delays both, does not count; the ratio by wall clock is reported too. Compilation and warm-up are not in the
rates and are reported. Before that, both must compute the same numbers, and each side is run at its candidate
settings on a part of the work and keeps the best.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import cache_folder, peer_python
from benchmarks.machine import machine_name
from benchmarks.sides import SIDES
from benchmarks.work import MODELS, Work

__all__ = ["Comparison", "compare", "parse", "result_line", "same_numbers"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result: ratios are ours over theirs, higher is better; rates are units per CPU second."""

    cpu_ratios: tuple[float, ...]
    wall_ratios: tuple[float, ...]
    ours: float
    theirs: float
    our_setting: dict[str, Any]
    their_setting: dict[str, Any]
    our_warm_up: float
    their_warm_up: float


def parse(benchmark: str, doc: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a command."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark}", description=doc.splitlines()[0]
    )
    parser.add_argument("--peer", required=True, choices=SIDES[benchmark][1:])
    parser.add_argument("--model", default="5m", choices=MODELS)
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each side")
    parser.add_argument(
        "--size", type=int, default=0, help="prompts, examples or pairs; 0: as many as the docs say"
    )
    parser.add_argument("--cores", type=int, default=1, help="CPU cores that a side may use")
    parser.add_argument("--setting", type=json.loads, help="JSON: the peer's setting, instead of the best")
    parser.add_argument("--our-setting", type=json.loads, help="JSON: ours, instead of the best")
    return parser.parse_args(argv)


def compare(work: Work, peer: str, args: argparse.Namespace) -> Comparison:
    """Run both sides in turn, `args.pairs` times; print what happens to stderr."""
    cores = sorted(os.sched_getaffinity(0))[-args.cores :]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        work.write(file)
        with (
            _worker(sys.executable, "ours", file, cores) as ours,
            _worker(peer_python(peer), peer, file, cores) as theirs,
        ):
            return _alternate(work, ours, theirs, args)


def result_line(benchmark: str, work: Work, found: Comparison, unit: str, args: argparse.Namespace) -> str:
    """Return the JSON line that a command ends in."""
    return json.dumps(
        {
            "benchmark": benchmark,
            "peer": args.peer,
            "model": args.model,
            "ratio": round(statistics.median(found.cpu_ratios), 3),
            "spread": [round(min(found.cpu_ratios), 3), round(max(found.cpu_ratios), 3)],
            "unit": unit,
            "machine": machine_name(args.cores),
            "wall_ratio": round(statistics.median(found.wall_ratios), 3),
            "ours": round(found.ours, 2),
            "theirs": round(found.theirs, 2),
            "our_setting": found.our_setting,
            "their_setting": found.their_setting,
            "our_warm_up_cpu_s": round(found.our_warm_up, 1),
            "their_warm_up_cpu_s": round(found.their_warm_up, 1),
            "pairs": len(found.cpu_ratios),
            "size": work.size,
        }
    )


class _Worker:
    """A side's process."""

    def __init__(self, process: subprocess.Popen[str], name: str):
        self._process = process
        self.name = name
        self.candidates: list[dict[str, Any]] = self.read()["candidates"]

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the answer; raise where the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """Return the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name}: its process ended with {self._process.wait()}; see its output above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def _worker(python: str, side: str, file: Path, cores: Sequence[int]) -> Iterator[_Worker]:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(len(cores)),
        "MKL_NUM_THREADS": str(len(cores)),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HF_HOME": str(cache_folder() / "huggingface"),
        "WANDB_MODE": "disabled",
    }
    if len(cores) == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    process = subprocess.Popen(
        [python, "-m", "benchmarks.worker", side, str(file), ",".join(map(str, cores))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        yield _Worker(process, side)
    finally:
        process.kill()
        process.wait()


def _alternate(work: Work, ours: _Worker, theirs: _Worker, args: argparse.Namespace) -> Comparison:
    sides = ours, theirs
    same_numbers(work, *(side.ask(do="check")["check"] for side in sides))
    settings, warm_ups = [], []
    for side, fixed in zip(sides, (args.our_setting, args.setting), strict=True):
        setting, seconds = fixed, 0.0
        if setting is None and len(side.candidates) == 1:
            setting = side.candidates[0]
        if setting is None:
            tuned = side.ask(do="tune", part=max(1, work.size // 4))
            setting, seconds = tuned["setting"], tuned["cpu"]
            tried = ", ".join(f"{name} {rate:.1f}" for name, rate in tuned["tried"].items())
            _say(f"{side.name}: per CPU second on a quarter of the work: {tried} ({seconds:.0f} CPU s)")
        warm = side.ask(do="run", setting=setting)
        settings.append(setting)
        warm_ups.append(warm["cpu"])
        _say(f"{side.name}: {json.dumps(setting)}; first run, with compilation: {warm['cpu']:.1f} CPU s")
    cpu: list[float] = []
    wall: list[float] = []
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(args.pairs):
        a, b = (side.ask(do="run", setting=s) for side, s in zip(sides, settings, strict=True))
        if min(a["cpu"], b["cpu"]) < 0.01:
            raise SystemExit("a side did its work in no time: it cannot have done it")
        cpu.append(a["units"] / a["cpu"] / (b["units"] / b["cpu"]))
        wall.append(a["units"] / a["wall"] / (b["units"] / b["wall"]))
        for found, answer in zip(rates, (a, b), strict=True):
            found.append(answer["units"] / answer["cpu"])
        _say(
            f"pair {number + 1} of {args.pairs}: ours {rates[0][-1]:.1f}, {theirs.name} {rates[1][-1]:.1f} "
            f"per CPU second ({a['units']} units in {a['cpu']:.1f} CPU s, {b['units']} in {b['cpu']:.1f}); "
            f"ratio {cpu[-1]:.2f}, by wall clock {wall[-1]:.2f}"
        )
    return Comparison(
        cpu_ratios=tuple(cpu),
        wall_ratios=tuple(wall),
        ours=statistics.median(rates[0]),
        theirs=statistics.median(rates[1]),
        our_setting=settings[0],
        their_setting=settings[1],
        our_warm_up=warm_ups[0],
        their_warm_up=warm_ups[1],
    )


def same_numbers(work: Work, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Raise where the sides do not compute the same: greedy tokens, or losses before and after a step."""
    if work.name == "sampling":
        same = sum(a == b for a, b in zip(ours, theirs, strict=False))
        _say(f"greedy tokens that are the same: {same} of {max(len(ours), len(theirs))}")
        if same < 0.9 * max(len(ours), len(theirs)):  # a tie in float32 changes the rest of its response
            raise SystemExit(f"the two sides sample different tokens greedily: {ours[:32]} and {theirs[:32]}")
        return
    _say(f"losses of two steps on the same examples: ours {ours}, theirs {theirs}")
    if len(ours) != len(theirs) or any(abs(a - b) > 1e-3 * abs(b) for a, b in zip(ours, theirs, strict=True)):
        raise SystemExit(f"the two sides compute different losses: {ours} and {theirs}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
