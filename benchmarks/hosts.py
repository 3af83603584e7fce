"""One run on several processes: the same result as on one, and what becomes of it when something is lost.

    python -m benchmarks.hosts            every fault at two moments
    python -m benchmarks.hosts --quick    every fault at one moment, by turns

Processes are on this machine and talk over its loopback; together they have four virtual CPU devices. Each
has a `run.dir` of its own, as on hosts without a common file system, but in one run that two of them share.
First a run of two rounds is made with one process, with two and with four. Then, in runs of one round by two
processes, one of them is killed, sent a SIGTERM, or stopped for 90 seconds, while it samples or trains; both
are waited for, and the same command resumes them. Last, the mirror cannot be reached, and is damaged.

Prints how long it took until all had ended, their exit codes, and how the results differ from those of one
process. Exits with 1 where a process did not end with code 75 within a minute, or results differ by more than
rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SMALLEST = (
    "data.limit=8",
    "evaluation.limit=4",
    "evaluation.max_new_tokens=16",
    "evaluation.probe=0",
    "evaluation.length_probe=0",
    "sampling.max_new_tokens=16",
    "sampling.slots=8",
    "sampling.tick_steps=8",
    "sampling.prompt_buckets=[96]",
    "sampling.prefill_batch=2",
    "method.trials=5",
    "method.base_quota=1",
    "method.max_trials=5",
    "method.exemplars=1",
    "mesh.data=-1",
    "run.rounds=0",
    "run.flush_responses=4",
    "training.batch_size=4",
    "training.micro_batch_size=0",
    "training.sequence_length=128",
    "training.checkpoint_seconds=0",
    "logging.tensorboard=false",
)
"""A run of every stage with as little in it as there can be; it is written to as often as possible."""

DEVICES = 4
RESUMABLE = 75
LIMIT_SECONDS = 60
STOPPED_SECONDS = 90
ATOL = 1e-5
"""Weights are near 1; sums over processes are added in another order."""


# --- processes ----------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port: int = found.getsockname()[1]
        return port


def start(
    run_dir: Path, processes: int, *overrides: str, shared: bool = False
) -> list[subprocess.Popen[bytes]]:
    """Start the run on some processes, each with its share of the devices; output goes to files beside it.

    Unless the folder is `shared`, the processes after the first have one that stays empty.
    """
    port = free_port()
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    started = []
    for index in range(processes):
        together = [
            f"distributed.processes={processes}",
            f"distributed.process_id={index}",
            f"distributed.coordinator=localhost:{port}",
        ]
        own = run_dir if shared or not index else run_dir.with_name(f"{run_dir.name}.folder{index}")
        command = [sys.executable, "-m", "dast_jax.train", "--config", "quickstart", f"run.dir={own}"]
        command += [*SMALLEST, *overrides, *(together if processes > 1 else [])]
        devices = f"--xla_force_host_platform_device_count={DEVICES // processes}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {devices}"  # of two values the last counts
        with open(output(run_dir, index), "wb") as file:
            started.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    return started


def output(run_dir: Path, index: int) -> Path:
    """Return the file that has what process `index` printed."""
    return run_dir.parent / f"{run_dir.name}.output{index}.txt"


def last_line(run_dir: Path, index: int) -> str:
    """Return the last line that process `index` printed."""
    lines = output(run_dir, index).read_text(errors="replace").splitlines()
    return lines[-1] if lines else ""


def finish(processes: Sequence[subprocess.Popen[bytes]], timeout: float = 3600) -> list[int]:
    """Wait for all; return their exit codes."""
    return [process.wait(timeout) for process in processes]


def to_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process, its parent and its workers, as to a whole host."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def sampling(run_dir: Path) -> bool:
    """Return whether round 0 is being sampled, and some of it is stored."""
    begun = any((run_dir / "rounds/00/responses").glob("part-*.parquet"))
    return begun and not (run_dir / "rounds/00/train.parquet").exists()


def training(run_dir: Path) -> bool:
    """Return whether round 0 is being trained, and a step of it is stored."""
    return any((run_dir / "checkpoints/training").glob("*.sha256"))


MOMENTS = {"sampling": sampling, "training": training}


def wait_for(moment: str, run_dir: Path, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until the run is where a fault is wanted."""
    while not MOMENTS[moment](run_dir):
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"the run ended before it was {moment}: {last_line(run_dir, 0)}")
        time.sleep(0.01)


