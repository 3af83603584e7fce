"""The trial cache: trials are found by prompt and temperature, and read back with their batch's cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dast_jax.records import FinishReason, Rollout, SamplingStats
from dast_jax.store.trial_cache import CachedTrial, TrialCache, trial_key


def rollout(query: int, trial: int, tokens: tuple[int, ...] = (4, 5, 2)) -> Rollout:
    return Rollout(
        query=query,
        trial=trial,
        kind=1,
        text="1+1=2",
        tokens=tokens,
        logprob=-0.1 - 0.2,
        entropy=1 / 3,
        finish_reason=FinishReason.EOS,
    )


COST = SamplingStats(trials=3, prompt_tokens=30, padded_prompt_tokens=64, generated_tokens=8, slot_steps=48)


def test_trials_are_found_by_prompt_and_temperature_and_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "trials.parquet"
    cache, key = TrialCache(path), trial_key(3, 1, (7, 8), None)
    cache.put_batch([(key, rollout(3, 1))], COST)
    cache.put_batch([(key, rollout(3, 1, (9,)))], COST)  # the first one stays
    cache.save()
    again = TrialCache(path)
    assert len(again) == 1
    assert again.get(trial_key(3, 1, [7, 8], None)) == CachedTrial(rollout(3, 1), 0)
    for other in (
        trial_key(3, 1, [7, 9], None),
        trial_key(3, 2, [7, 8], None),
        trial_key(3, 1, [7, 8], 0.7),
        trial_key(4, 1, [7, 8], None),
    ):
        assert again.get(other) is None


def test_a_whole_batch_costs_what_it_cost_and_a_part_its_share(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    cache = TrialCache(path)
    cache.put_batch([(trial_key(0, 0, (1,), None), rollout(0, 0, (1, 2)))], COST)
    rows = [(trial_key(1, i, (1,), None), rollout(1, i, (1,) * n)) for i, n in enumerate((1, 3, 4))]
    cache.put_batch(rows, COST)
    cache.save()
    for each in (cache, TrialCache(path)):
        whole = each.cost_of({1: 8})
        assert (whole.prompt_tokens, whole.padded_prompt_tokens, whole.slot_steps) == (30, 64, 48)
        part = each.cost_of({1: 4})
        assert (part.generated_tokens, part.padded_prompt_tokens, part.slot_steps) == (4, 32, 24)
        both = each.cost_of({0: 2, 1: 8})
        assert both.generated_tokens == 16
        assert each.cost_of({}) == SamplingStats()


@pytest.mark.parametrize("fault", ["flipped", "halved", "emptied", "digest missing", "digest of another"])
def test_a_damaged_cache_is_set_aside_and_sampled_again(tmp_path: Path, caplog, fault: str) -> None:
    path = tmp_path / "trials.parquet"
    digest = tmp_path / "trials.parquet.sha256"
    cache, key = TrialCache(path), trial_key(3, 1, (7, 8), None)
    cache.put_batch([(key, rollout(3, 1))], COST)
    cache.save()
    content = path.read_bytes()
    middle = len(content) // 2
    match fault:
        case "flipped":
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "halved":
            path.write_bytes(content[:middle])
        case "emptied":
            path.write_bytes(b"")
        case "digest missing":
            digest.unlink()
        case _:
            digest.write_text("0" * 64)
    again = TrialCache(path)
    assert len(again) == 0
    assert again.get(key) is None
    assert "damaged; its trials are sampled again" in caplog.text
    assert not path.exists()
    assert [p.name for p in tmp_path.iterdir() if "damaged" in p.name]
    again.put_batch([(key, rollout(3, 1, (9,)))], COST)
    again.save()
    assert TrialCache(path).get(key) == CachedTrial(rollout(3, 1, (9,)), 0)
