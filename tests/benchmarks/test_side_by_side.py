"""The work that both sides of a comparison get, and what is refused as a result."""

import argparse
import json

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.models import model_folder
from benchmarks.side_by_side import Comparison, result_line, same_numbers
from benchmarks.work import dpo_work, read_work, sampling_work, sft_work

EMBEDDED = model_folder("embedded")


@pytest.fixture(scope="module")
def works():
    return {make: make("embedded", EMBEDDED) for make in (sampling_work, sft_work, dpo_work)}


def test_the_work_is_what_the_documents_say(works):
    prompts = [len(p) for p in works[sampling_work].prompts]
    assert len(prompts) == 64
    assert works[sampling_work].trials == 8
    assert min(prompts) > 200  # at most one exemplar below 300
    assert max(prompts) <= 700
    assert max(prompts) - min(prompts) > 300
    lengths = [len(e.prompt) + len(e.chosen) for e in works[sft_work].examples]
    assert len(lengths) == 1000
    assert max(lengths) <= 512
    assert np.mean(lengths) == pytest.approx(150, abs=8)
    pairs = works[dpo_work].examples
    assert len(pairs) == 200
    assert np.mean([len(p.prompt) for p in pairs]) == pytest.approx(150, abs=10)
    responses = [len(r) for p in pairs for r in (p.chosen, p.rejected)]
    assert np.mean(responses) == pytest.approx(100, abs=10)
    assert np.std(responses) == pytest.approx(60, abs=12)


def test_both_sides_read_the_same_work(works, tmp_path):
    for make, work in works.items():
        assert make("embedded", EMBEDDED) == work
        work.write(tmp_path / "work.json")
        assert read_work(tmp_path / "work.json") == work
        assert work.part(3).size == 3


def test_sides_that_compute_other_numbers_are_refused(works):
    same_numbers(works[sft_work], [2.0, 1.5], [2.0001, 1.5])
    with pytest.raises(SystemExit, match="different losses"):
        same_numbers(works[sft_work], [2.0, 1.5], [2.0, 1.52])
    with pytest.raises(SystemExit, match="different losses"):
        same_numbers(works[dpo_work], [2.0], [2.0, 1.5])
    same_numbers(works[sampling_work], [1, 2, 3], [1, 2, 3])
    with pytest.raises(SystemExit, match="different tokens"):
        same_numbers(works[sampling_work], [1, 2, 3], [1, 9, 3])


def test_the_line_has_the_median_and_the_spread(works):
    found = Comparison(
        cpu_ratios=(1.0, 4.0, 2.0), wall_ratios=(1.0, 1.0, 3.0), ours=2.0, theirs=1.0,
        our_setting={}, their_setting={"n": 1}, our_warm_up=0.0, their_warm_up=0.0,
    )  # fmt: skip
    args = argparse.Namespace(peer="trl", model="5m", cores=1)
    line = json.loads(result_line("sft", works[sft_work], found, "examples per CPU second", args))
    assert (line["benchmark"], line["peer"], line["model"]) == ("sft", "trl", "5m")
    assert (line["ratio"], line["spread"], line["wall_ratio"]) == (2.0, [1.0, 4.0], 1.0)
    assert line["unit"]
    assert "1 of" in line["machine"]


@pytest.mark.parametrize("work", ["sft", "dpo", "sampling"])
def test_the_gpu_benchmark_runs_small(work, capsys):
    gpu.main(["--tiny", "--no-peer", "--work", work])
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["benchmark"] == f"gpu.{work}"
    assert line["tokens_per_s"] > 0
