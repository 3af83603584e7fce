"""Verified responses from lists."""

import numpy as np

from dast_jax.records import FinishReason, Responses, VerdictKind


def columns(query, correct, text, finish=FinishReason.EOS):
    """Return one response per entry of the lists, all of round 0."""
    n = len(query)
    kinds, reasons = tuple(VerdictKind), tuple(FinishReason)
    verdict = np.where(correct, kinds.index(VerdictKind.CORRECT), kinds.index(VerdictKind.INCORRECT))
    return Responses(
        query=np.array(query, np.int32),
        round=np.zeros(n, np.int32),
        trial=np.arange(n, dtype=np.int32),
        kind=np.zeros(n, np.int8),
        verdict=verdict.astype(np.int8),
        length=np.ones(n, np.int32),
        finish=np.full(n, reasons.index(finish), np.int8),
        text=np.array([*text, None], dtype=object)[:-1],
        extracted=np.full(n, None, dtype=object),
        logprob=np.zeros(n, np.float32),
        entropy=np.zeros(n, np.float32),
    )
