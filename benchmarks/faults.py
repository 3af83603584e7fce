"""What a run makes of damage and interruptions: the same final bits, or a clear refusal.

    python -m benchmarks.faults            every kind of file in two runs, 50 kills; about half an hour
    python -m benchmarks.faults --quick    fewer kills and one bit flip per kind of file

A small run on the embedded model is made once without a fault. Then it is damaged (finished, or killed in the
middle of its second training), killed, stopped by signals, run on a full disk or twice at once, and each time
continued with the same command, and reported and exported where it was finished. Prints, by kind of fault:
how often it was tried; how often the results were the same; how often a command refused in one sentence; and
the two that must be 0: results that differ without a word, and tracebacks. Exits with 1 if they are not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks.run_results import Results, differences, results

SMALL = (
    "data.limit=16",
    "evaluation.limit=8",
    "evaluation.max_new_tokens=96",
    "evaluation.probe=2",
    "evaluation.probe_trials=5",
    "sampling.max_new_tokens=96",
    "sampling.slots=8",
    "method.trials=5",
    "method.max_trials=6",
    "mesh.cpu_data=0",
    "run.rounds=1",
    "run.flush_responses=4",
    "training.batch_size=4",
    "training.checkpoint_seconds=0",
    "logging.tensorboard=false",
)
"""A run of every stage in a few seconds; responses and training steps are written as often as possible."""

PATTERNS = {
    "manifest": "manifest.json",
    "config": "config.yaml",
    "summary": "summary.json",
    "metrics": "metrics.jsonl",
    "log": "log.txt",
    "base evaluation": "rounds/base/eval.json",
    "evaluation": "rounds/00/eval.json",
    "responses": "rounds/00/responses/part-*.parquet",
    "training set": "rounds/00/train.parquet",
    "method state": "rounds/00/method.npz",
    "difficulty": "rounds/00/difficulty.parquet",
    "policy": "checkpoints/round_00/1/state/**/d/*",
    "policy's metadata": "checkpoints/round_00/1/state/_METADATA",
    "policy's index": "checkpoints/round_00/1.sha256",
    "later responses": "rounds/01/responses/part-*.parquet",
    "later training set": "rounds/01/train.parquet",
    "later method state": "rounds/01/method.npz",
    "later policy": "checkpoints/round_01/1/state/**/d/*",
    "training state": "checkpoints/training/*/state/**/d/*",
    "training state's index": "checkpoints/training/*.sha256",
}
"""Kind of file → where it is in a run; one that a state of the run lacks is passed over."""

SAME, REFUSED, DIFFERENT, TRACEBACK = "same", "refused", "silently different", "traceback"

_NOT_MOUNTED = 99

# --- faults -------------------------------------------------------------------------------------------


def _emptied(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def _halved(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bit_flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _deleted(path: Path, rng: random.Random) -> None:
    path.unlink()


def _folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, Callable[[Path, random.Random], None]] = {
    "emptied": _emptied,
    "halved": _halved,
    "one bit flipped": _bit_flipped,
    "deleted": _deleted,
    "a folder": _folder,
}


def damage(run_dir: Path, kind: str, fault: str, rng: random.Random) -> Path | None:
    """Do `fault` to a file of a kind; return the file, or None where the run has none."""
    files = sorted(path for path in run_dir.glob(PATTERNS[kind]) if path.is_file())
    if not files:
        return None
    path = rng.choice(files)
    FAULTS[fault](path, rng)
    return path


# --- running ------------------------------------------------------------------------------------------

_PROCESSES = multiprocessing.get_context("forkserver")


def arguments(run_dir: Path, *overrides: str) -> list[str]:
    """Return the small run's arguments to the train command."""
    return ["--config", "quickstart", f"run.dir={run_dir}", *SMALL, *overrides]


def _call(command: str, arguments: list[str], output: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)  # that of the process it is forked from is as old as the first call
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the benchmark is run by nohup
    import importlib

    sys.exit(importlib.import_module(f"dast_jax.{command}").main(arguments))


