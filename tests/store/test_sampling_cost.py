"""What sampling cost, stored with the parts of the response log: the costs of several processes add up."""

from __future__ import annotations

from pathlib import Path

from dast_jax.records import FinishReason, Rollout, SamplingStats, Verdict, VerdictKind
from dast_jax.store.response_log import ResponseLog

VERDICT = Verdict(VerdictKind.CORRECT, "2", "")


def rollout(trial: int) -> Rollout:
    return Rollout(
        query=0,
        trial=trial,
        kind=0,
        text="2",
        tokens=(4, 2),
        logprob=-0.5,
        entropy=0.1,
        finish_reason=FinishReason.EOS,
    )


def test_the_costs_of_all_parts_and_processes_add_up(tmp_path: Path) -> None:
    assert ResponseLog(tmp_path / "r", 0).stored_cost() == SamplingStats()
    with ResponseLog(tmp_path / "r", 0, flush_responses=2) as log:
        for trial in range(5):  # parts of 2, 2 and 1
            log.count(SamplingStats(trials=trial + 1, slot_steps=10 * (trial + 1)))
            log.append(rollout(trial), VERDICT)
    assert log.stored_cost() == SamplingStats(trials=5, slot_steps=50)
    with ResponseLog(tmp_path / "r", 0, flush_responses=2) as second:  # its counts begin anew
        assert second.stored_cost() == SamplingStats(trials=5, slot_steps=50)
        second.count(SamplingStats(trials=1, slot_steps=7))
        second.append(rollout(5), VERDICT)
    assert second.stored_cost() == SamplingStats(trials=6, slot_steps=57)
    assert len(second.responses()) == 6


def test_responses_lost_with_a_process_leave_no_cost(tmp_path: Path) -> None:
    log = ResponseLog(tmp_path / "r", 0, flush_responses=2)
    for trial in range(3):
        log.count(SamplingStats(slot_steps=10 * (trial + 1)))
        log.append(rollout(trial), VERDICT)
    del log  # killed: the third one was held in memory
    assert ResponseLog(tmp_path / "r", 0).stored_cost() == SamplingStats(slot_steps=20)
