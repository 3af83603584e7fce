"""Reading studies: what is refused, and which settings take precedence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dast_jax.compare import main as compare_command
from dast_jax.config import packaged_configs, study_path
from dast_jax.errors import UserError
from dast_jax.options import load_yaml
from dast_jax.study.definition import build_study
from dast_jax.study.gate_runs import gate_configs
from tests.study.small_study import SMALL_STUDY


@pytest.mark.parametrize("name", sorted(packaged_configs("studies")))
def test_packaged_studies_are_valid(name: str, tmp_path: Path) -> None:
    study = build_study(load_yaml(study_path(f"configs/studies/{name}.yaml")))
    assert study_path(name) == study_path(f"studies/{name}")
    for one in (study, study.shortened()):
        for entry in one.entries:
            for seed in one.options.seeds:
                one.config(entry, seed, tmp_path)
    assert build_study(study.plain) == study


def test_quickstart_study_has_what_was_promised() -> None:
    study = build_study(load_yaml(study_path("quickstart")))
    methods = {entry.settings["method"]["name"] for entry in study.entries}
    wanted = "sft rft dast dpo vrt dart_uniform dart_prop2diff sai_dpo hs_star adastar star_acc"
    assert methods >= set(wanted.split())
    assert {"dast_s", "dast_p", "dast_l", "dast_d"} <= {entry.label for entry in study.entries}
    assert len(study.options.seeds) == 3


def test_gates_run_five_seeds_of_sft_and_of_the_first_policy_of_rft(tmp_path: Path) -> None:
    study = build_study(load_yaml(study_path("quickstart")))
    found = [
        (label, seed, Path(config.run.dir).relative_to(tmp_path).as_posix(), config.run.rounds)
        for label, seed, config in gate_configs(study, tmp_path)
    ]
    assert found == [
        *(("sft", seed, f"runs/sft-s{seed}", 1) for seed in range(5)),
        ("rft", 0, "runs/rft-s0", 1),
        *(("rft, round 0", seed, f"gates/runs/rft-s{seed}", 0) for seed in range(1, 5)),
        ("estimate", 0, "gates/runs/estimate-s0", 0),
    ]


def change(**changes: Any) -> dict[str, Any]:
    return {**SMALL_STUDY, **changes}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (change(seed=[0]), "^seed: unknown key of a study; did you mean seeds"),
        (change(entries=[]), "^entries: expected a list"),
        (change(entries=[{"method": {"name": "sft"}}]), r"^entries\[0\]: expected a section with `label`"),
        (change(entries=[{"label": "../x"}]), r"^entries\[0\].label: '../x' must be a folder name"),
        (
            change(entries=[{"label": "dast_p"}, {"label": "dast_p"}]),
            r"^entries\[1\].label: there are two entries 'dast_p'",
        ),
        (
            change(entries=[{"label": "dast_p", "trainin": {}}]),
            "^entry dast_p: trainin: unknown key; did you mean training",
        ),
        (change(baselines=["dastp"]), "^baselines: there is no entry 'dastp'; did you mean dast_p"),
        (change(seeds=[1, 1]), "^seeds: expected different seeds"),
        (change(quick={"entries": ["sft"]}), "^quick.entries: there is no entry 'sft'"),
        (change(quick={"entry": ["sft"]}), "^quick.entry: unknown key; did you mean entries"),
        (change(settings={"run": {"seed": 3}}), "^settings: run.seed is set by the study"),
        (change(evaluatio={"limit": 3}), "^evaluatio: unknown key of a study; did you mean evaluation"),
        (change(base=None), "^base: "),
    ],
)
def test_a_bad_study_is_reported_in_one_sentence(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_study(mapping)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"method": {"name": "dart_unifrom"}},
            "entry x: method.name: there is no method 'dart_unifrom'; did",
        ),
        ({"method": {"name": "sft", "trials": 3}}, "entry x: method.trials: is an option of"),
        ({"training": {"epoch": 3}}, "entry x: training.epoch: unknown key; did you mean training.epochs"),
    ],
)
def test_a_bad_entry_is_reported_before_anything_runs(
    entry: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "study.json"
    config.write_text(json.dumps(change(entries=[{"label": "dast_p"}, {"label": "x", **entry}])))
    assert compare_command(["--config", str(config), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_settings_are_laid_over_each_other_in_order(tmp_path: Path) -> None:
    mapping = change(
        settings={"training": {"epochs": 3, "batch_size": 7}, "evaluation": {"limit": 33}},
        entries=[
            {"label": "dast_p", "method": {"length": False}, "training": {"batch_size": 5}},
            {"label": "sft", "method": {"name": "sft"}},
        ],
        quick={"seeds": [4], "entries": ["sft"], "settings": {"evaluation": {"limit": 11}}},
        training={"clip_norm": 0.5},
    )
    study = build_study(mapping)
    config = study.config(study.entries[0], 1, tmp_path)
    assert (config.training.epochs, config.training.batch_size, config.training.clip_norm) == (3, 5, 0.5)
    assert config.method.base_quota == 3  # the base config's: the same method
    assert config.run.dir == str(tmp_path / "runs" / "dast_p-s1")
    assert config.run.seed == 1
    quick = study.shortened()
    assert [e.label for e in quick.entries] == ["sft"]  # another method: nothing left of the base's options
    assert quick.options.seeds == (4,)
    assert quick.options.baselines == ()
    assert quick.options.name == "small-quick"
    limits = [s.config(s.entries[0], 4, tmp_path).evaluation.limit for s in (study, quick)]
    assert limits == [33, 11]