# --- results ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two runs differ: responses of other tokens, sampled or greedy, and the largest of a weight."""

    responses: int
    weights: float

    @property
    def is_rounding(self) -> bool:
        """Whether the tokens are the same, and the weights nearly."""
        return not self.responses and self.weights <= ATOL


def difference(one: Path, other: Path) -> Difference:
    """Compare the results of two finished runs."""
    rounds = range(len(json.loads((one / "summary.json").read_text())["rounds"]))
    responses, largest = sum(a != b for a, b in zip(_greedy(one), _greedy(other), strict=True)), 0.0
    for round in rounds:
        mine, theirs = _responses(one, round), _responses(other, round)
        responses += len(mine.items() ^ theirs.items())
        pairs = zip(_weights(one, round), _weights(other, round), strict=True)
        largest = max(largest, *(float(np.abs(a - b).max()) for a, b in pairs))
    return Difference(responses=responses, weights=largest)


def _responses(run_dir: Path, round: int) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """Return the tokens of every response of a round."""
    parts = sorted((run_dir / "rounds" / f"{round:02d}" / "responses").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]
    return {(row["query"], row["trial"], row["kind"]): tuple(row["tokens"]) for row in rows}


def _greedy(run_dir: Path) -> list[str]:
    """Return the texts of the evaluations that are kept for the report."""
    files = sorted((run_dir / "rounds").glob("*/eval.json"))
    return [sample["text"] for file in files for sample in json.loads(file.read_text())["samples"]]


def _weights(run_dir: Path, round: int) -> list[np.ndarray]:
    import jax

    from dast_jax.assets import resolve_path
    from dast_jax.models.hf import open_folder
    from dast_jax.models.load import abstract_model
    from dast_jax.training.checkpoint import load_policy

    config = open_folder(resolve_path("asset:base_model")).config
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), abstract_model(config)[1]
    )
    policy = load_policy(run_dir / "checkpoints" / f"round_{round:02d}", like)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(policy)]


# --- faults -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to which process; it continues after `seconds` where it is stopped."""

    name: str
    index: int
    number: signal.Signals
    seconds: float = 0.0


FAULTS = (
    Fault(name="follower killed", index=1, number=signal.SIGKILL),
    Fault(name="leader killed", index=0, number=signal.SIGKILL),
    Fault(name="SIGTERM to the follower", index=1, number=signal.SIGTERM),
    Fault(name="SIGTERM to the leader", index=0, number=signal.SIGTERM),
    Fault(name="follower stopped", index=1, number=signal.SIGSTOP, seconds=STOPPED_SECONDS),
    Fault(name="leader stopped", index=0, number=signal.SIGSTOP, seconds=STOPPED_SECONDS),
)


def inflict(fault: Fault, run_dir: Path, processes: Sequence[subprocess.Popen[bytes]]) -> list[float]:
    """Do it; return after how many seconds each process had ended, a stopped one after it went on."""
    began = time.monotonic()
    to_group(processes[fault.index], fault.number)
    others = [i for i in range(len(processes)) if i != fault.index or not fault.seconds]
    ended = dict.fromkeys(range(len(processes)), 0.0)
    while left := [index for index in others if not ended[index]]:
        for index in left:
            if processes[index].poll() is not None:
                ended[index] = time.monotonic() - began
        if time.monotonic() - began > 10 * LIMIT_SECONDS:
            raise RuntimeError(f"process {left[0]} did not end after this: {fault.name}")
        time.sleep(0.05)
    if fault.seconds:
        time.sleep(max(0.0, fault.seconds - (time.monotonic() - began)))
        began = time.monotonic()
        to_group(processes[fault.index], signal.SIGCONT)
        processes[fault.index].wait(10 * LIMIT_SECONDS)
        ended[fault.index] = time.monotonic() - began
    return list(ended.values())


def _lost(fault: Fault, moment: str, folder: Path, reference: Path) -> tuple[str, bool]:
    """Run, lose a process, resume; return the table's row and whether it is as it should be."""
    run_dir = folder / f"{fault.name} while {moment}".replace(" ", "-")
    processes = start(run_dir, 2)
    wait_for(moment, run_dir, processes)
    seconds = inflict(fault, run_dir, processes)
    codes = finish(processes)
    expected = [-signal.SIGKILL if fault.number is signal.SIGKILL and i == fault.index else RESUMABLE
                for i in range(2)]  # fmt: skip
    survivor = 1 - fault.index
    sentence = last_line(run_dir, survivor)
    resumed = finish(start(run_dir, 2))
    found = difference(reference, run_dir) if resumed == [0, 0] else None
    times = ", ".join(f"{s:.0f} s" for s in seconds)
    row = _row(f"{fault.name}, {moment}", times, codes, found, f"process {survivor}: {sentence}")
    return row, codes == expected and max(seconds) <= LIMIT_SECONDS and _is_same(found)