def start(command: str, arguments: list[str], output: Path) -> BaseProcess:
    """Start a command in a process of its own, forked from one that has done the imports."""
    output.unlink(missing_ok=True)
    process = _PROCESSES.Process(target=_call, args=(command, arguments, output, dict(os.environ)))
    process.start()
    return process


def call(command: str, arguments: list[str], output: Path) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed."""
    process = start(command, arguments, output)
    process.join()
    code = process.exitcode
    return -1 if code is None else code, output.read_text(errors="replace") if output.exists() else ""


def verdict(code: int, printed: str, same: Callable[[], bool]) -> str:
    """Return what became of a command; `same` compares what it made and raises `UserError` to refuse."""
    from dast_jax.errors import UserError

    if "Traceback" in printed or code not in (0, 2, 75):
        return TRACEBACK
    if code:
        return REFUSED
    try:
        return SAME if same() else DIFFERENT
    except UserError:
        return REFUSED


# --- trying -------------------------------------------------------------------------------------------


class Trials:
    """Runs to damage, in a folder, and the count of what became of each."""

    def __init__(self, folder: Path, *, show: Callable[[str], None] = print):
        self.folder = folder
        self.output = folder / "output.txt"
        self.counts: dict[str, Counter[str]] = {}
        self._show = show
        self._number = 0

    def count(self, kind: str, outcome: str, details: str = "") -> None:
        """Note what became of a trial of a kind; show what must not be."""
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in (DIFFERENT, TRACEBACK):
            self._show(f"{kind}: {outcome}: {details}")

    def _same(self, run_dir: Path, good: Results) -> bool:
        """Return whether a run has the results of the good one; show where it has not."""
        places = differences(results(run_dir), good)
        if places:
            self._show(f"{run_dir} differs in {'; '.join(places[:5])}")
        return not places

    def new(self, source: Path | None = None) -> Path:
        """Return the path of another run, a copy of `source`."""
        self._number += 1
        path = self.folder / f"trial{self._number}" / "run"
        path.parent.mkdir()
        if source is not None:
            shutil.copytree(source, path)
        return path

    def finished(self) -> tuple[Path, Results]:
        """Make the run without a fault; return it and its results."""
        path = self.new()
        code, printed = call("train", arguments(path), self.output)
        assert code == 0, printed
        return path, results(path)

    def stopped(self) -> Path:
        """Make a run that is killed in its second training, with two checkpoints of it."""
        path = self.new()
        process = start("train", arguments(path), self.output)
        while process.is_alive() and not self._in_second_training(path):
            time.sleep(0.002)
        process.kill()
        process.join()
        assert list((path / "checkpoints" / "training").glob("*.sha256")), (
            "the second training was over before it could be killed"
        )
        return path

    @staticmethod
    def _in_second_training(path: Path) -> bool:
        begun = (path / "rounds" / "01" / "train.parquet").exists()
        return begun and len(list((path / "checkpoints" / "training").glob("*.sha256"))) == 2

    def damaged(self, source: Path, state: str, kind: str, fault: str, good: Results, seed: int) -> None:
        """Damage a copy of a run, continue it, and count what became of it."""
        path = self.new(source)
        file = damage(path, kind, fault, random.Random(f"{state} {kind} {fault} {seed}"))
        if file is not None:
            where = f"{file.relative_to(path)} {fault} in a {state} run, seed {seed}"
            code, printed = call("train", arguments(path), self.output)
            self.count(kind, verdict(code, printed, lambda: self._same(path, good)), f"{where}\n{printed}")
        shutil.rmtree(path.parent)

    def shown(self, source: Path, kind: str, fault: str, page: bytes, export: str, seed: int) -> None:
        """Damage a copy of a finished run, report and export it, and count what became of that."""
        path = self.new(source)
        file = damage(path, kind, fault, random.Random(f"shown {kind} {fault} {seed}"))
        if file is not None:
            made, out = path.parent / "report.html", path.parent / "export"
            code, printed = call("report", ["--run", str(path), "--out", str(made)], self.output)
            told = "left out" in printed
            outcome = verdict(code, printed, lambda: told or made.read_bytes() == page)
            self.count("report", outcome, f"{file.relative_to(path)} {fault}, seed {seed}\n{printed}")
            if file.relative_to(path).parts[0] in ("checkpoints", "manifest.json", "config.yaml"):
                code, printed = call("export", ["--run", str(path), "--out", str(out)], self.output)
                outcome = verdict(code, printed, lambda: exported(out) == export)
                self.count("export", outcome, f"{file.relative_to(path)} {fault}, seed {seed}\n{printed}")
        shutil.rmtree(path.parent)

    def killed(self, times: int, seconds: float, good: Results, rng: random.Random) -> None:
        """Kill runs at random moments and continue them, until they have been killed `times` times."""
        kills = 0
        while kills < times:
            path, before = self.new(), kills
            while True:
                process = start("train", arguments(path), self.output)
                process.join(rng.uniform(0, seconds) if kills < times else None)
                if not process.is_alive():
                    break
                process.kill()
                process.join()
                kills += 1
            printed = self.output.read_text(errors="replace")
            outcome = verdict(process.exitcode or 0, printed, lambda: self._same(path, good))  # noqa: B023
            for _ in range(kills - before):
                self.count("SIGKILL", outcome, printed)
            shutil.rmtree(path.parent)

    def signalled(self, number: signal.Signals, good: Results) -> None:
        """Stop a run by a signal and continue it."""
        path = self.new()
        process = start("train", arguments(path), self.output)
        while process.is_alive() and not list(path.glob("rounds/00/responses/part-*")):
            time.sleep(0.01)
        os.kill(process.pid or 0, number)
        process.join()
        printed = self.output.read_text(errors="replace")
        if process.exitcode != 75:
            self.count(number.name, TRACEBACK, f"exit code {process.exitcode}\n{printed}")
        code, printed = call("train", arguments(path), self.output)
        self.count(number.name, verdict(code, printed, lambda: self._same(path, good)), printed)
        shutil.rmtree(path.parent)

    def second(self, good: Results) -> None:
        """Start a second process on a run: it refuses, and the first one ends as if alone."""
        path = self.new()
        process = start("train", arguments(path), self.output)
        while process.is_alive() and not (path / "manifest.json").exists():
            time.sleep(0.01)
        code, printed = call("train", arguments(path), self.folder / "second.txt")
        self.count("second process", verdict(code, printed, lambda: False), printed)
        process.join()
        printed = self.output.read_text(errors="replace")
        outcome = verdict(process.exitcode or 0, printed, lambda: self._same(path, good))
        self.count("second process", outcome, printed)
        shutil.rmtree(path.parent)

    def full_disk(self, megabytes: Sequence[float], good: Results) -> None:
        """Run on file systems that are too small, copy what they hold to a larger one, and continue."""
        for size in megabytes:
            path = self.new()
            mounted = path.parent / "mounted"
            mounted.mkdir()
            code, printed = self._on_small_disk(size, mounted, path)
            if code == _NOT_MOUNTED:
                self._show("full disk: not tried, since this machine does not allow mounting")
                return
            self.count("full disk", verdict(code, printed, lambda: True), f"{size} MB\n{printed}")
            if path.is_dir():
                code, printed = call("train", arguments(path), self.output)
                self.count("full disk", verdict(code, printed, lambda: self._same(path, good)), printed)  # noqa: B023
            shutil.rmtree(path.parent)

    @staticmethod
    def _on_small_disk(megabytes: float, mounted: Path, copy: Path) -> tuple[int, str]:
        script = (
            f'mount -t tmpfs -o size={int(megabytes * 1024)}k tmpfs "$0" || exit {_NOT_MOUNTED}; '
            'copy="$1"; shift; "$@"; code=$?; cp -a "$0/run" "$copy"; exit $code'
        )
        train = [sys.executable, "-m", "dast_jax.train", *arguments(mounted / "run")]
        if shutil.which("unshare") is None:
            return _NOT_MOUNTED, ""
        command = ["unshare", "-rm", "sh", "-c", script, str(mounted), str(copy), *train]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        started = "Traceback" in done.stderr or done.returncode != 1  # unshare itself fails with 1
        return (done.returncode if started else _NOT_MOUNTED), done.stdout + done.stderr

    @property
    def tried(self) -> int:
        """How many faults have been counted."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    def table(self) -> str:
        """Return the counts by kind."""
        columns = ("tried", SAME, REFUSED, DIFFERENT, TRACEBACK)
        lines = ["kind                    " + "".join(f"{name:>20}" for name in columns)]
        for kind, counts in [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]:
            numbers = (sum(counts.values()), *(counts[name] for name in columns[1:]))
            lines.append(f"{kind:<24}" + "".join(f"{number:>20}" for number in numbers))
        return "\n".join(lines)

    @property
    def failures(self) -> int:
        """The number of trials that must not be."""
        return sum(counts[DIFFERENT] + counts[TRACEBACK] for counts in self.counts.values())


