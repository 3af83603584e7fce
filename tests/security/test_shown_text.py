"""Names and texts of files and models reach the terminal escaped, from every command that quotes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dast_jax import evaluate, sample, train
from dast_jax.assets import resolve_path

HOSTILE = "x\x1b[31m\x07\x9b\u202e"
SHOWN = "x\\x1b[31m\\x07\\x9b\\u202e"


def _yaml_key(folder: Path) -> int:
    (folder / "c.yaml").write_text('"x\\e[31m\\a\\x9b\\u202e": 1\n')
    return train.main(["--config", str(folder / "c.yaml")])


def _column(folder: Path) -> int:
    (folder / "d.csv").write_text(f"{HOSTILE},b\n1,2\n", encoding="utf-8")
    return evaluate.main(["--model", "asset:base_model", "--data", str(folder / "d.csv")])


def _of_model(file: str, key: str, value: object) -> Callable[[Path], int]:
    def command(folder: Path) -> int:
        model = Path(shutil.copytree(resolve_path("asset:base_model"), folder / "model"))
        changed = json.loads((model / file).read_text()) | {key: value}
        (model / file).write_text(json.dumps(changed))
        (folder / "p.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
        flags = {"--model": model, "--data": folder / "p.jsonl", "--out": folder / "o.jsonl"}
        return sample.main([str(part) for pair in flags.items() for part in pair])

    return command


CASES = {
    "a YAML key": _yaml_key,
    "a column": _column,
    "architectures": _of_model("config.json", "architectures", [HOSTILE]),
    "model_type": _of_model("config.json", "model_type", HOSTILE),
    "a template's error": _of_model(
        "tokenizer_config.json", "chat_template", f"{{{{ raise_exception('{HOSTILE}') }}}}"
    ),
}


@pytest.mark.parametrize("where", CASES)
def test_what_a_message_quotes_is_escaped(
    where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert CASES[where](tmp_path) == 2
    said = "".join(capfd.readouterr())
    assert SHOWN in said
    assert not set(HOSTILE[1:2] + "\x07\x9b\u202e") & set(said)
