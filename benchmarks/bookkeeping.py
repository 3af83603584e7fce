"""What a method's bookkeeping costs at scale: a simulated policy, no model, a million queries.

    python benchmarks/bookkeeping.py --method adastar --queries 1000000 --rounds 10
    python benchmarks/bookkeeping.py --method all

Runs rounds 0 to `--rounds` minus one with few trials per query, pass rates that rise by round, and whatever
the method asks for. Prints CPU seconds per step of every round, the whole, and the peak memory. The
simulation itself (making responses, filling columns) is timed apart; the texts are few and shared, as what
they take up is theirs and not the bookkeeping's. `key=value` arguments set options. `all` plays every
method, each in a separate process, and prints the last line of each.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from dast_jax.config import build_config
from dast_jax.estimators.levels import level_shares
from dast_jax.estimators.tally import TallyCounter
from dast_jax.loop.annotation import ask_annotations
from dast_jax.methods import Method, RoundStart, make_method, restore, state_of
from dast_jax.options import apply_overrides
from dast_jax.records import Pool, PreferenceSet, PromptKind, Query, Requests, Responses

LEVEL_MIX = (0.364, 0.383, 0.165, 0.088)
PASS_RATES = (0.9, 0.5, 0.12, 0.01)

SMALL: dict[str, dict[str, object]] = {
    "dast": {"trials": 8, "max_trials": 12, "base_quota": 2},
    "dast-d": {"name": "dast", "loss": "dpo", "trials": 8, "max_trials": 12, "base_quota": 2},
    "vrt": {"trials": 8},
    "rft": {"trials": 8},
    "rest_em": {"trials": 8},
    "dart_uniform": {"trials": 8, "target": 4, "max_trials": 12},
    "dart_prop2diff": {"trials": 8, "target": 6, "max_trials": 12},
    "star": {"rationalize": "always", "steps": 40_000},
    "star_acc": {"rationalize": "always", "steps": 40_000},
    "adastar": {"steps": 12_500, "growth": 1.2},
    "hs_star": {},
    "sai_dpo": {"draw": 200_000, "clusters": 64},
    "sft": {},
    "dpo": {"trials": 8},
    "iterative_rpo": {"trials": 8, "pairs": 4},
    "b_star": {"trials": 8},
}
"""Options with about ten trials per query and round; AdaSTaR starts at a tenth of the pool."""


class Clock:
    """CPU seconds by name, over all calls: other work on the machine does not count."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start
        self.calls[name] += 1


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return vectors of 16 numbers, as a model would."""
    return np.random.default_rng(0).standard_normal((len(texts), 16)).astype(np.float32)


def make_pool(n: int) -> Pool:
    return Pool(tuple(Query(id=str(i), question=f"q{i}", answer=str(i), solution=f"s{i}") for i in range(n)))


def simulate(requests: Requests, round: int, rate: np.ndarray, rng: np.random.Generator) -> Responses:
    """Responses to `requests` in columns; a query's correct texts differ by trial."""
    n = len(requests)
    correct = rng.random(n) < 1 - (1 - rate[requests.query]) * 0.9**round
    texts = np.array([f"response {i}" for i in range(64)], dtype=object)
    return Responses(
        query=requests.query,
        round=np.full(n, round, np.int32),
        trial=requests.trial,
        kind=requests.kind,
        verdict=np.where(correct, 0, 1).astype(np.int8),
        length=np.full(n, 50, np.int32),
        finish=np.zeros(n, np.int8),
        text=texts[requests.trial % 64],
        extracted=np.full(n, None, dtype=object),
        logprob=np.zeros(n, np.float32),
        entropy=np.zeros(n, np.float32),
    )


class History:
    """The responses of the last round that sampled any: no method asks for earlier ones."""

    def __init__(self) -> None:
        self._rounds: dict[int, Responses] = {}

    def __call__(self, round: int) -> Responses:
        return self._rounds[round]

    def add(self, round: int, responses: Responses) -> None:
        """Keep a round's responses."""
        self._rounds = {round: responses} if len(responses) else {**self._rounds, round: responses}


def play(
    method: Method, pool: Pool, round: int, history: History, rate: np.ndarray, clock: Clock
) -> Responses:
    """Run one round with the method; return its own responses."""
    rng = np.random.default_rng(round)
    nothing = simulate(Requests.none(), round, rate, rng)
    with clock("begin"):
        carried = method.begin(RoundStart(round, history, 0.8 if round else None))
    with clock("tally"):
        counter = TallyCounter(len(pool), carried, distinct=method.distinct)
    parts = [nothing]
    while True:
        with clock("requests"):
            requests = method.requests(counter.tally, parts[-1])
        if not len(requests):
            break
        with clock("(simulation)"):
            parts.append(simulate(requests, round, rate, rng))
        with clock("tally"):
            counter.request(requests)
            counter.add(parts[-1])
    del counter
    with clock("(simulation)"):
        own = Responses.concatenate(parts)
        del parts
        everything = Responses.concatenate([carried, own]) if len(carried) else own
    if round and len(own):
        with clock("10,000 prompts' exemplars"):
            for query in range(10_000):
                method.exemplars(query % len(pool), int(own.kind[-1] or PromptKind.ZERO_SHOT))
    with clock("training_set"):
        training_set = method.training_set(everything)
    with clock("state"):
        state = {name: array.copy() for name, array in state_of(method).items()}
        restore(method, state)
    shares = ""
    if method.levels is not None:
        after = level_shares(method.levels, training_set.query).values()
        shares = ", levels " + " / ".join(f"{100 * s:.1f}" for s in after) + " %"
    what = "pairs" if isinstance(training_set, PreferenceSet) else "examples"
    size = sum(array.nbytes for array in state.values()) / 2**20
    print(f"round {round}: {len(own):,} trials, {len(training_set):,} {what}{shares}, state {size:.0f} MiB")
    return own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=[*sorted(SMALL), "all"], default="dast")
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("options", nargs="*", metavar="key=value", help="options of the method")
    arguments = parser.parse_args()
    if arguments.method == "all":
        for name in SMALL:
            size = ["--queries", str(arguments.queries), "--rounds", str(arguments.rounds)]
            command = [sys.executable, __file__, "--method", name, *size]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(done.stdout.splitlines()[-1], flush=True)
        return

    config = build_config(
        {
            "run": {"dir": "unused"},
            "model": {"path": "unused"},
            "data": {"train": "unused"},
            "method": apply_overrides(
                {"name": arguments.method, **SMALL[arguments.method]}, arguments.options
            ),
        }
    )
    begun, cpu = time.monotonic(), time.process_time()
    pool = make_pool(arguments.queries)
    columns = ask_annotations(pool, config.method.annotations, policy_encoder=embed, seed=0)
    method = make_method(config.method, dataclasses.replace(pool, columns=columns), 0)
    rng = np.random.default_rng(0)
    rate = np.array(PASS_RATES)[rng.choice(4, len(pool), p=LEVEL_MIX)]
    history = History()
    for round in range(arguments.rounds):
        clock = Clock()
        history.add(round, play(method, pool, round, history, rate, clock))
        for name, seconds in clock.seconds.items():
            if seconds >= 0.05:
                print(f"  {name:30s} {seconds:7.2f} s in {clock.calls[name]} calls")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    spent, passed = time.process_time() - cpu, time.monotonic() - begun
    print(
        f"{arguments.method}: {len(pool):,} queries, {arguments.rounds} rounds: {spent:.0f} CPU seconds, "
        f"{passed:.0f} s, peak memory {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
