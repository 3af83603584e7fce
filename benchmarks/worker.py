"""The process of one side: `python -m benchmarks.worker SIDE WORK.json CORES`; a line in, a line out.

Commands are JSON lines on stdin: {"do": "check"}, {"do": "tune", "part": 16}, {"do": "run", "setting": {…}}
and {"do": "quit"}. Answers are JSON lines on stdout, with the CPU seconds of the whole process (all its
threads) and the wall seconds that the command took. What a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Serve commands until stdin ends or one says quit."""
    side_name, file, cores = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library's prints must not mix with the answers

    from benchmarks.sides import make_side
    from benchmarks.work import read_work

    work = read_work(Path(file))
    side = make_side(side_name, work)

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "check":
                return {"check": side.check()}
            case "tune":
                part = work.part(command["part"])
                tried = {}
                for setting in side.candidates:
                    side.run(setting, part)  # compiles, and fills caches
                    cpu = time.process_time()
                    units = side.run(setting, part)
                    tried[json.dumps(setting)] = units / (time.process_time() - cpu)
                return {"tried": tried, "setting": json.loads(max(tried, key=tried.__getitem__))}
            case "run":
                part = work.part(command.get("part", work.size))
                return {"units": side.run(command["setting"], part)}
        raise ValueError(f"no command {command['do']!r}")

    print(json.dumps({"candidates": list(side.candidates)}), file=out, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        cpu, wall = time.process_time(), time.perf_counter()
        found = answer(command)
        found |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main()
