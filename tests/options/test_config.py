"""The run's config: composed, packaged, compared; and the files that pin and ship it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dast_jax import config as config_module
from dast_jax.assets import resolve_path
from dast_jax.cli.schemas import RunSchema
from dast_jax.config import (
    build_config,
    config_dict,
    config_path,
    load_config,
    packaged_configs,
    result_keys,
)
from dast_jax.errors import UserError

ROOT = Path(__file__).parents[2]
NEEDED = ["run.dir=runs/x", "model.path=asset:base_model", "data.train=asset:problems/train.jsonl"]


@pytest.mark.parametrize("name", sorted(packaged_configs()))
def test_packaged_configs_are_valid(name: str) -> None:
    config = load_config(name)
    assert build_config(config_dict(config)) == config


def test_packaged_config_by_name_from_any_folder(tmp_path, monkeypatch) -> None:
    expected = packaged_configs()["quickstart"]
    monkeypatch.chdir(tmp_path)
    assert config_path("quickstart") == expected
    assert config_path("configs/quickstart.yaml") == expected
    own = tmp_path / "configs" / "quickstart.yaml"
    own.parent.mkdir()
    own.write_text("run: {dir: elsewhere}")
    assert config_path("configs/quickstart.yaml") == Path(
        "configs/quickstart.yaml"
    )  # a file that is there wins
    with pytest.raises(UserError, match=r"^quikstart: no such config file; did you mean quickstart\?"):
        config_path("quikstart")
    for name in ("papers/dast", "papers/dast.yaml", "configs/papers/dast.yaml"):
        assert config_path(name) == packaged_configs()["papers/dast"]
    with pytest.raises(UserError, match=r"^papers/dst: no such config file; did you mean papers/dast\?"):
        config_path("papers/dst")
    with pytest.raises(UserError, match="no such config file"):
        config_path("studies/quickstart")  # a study is no run's config
    with pytest.raises(UserError, match="is a folder"):
        config_path(tmp_path)
    with pytest.raises(UserError, match="no such config file"):
        config_path("other/quickstart.yaml")


def test_another_method_by_override_keeps_no_option_of_the_files_method() -> None:
    config = load_config("quickstart", ["method.name=rft", "method.trials=3"])
    assert config_dict(config)["method"] == {
        **config_dict(load_config("quickstart", ["method.name=rft"]))["method"],
        "trials": 3,
    }
    assert load_config("quickstart", ["method.name=dast"]) == load_config("quickstart")
    with pytest.raises(
        UserError, match=r"^method\.base_quota: is an option of dast, and method\.name is rft"
    ):
        load_config("quickstart", ["method.name=rft", "method.base_quota=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainin.epochs=1", r"^trainin: unknown key; did you mean training\?"),
        ("training.epoch=1", r"^training\.epoch: unknown key; did you mean training\.epochs\?"),
        ("training.learning_rate=fast", r"^training\.learning_rate: expected a number, got 'fast'"),
        ("method.name=dats", r"^method\.name: there is no method 'dats'; did you mean dast\?"),
        ("method.name=base", r"^method\.name: there is no method 'base'"),
        ("method.name=7", r"^method\.name: expected text, got 7"),
        ("method=dast", r"^method: expected a section with `name`, got 'dast'"),
        ("method.trialz=3", r"^method\.trialz: unknown key; did you mean method\.trials\?"),
        ("profile=1", r"^profile: expected true or false, got 1"),
        ("run.seed=-1", r"^run\.seed: must be at least 0"),
        ("evaluation.trials=4", r"^evaluation: trials: 4 greedy trials are all the same"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, [*NEEDED, override])


@pytest.mark.parametrize("missing", range(len(NEEDED)))
def test_required_keys(missing: int) -> None:
    key = NEEDED[missing].partition("=")[0]
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: this key is required"):
        load_config(None, [text for i, text in enumerate(NEEDED) if i != missing])


def test_evaluation_draws_by_its_own_options() -> None:
    config = load_config(
        None,
        [
            *NEEDED,
            "sampling.temperature=0.9",
            "sampling.top_k=5",
            "sampling.stop=[x]",
            "sampling.max_new_tokens=40",
        ],
    )
    greedy = config.evaluation.sampling(config.sampling)
    assert (greedy.temperature, greedy.top_k, greedy.stop, greedy.max_new_tokens) == (0.0, 0, ("x",), 40)
    config = load_config(None, [*NEEDED, "evaluation.max_new_tokens=7", "sampling.min_new_tokens=9"])
    short = config.evaluation.sampling(config.sampling)
    assert (short.max_new_tokens, short.min_new_tokens) == (7, 7)


def test_result_keys_are_those_that_change_the_result() -> None:
    keys = result_keys(load_config(None, NEEDED))
    for key in (
        "model.path",
        "run.seed",
        "method.name",
        "method.trials",
        "training.learning_rate",
        "data.train",
    ):
        assert key in keys
    for key in (
        "run.dir",
        "run.rounds",
        "run.note",
        "mesh.fsdp",
        "sampling.slots",
        "logging.wandb",
        "profile",
    ):
        assert key not in keys
    assert "verifier.workers" not in keys


def test_every_key_has_help_and_a_type() -> None:
    infos = RunSchema().describe({})
    assert len({info.key for info in infos}) == len(infos) > 50
    assert [info.key for info in infos if not info.help or not info.type] == []


def test_assets_are_found_by_prefix() -> None:
    assert resolve_path("asset:__init__.py").is_file()
    assert resolve_path("some/path") == Path("some/path")
    assert resolve_path("~/x") == Path.home() / "x"
    with pytest.raises(UserError, match="there is no such asset"):
        resolve_path("asset:base_modle")
    with pytest.raises(UserError, match="there is no such asset"):
        resolve_path("asset:../errors.py")


def test_import_is_light() -> None:
    heavy = ("jax", "flax", "optax", "orbax", "transformers", "datasets", "torch")
    code = (
        "import sys; import dast_jax.config, dast_jax.store, dast_jax.cli, dast_jax.runtime.progress; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_every_package_is_shipped() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent.relative_to(ROOT) for p in (ROOT / "dast_jax").rglob("__init__.py")}
    assert set(listed) == {".".join(f.parts) for f in folders} | {"dast_jax.configs"}


def test_constraints_hold_names_versions_and_python_markers_only() -> None:
    line = re.compile(r'[A-Za-z0-9._-]+==[0-9][0-9a-z.]*( ; python_version (<|>=) "3\.\d+")?')
    text = (ROOT / "constraints.txt").read_text().splitlines()
    assert [t for t in text if not t.startswith("#") and not line.fullmatch(t)] == []


def test_sections_and_config_agree() -> None:
    assert set(config_dict(load_config(None, NEEDED))) == set(config_module.SECTIONS)