def _mirror_lost(folder: Path, reference: Path) -> tuple[str, bool]:
    """Make the mirror unreachable while the run trains, until its end; then resume."""
    run_dir, mirror = folder / "mirror-lost", folder / "disk" / "mirror"
    processes = start(run_dir, 2, f"run.mirror={mirror}")
    wait_for("training", run_dir, processes)
    mirror.parent.rename(folder / "disk-away")
    mirror.parent.write_text("no folder any more")
    codes = finish(processes)
    sentence = last_line(run_dir, 0)
    mirror.parent.unlink()
    (folder / "disk-away").rename(mirror.parent)
    resumed = finish(start(run_dir, 2, f"run.mirror={mirror}"))
    found = difference(reference, run_dir) if resumed == [0, 0] else None
    row = _row("mirror unreachable, training", "after the run", codes, found, f"process 0: {sentence}")
    same = found is not None and difference(reference, mirror).is_rounding
    return row, codes == [RESUMABLE] * 2 and _is_same(found) and same


def _mirror_damaged(folder: Path, reference: Path) -> tuple[str, bool]:
    """Damage the policy in the mirror and lose the run's folder; resume with `run.repair`."""
    run_dir, mirror = folder / "mirror-damaged", folder / "disk" / "mirror"
    policy = max((mirror / "checkpoints/round_00").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    content = bytearray(policy.read_bytes())
    content[len(content) // 2] ^= 1
    policy.write_bytes(content)
    began = time.monotonic()
    processes = start(run_dir, 2, f"run.mirror={mirror}")
    codes = finish(processes)
    seconds = time.monotonic() - began
    sentence = last_line(run_dir, 0)
    resumed = finish(start(run_dir, 2, f"run.mirror={mirror}", "run.repair=true"))
    found = difference(reference, run_dir) if resumed == [0, 0] else None
    row = _row("mirror damaged, other machine", f"{seconds:.0f} s", codes, found, f"process 0: {sentence}")
    return row, codes == [2, 2] and _is_same(found)


def _row(what: str, times: str, codes: Sequence[int], found: Difference | None, said: str) -> str:
    return f"| {what} | {times} | {', '.join(map(str, codes))} | {_shown(found)} |\n    {said}"


def _is_same(found: Difference | None) -> bool:
    return found is not None and found.is_rounding


def _shown(found: Difference | None) -> str:
    return "not resumed" if found is None else f"{found.responses} responses, weights {found.weights:.1e}"


def _counts(folder: Path) -> bool:
    """Print the table of runs that nothing happens to; return whether they are as they should be."""
    print("| processes | exit codes | difference from one process |\n|---|---|---|", flush=True)
    good, reference = True, folder / "count-1"
    for name, count, shared in (("1", 1, False), ("2", 2, False), ("2 that share run.dir", 2, True),
                                ("4", 4, False)):  # fmt: skip
        run_dir = folder / f"count-{name}".replace(" ", "-")
        codes = finish(start(run_dir, count, "run.rounds=1", shared=shared))
        found = None if any(codes) else difference(reference, run_dir)
        good &= _is_same(found)
        print(f"| {name} | {', '.join(map(str, codes))} | {_shown(found)} |", flush=True)
    return good


def _faults(folder: Path, quick: bool) -> bool:
    """Print the table of faults; return whether the runs ended as they should."""
    print(
        "\n| fault | until each had ended | exit codes | resumed: difference |\n|---|---|---|---|", flush=True
    )
    reference = folder / "one-round"
    good = finish(start(reference, 1)) == [0]
    for number, fault in enumerate(FAULTS):
        for moment in [tuple(MOMENTS)[number % 2]] if quick else MOMENTS:
            row, as_expected = _lost(fault, moment, folder, reference)
            good &= as_expected
            print(row, flush=True)
    for tried in (_mirror_lost, _mirror_damaged):
        row, as_expected = tried(folder, reference)
        good &= as_expected
        print(row, flush=True)
    return good


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="each fault at one moment, by turns")
    parser.add_argument("--folder", type=Path, help="keep the runs here (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        good = _counts(folder)
        good &= _faults(folder, options.quick)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
