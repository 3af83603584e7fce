"""A method from outside the package: that of docs/methods.md as a whole run, and errors for faulty ones."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_policy import SimulatedPolicy, make_pool, run_rounds

from dast_jax.config import build_config, config_dict, describe_config, result_keys
from dast_jax.errors import UserError
from dast_jax.methods import make_method, method_name
from dast_jax.options import load_yaml

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"
SMALL = (
    "method.name=my_methods.shortest",
    "method.trials=2",
    "data.limit=8",
    "evaluation.limit=2",
    "evaluation.length_probe=0",
    "evaluation.probe=0",
    "sampling.max_new_tokens=96",
    "evaluation.max_new_tokens=96",
    "sampling.slots=4",
    "training.batch_size=2",
    "training.epochs=1",
    "logging.tensorboard=false",
    "mesh.cpu_data=0",
)


def documented():
    """Return the code of the custom method in the docs."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    return code


def save(folder, name, code):
    """Save a module in `folder` by its dotted name."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """A folder that modules named `outside.NAME` are imported from, and forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


def config(**method):
    return build_config(
        {"run": {"dir": "x"}, "model": {"path": "m"}, "data": {"train": "d"}, "method": method}
    )


def train(folder, *overrides):
    command = [sys.executable, "-m", "dast_jax.train", "--config", "quickstart", "run.dir=runs/it", *SMALL]
    return subprocess.run([*command, *overrides], cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_documented_method_runs_resumes_and_is_reported(tmp_path):
    assert len(documented().splitlines()) < 40
    save(tmp_path, "my_methods.shortest", documented())
    first = train(tmp_path, "run.rounds=0")
    assert first.returncode == 0, first.stderr
    summary = json.loads((tmp_path / "runs/it/summary.json").read_text())
    assert summary["method"] == {"name": "my_methods.shortest", "trials": 2, "exemplars": 4}
    assert load_yaml(tmp_path / "runs/it/config.yaml")["method"] == summary["method"]
    (round_0,) = summary["rounds"]
    assert round_0["sampling"]["trials"] == 16
    assert round_0["training"]["examples"] == round_0["method"]["solved"] <= 8

    other = train(tmp_path, "run.rounds=1", "method.trials=3")
    assert other.returncode == 2
    assert "method.trials: 2 → 3" in other.stderr

    second = train(tmp_path, "run.rounds=1")
    assert second.returncode == 0, second.stderr
    summary = json.loads((tmp_path / "runs/it/summary.json").read_text())
    assert summary["rounds"][0] == round_0
    assert summary["rounds"][1]["sampling"]["trials"] == 16
    report = (tmp_path / "runs/it/report.html").read_text()
    assert "my_methods.shortest" in report.lower().replace("-", "_")
    assert "solved" in report


def test_the_documented_method_does_what_it_says(importable):
    save(importable, "outside.shortest", documented())
    options = config(name="outside.shortest", trials=6, exemplars=0).method
    pool = make_pool(30)
    method = make_method(options, pool, 0)
    policy = SimulatedPolicy([0.5] * 30, exact=False, cut=0.2)
    for training_set, responses in run_rounds(method, policy, pool, 1):
        usable = {}
        for query, text, correct, finish in zip(
            responses.query, responses.text, responses.correct, responses.finish, strict=True
        ):
            if correct and not finish:
                usable.setdefault(int(query), []).append(text)
        assert training_set.query.tolist() == sorted(usable)
        assert all(
            len(text) == min(map(len, usable[q]))
            for q, text in zip(training_set.query.tolist(), training_set.text, strict=True)
        )
    assert method.facts == {"solved": len(training_set)}


def test_its_name_and_keys_are_like_those_of_a_built_in_one(importable):
    save(importable, "outside.shortest", documented())
    made = config(name="outside.shortest", trials=3)
    assert made.method_name == method_name(made.method) == "outside.shortest"
    assert build_config(config_dict(made)) == made
    keys = result_keys(made)
    assert keys["method.name"] == "outside.shortest"
    assert keys["method.trials"] == 3
    listed = {info.key: info for info in describe_config({"method": {"name": "outside.shortest"}})}
    assert listed["method.trials"].help == "trials per query and round"
    for key, words in (
        ("trails", "method.trails: unknown key; did you mean method.trials"),
        ("max_trials", "method.max_trials: is an option of .*, and method.name is outside.shortest"),
    ):
        with pytest.raises(UserError, match=words):
            config(name="outside.shortest", **{key: 3})


def test_a_module_of_this_package_keeps_its_short_name():
    assert config(name="dast_jax.methods.star").method_name == "star"


OPTIONS = """
from dataclasses import dataclass
from dast_jax.methods import Method, MethodOptions

@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    pass
"""
METHOD = """
class {}(Method):
    def requests(self, tally, news): ...
    def training_set(self, responses): ...
"""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nowhere.at_all", "", "there is no module nowhere to import nowhere.at_all from"),
        ("outside.missing", None, "there is no module outside.missing"),
        ("out side", "", "there is no method 'out side'"),
        ("outside.empty", "", "outside.empty does not define a method: it needs a class Options"),
        ("outside.other", "class Options: ...", "it needs a class Options derived from"),
        ("outside.plain", OPTIONS.replace("@dataclass(frozen=True, kw_only=True)", ""), "is not a dataclass"),
        (
            "outside.taken",
            "from dast_jax.methods.star import *",
            "takes its Options from dast_jax.methods.st",
        ),
        ("outside.none", OPTIONS, "it needs a subclass of dast_jax.methods.Method"),
        (
            "outside.half",
            OPTIONS + "class Half(Method): ...",
            "Half in outside.half does not define re",
        ),
        (
            "outside.several",
            OPTIONS + METHOD.format("One") + METHOD.format("Two"),
            r"several methods \(One, Two\); put each into a separate module",
        ),
        ("outside.broken", "x = 1\nx.y", "broken.py, line 2: AttributeError: 'int' object has no attribute"),
        ("outside.torn", "def f(:", "torn.py, line 1: SyntaxError"),
        (
            "outside.needy",
            "import not_installed_here",
            "needy.py, line 1: ModuleNotFoundError: .*not_",
        ),
    ],
)
def test_what_is_wrong_with_a_module_is_one_sentence(importable, name, code, words):
    save(importable, "outside.one_that_is_there", "")
    if code and name.startswith("outside"):
        save(importable, name, code)
    elif name == "outside.empty":
        save(importable, name, "")
    with pytest.raises(UserError, match=rf"^method\.name: .*{words}") as error:
        config(name=name)
    assert "\n" not in str(error.value)


def test_helpers_and_abstract_classes_next_to_the_method_are_not_methods(importable):
    base = "class Base(Method):\n    def requests(self, tally, news): ...\n"
    own = "class Own(Base):\n    def training_set(self, responses): ...\nAlias = Own\n"
    save(importable, "outside.layered", f"from dast_jax.methods.star import Star\n{OPTIONS}{base}{own}")
    method = make_method(config(name="outside.layered").method, make_pool(3), 0)
    assert type(method).__name__ == "Own"