def exported(folder: Path) -> str:
    """Return the digest of the exported weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@contextlib.contextmanager
def _folder_for_trials(given: str | None) -> Iterator[Path]:
    if given is not None:
        Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Try every fault and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="5 kills; one fault per kind of file, by turns")
    parser.add_argument("--kills", type=int, help="number of SIGKILLs (50; 5 with --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of places and moments")
    parser.add_argument("--folder", help="where the runs are made; by default a temporary folder")
    given = parser.parse_args(argv)
    kills = given.kills if given.kills is not None else 5 if given.quick else 50
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what has been counted is printed then too
    with _folder_for_trials(given.folder) as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        trials = Trials(folder, show=lambda text: print(text, flush=True))
        try:
            trial_all(trials, quick=given.quick, kills=kills, seed=given.seed)
        finally:  # also where it is interrupted
            print(trials.table(), flush=True)
    return 1 if trials.failures else 0


def trial_all(trials: Trials, *, quick: bool, kills: int, seed: int) -> None:
    """Try every kind of fault."""
    _PROCESSES.set_forkserver_preload(
        [f"dast_jax.loop.{name}" for name in ("build", "evaluation", "sampling", "training")]
    )
    finished, good = trials.finished()
    began = time.monotonic()
    again, same = trials.finished()
    seconds = time.monotonic() - began  # with compiled programs
    trials.count("no fault", SAME if same == good else DIFFERENT)
    shutil.rmtree(again.parent)
    stopped = trials.stopped()
    out = trials.folder / "export"
    call("export", ["--run", str(finished), "--out", str(out)], trials.output)
    call("report", ["--run", str(finished), "--out", str(trials.folder / "page.html")], trials.output)
    page = (trials.folder / "page.html").read_bytes()
    for number, kind in enumerate(PATTERNS):
        faults = [list(FAULTS)[number % len(FAULTS)], "one bit flipped"] if quick else list(FAULTS)
        for fault in dict.fromkeys(faults):
            trials.damaged(finished, "finished", kind, fault, good, seed)
            trials.damaged(stopped, "stopped", kind, fault, good, seed)
            trials.shown(finished, kind, fault, page, exported(out), seed)
        print(f"{kind}: tried, {trials.tried} faults so far", file=sys.stderr, flush=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        trials.signalled(number, good)
    trials.second(good)
    trials.full_disk([3] if quick else [0.5, 3, 6, 12, 24], good)
    trials.killed(kills, seconds, good, random.Random(seed))


if __name__ == "__main__":
    sys.exit(main())
