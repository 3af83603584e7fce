"""The counts of a round and its few-shot prompts, where method, verifier and response log meet."""

from __future__ import annotations

import numpy as np

from dast_jax.data.hints import hinted
from dast_jax.loop.round_requests import RoundRequests
from dast_jax.methods.base import Method
from dast_jax.records import (
    FinishReason,
    Pool,
    PromptKind,
    Query,
    Requests,
    Responses,
    Rollout,
    TrainingSet,
    Verdict,
    VerdictKind,
)
from dast_jax.store.response_log import ResponseLog
from dast_jax.verifiers import Verifier
from dast_jax.verifiers.options import VerifierOptions

POOL = Pool(
    tuple(Query(id=f"q{i}", question=f"{i}+0?", answer=str(i), solution=f"It is {i}.") for i in range(4))
)
OWN = (Query(id="o1", question="9+9?", answer="18", solution="Eighteen: 18."), POOL.queries[1])


class Options:
    exemplars = 2
    distinct = "none"


class Once(Method):
    """One more trial of every query."""

    asked = False

    def requests(self, tally, news):
        if self.asked:
            return Requests.none()
        self.asked = True
        n = len(self.pool)
        return Requests(np.arange(n, dtype=np.int32), tally.requested.copy(), np.zeros(n, np.int8))

    def training_set(self, responses):
        return TrainingSet.none()


def rollout(query: int, trial: int, text: str) -> Rollout:
    return Rollout(
        query=query, trial=trial, kind=0, text=text, tokens=(1, 2), logprob=-1.0, entropy=0.5,
        finish_reason=FinishReason.EOS,
    )  # fmt: skip


def test_counts_are_those_of_the_round(tmp_path) -> None:
    """Eight correct responses are carried over; of four trials of the round two are correct."""
    earlier = [rollout(q, t, f"#### {q}") for q in range(4) for t in range(2)]
    correct = Verdict(VerdictKind.CORRECT, "", "")
    carried = Responses.of(0, earlier, [correct] * 8)
    with Verifier(VerifierOptions()) as verifier, ResponseLog(tmp_path, 1) as log:
        requests = RoundRequests(
            method=Once(POOL, Options(), 0),
            pool=POOL,
            carried=carried,
            build_prompt=lambda question, exemplars: (),
            verifier=verifier,
            log=log,
            round=1,
        )
        wanted = requests.next(0)
        assert wanted.trial.tolist() == [2] * 4
        assert requests.counts == (4, 0, 0)
        requests.finished([rollout(q, 2, f"#### {q if q < 2 else 99}") for q in range(4)], 0)
        requests.next(1)
        assert requests.counts == (4, 4, 2)


def test_own_exemplars_replace_the_methods(tmp_path) -> None:
    """They are shown from the first, hinted where the query is, and never with the query itself."""
    built = []
    requests = RoundRequests(
        method=Once(POOL, Options(), 0),
        pool=POOL,
        carried=Responses.none(),
        build_prompt=lambda question, exemplars: built.append((question, exemplars)) or (),
        own_exemplars=OWN,
        verifier=Verifier(VerifierOptions()),
        log=ResponseLog(tmp_path, 0),
        round=0,
    )
    for query, kind in ((0, PromptKind.FEW_SHOT), (1, PromptKind.FIXED), (0, PromptKind.ZERO_SHOT)):
        requests.prompt(query, kind, 0)
    requests.prompt(0, PromptKind.RATIONALIZED, 0)
    shown = [[e.question for e in exemplars] for _, exemplars in built]
    assert shown == [["9+9?", "1+0?"], ["9+9?"], [], [hinted(OWN[0]), hinted(OWN[1])]]
    assert built[0][1][0].response == "Eighteen: 18."
    assert requests.short_of_exemplars == 1  # of the query that is among them
