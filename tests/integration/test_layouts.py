"""Eight virtual devices: the same numbers over many layouts, with a layout of its own for sampling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_compilation import little_optimization

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What `layouts_child.py` found."""
    paths = [str(TESTS / part) for part in ("sampling", "training")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", str(TESTS.parent))]),
    }
    child = str(Path(__file__).with_name("layouts_child.py"))
    arguments = [sys.executable, child, str(tmp_path_factory.mktemp("layouts"))]
    # Compiling is nearly all of the time: with few optimizations a step takes 2.5 CPU seconds instead of 19.
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {little_optimization()}"
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "warnings": done.stderr}


def test_training_gives_the_same_numbers_over_every_layout(report):
    assert len(report["layouts"]) >= 8
    for found in report["layouts"]:
        assert found["loss"] <= 1e-5, found
        assert found["gradient"] <= 1e-4, found
        assert found["weights"] <= 1e-5, found


def test_sampling_in_a_layout_of_its_own_draws_the_same_tokens(report):
    for found in report["layouts"]:
        assert found["training"] != found["sampling"]
        assert found["copy"], found  # the copy has the bits of what was trained
        assert found["different_responses"] == 0, found
    for compiled in report["compilations"].values():
        assert compiled == {"prefill": 1, "insert": 1, "decode": 1}


def test_nothing_big_is_whole_on_each_device_by_accident(report):
    for found in report["layouts"]:
        for kernel, (_, fsdp, tensor) in zip(
            found["share_of_kernel"], (found["training"], found["sampling"]), strict=True
        ):
            assert kernel == 1 / (fsdp * tensor)
    for data, tensor in ((2, 4), (8, 1)):
        sizes = (data, 1, tensor)
        state = report[f"state {sizes}"]
        assert (state["slots"], state["pool"], state["logits"]) == (1 / 8, 1 / 8, 1 / data)
        for program, collectives in report[f"collectives {sizes}"].items():
            for kind, size in collectives.items():  # activations of 16 slots and their logits, no cache
                assert size <= 16 * 96 * 4, (program, kind)
        assert state["pool_bytes"] > 10 * 16 * 96 * 4


def test_the_compiler_finds_a_way_between_all_layouts(report):
    assert "rematerialization" not in report["warnings"], report["warnings"]


def test_decoding_over_data_alone_sends_nothing_but_what_the_host_reads(report):
    assert set(report["collectives (8, 1, 1)"]["decode"]) <= {"all-gather", "all-reduce"}


def test_a_policy_is_restored_onto_other_meshes(report):
    assert report["restored"] == [4, True, 1, True]


def test_training_goes_on_over_fewer_devices_with_its_optimizer_state(report):
    assert [(devices, same) for devices, same, *_ in report["training restored"]] == [(4, True), (1, True)]
    for devices, _, loss, weights in report["training restored"]:
        assert loss <= 1e-5, devices
        assert weights <= 1e-5, devices
