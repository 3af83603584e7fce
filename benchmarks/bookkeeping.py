"""What a method's bookkeeping costs at scale: a simulated policy, no model, a million queries.

    python benchmarks/bookkeeping.py --queries 1000000 --rounds 3

Prints CPU seconds per step of every round and the peak memory. The simulation itself (making
responses, filling columns) is timed apart.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dast_jax.difficulty import TallyCounter, level_shares
from dast_jax.methods import dast
from dast_jax.records import Pool, PromptKind, Query, Requests, Responses

LEVEL_MIX = (0.364, 0.383, 0.165, 0.088)
PASS_RATES = (0.9, 0.5, 0.12, 0.01)


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


def make_pool(n: int) -> Pool:
    return Pool(tuple(Query(id=str(i), question=f"q{i}", answer=str(i), solution=f"s{i}") for i in range(n)))


def simulate(requests: Requests, round: int, rate: np.ndarray, rng: np.random.Generator) -> Responses:
    """Responses to `requests` in columns; a query's correct texts differ by trial."""
    n = len(requests)
    correct = rng.random(n) < rate[requests.query]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8, help="K of the level estimate")
    parser.add_argument("--max-trials", type=int, default=24)
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    clock = Clock()
    n = arguments.queries
    with clock("make the pool"):
        pool = make_pool(n)
    options = dast.Options(trials=arguments.trials, max_trials=arguments.max_trials)
    method = dast.make(pool, options, seed=0)
    rate = np.array(PASS_RATES)[rng.choice(4, n, p=LEVEL_MIX)]

    earlier: dict[int, Responses] = {}
    for round in range(arguments.rounds + 1):
        clock = Clock()
        wanted = [earlier[r] for r in method.wanted_rounds(round)]
        nothing = simulate(Requests.none(), round, rate, rng)
        with clock("start_round"):
            carried = method.start_round(round, Responses.concatenate([nothing, *wanted]))
        with clock("tally"):
            counter = TallyCounter(n, carried)
        parts = [nothing]
        while True:
            with clock("requests"):
                requests = method.requests(counter.tally)
            if not len(requests):
                break
            with clock("(simulation)"):
                parts.append(simulate(requests, round, rate, rng))
            with clock("tally"):
                counter.request(requests)
                counter.add(parts[-1])
        with clock("(simulation)"):
            own = Responses.concatenate(parts)
            everything = Responses.concatenate([carried, own])
        if round:
            with clock("first matched exemplars (builds the bank)"):
                method.exemplars(0, PromptKind.MATCHED)
            with clock("10,000 more"):
                for query in range(1, 10_001):
                    method.exemplars(query % n, PromptKind.MATCHED)
        with clock("training_set"):
            training_set = method.training_set(everything)
        earlier = {round: own}

        levels = method.levels()
        assert levels is not None
        shares = " / ".join(f"{100 * s:.1f}" for s in level_shares(levels, training_set.query).values())
        print(f"round {round}: {len(own):,} trials, {len(training_set):,} examples, levels {shares} %")
        for name, seconds in clock.seconds.items():
            print(f"  {name:42s} {seconds:7.2f} s in {clock.calls[name]} calls")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
