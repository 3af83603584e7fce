"""Models of the hub: what is fetched, what is not, and pushing, against a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_fake_hub import COMMIT, FakeHub
from model_cases import case, tokenizer, write_folder
from reference.llama_cases import hf_config, weights

from dast_jax.errors import UserError
from dast_jax.models import hf
from dast_jax.models.digest import model_digest
from dast_jax.models.hub import hub_revision, resolve_model
from dast_jax.models.load import load_model
from dast_jax.models.model_files import INDEX

TOKEN = "hf_thetokenthatisinnomessage"

FETCH = """
import sys
from dast_jax.errors import UserError
from dast_jax.models.hub import resolve_model
for name in sys.argv[1:]:
    try:
        print(resolve_model(name))
    except UserError as error:
        print(error)
"""

PUSH = """
import sys
from pathlib import Path
from dast_jax.errors import UserError
from dast_jax.models.hub import check_push, push_folder
for name in sys.argv[2:]:
    try:
        check_push(name)
        print(push_folder(Path(sys.argv[1]), name))
    except UserError as error:
        print(error)
"""


def talk(program: str, hub: FakeHub, *arguments: str, cwd: Path, **environment: str) -> list[str]:
    """Return the lines that `program` prints in a process of its own: the client reads its address once."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, **hub.environment, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_hub_model_is_fetched_once_and_only_what_is_read(tmp_path, monkeypatch):
    config, _, params = case("qwen2")
    source = tmp_path / "source"
    monkeypatch.setattr(hf, "_SHARD_BYTES", 100_000)
    hf.save_model(source, config, params, tokenizer())
    shards = {file.name for file in source.glob("model-*.safetensors")}
    assert len(shards) > 1
    for unread in ("consolidated.safetensors", "pytorch_model.bin", "modeling.py", "original/params.json"):
        (source / unread).parent.mkdir(exist_ok=True)
        (source / unread).write_bytes(b"x")
    with FakeHub({"owner/name": source}, tmp_path / "home") as hub:
        names = ["owner/name", "owner/name@v1", "owner/other", "owner/name@gone"]
        first, second, other, gone = talk(FETCH, hub, *names, cwd=tmp_path)
        assert first == second
        assert Path(first).name == hub_revision(Path(first)) == COMMIT
        assert {"config.json", "tokenizer.json", INDEX} | shards <= set(hub.fetched)
        assert not {"consolidated.safetensors", "pytorch_model.bin", "modeling.py"} & set(hub.fetched)
        assert not any("original" in file for file in hub.fetched)
        assert len(hub.fetched) == len(set(hub.fetched))
        assert other.startswith("model.path: owner/other is no local folder or file, and the hub model")
        assert gone.startswith("model.path: owner/name@gone is no local folder or file, and the hub model")
        asked = len(hub.fetched)
        offline = talk(FETCH, hub, "owner/name", "owner/absent", cwd=tmp_path, HF_HUB_OFFLINE="1")
        assert offline[0] == first
        assert "owner/absent is no local folder" in offline[1]
        assert len(hub.fetched) == asked
    assert hub_revision(source) is None
    loaded = load_model(first)  # links to blobs of its own repository
    assert loaded.config.family == "qwen2"
    digest = model_digest(first)
    (Path(first) / "vocab.txt").write_text("of another program")
    assert model_digest(first) == digest
    changed = next(Path(first).glob("model-00001*"))
    content = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert model_digest(first) != digest


def test_a_local_folder_of_the_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "owner" / "name", hf_config("grouped"), weights("grouped"))
    assert resolve_model("owner/name") == Path("owner/name")
    assert resolve_model("asset:base_model").is_dir()
    for path in ("owner/name/more", "model.gguf", "owner/model.gguf", "/owner/name"):
        assert resolve_model(path) == Path(path)  # which is refused where it is opened
    with pytest.raises(UserError, match="addresses are not read"):
        resolve_model("hf://owner/name")


def test_pushing_uploads_the_model_and_hides_the_token(tmp_path):
    config, _, params = case("qwen2")
    hf.save_model(tmp_path / "out", config, params, tokenizer(), card="# A card\n")
    (tmp_path / "out" / "notes.txt").write_text("not of the model")
    with FakeHub({}, tmp_path / "home") as hub:
        out = str(tmp_path / "out")
        lines = talk(PUSH, hub, out, "owner/name", "name", "owner/name@x", cwd=tmp_path, HF_TOKEN=TOKEN)
        assert lines == [
            f"{hub.environment['HF_ENDPOINT']}/owner/name",
            "--push name: is no hub id; name it owner/name",
            "--push owner/name@x: is no hub id; name it owner/name",
        ]
        assert hub.created.get("visibility") == "private" or hub.created.get("private") is True
        assert f"Bearer {TOKEN}" in hub.tokens
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= hub.pushed.keys()
        assert "notes.txt" not in hub.pushed
        assert json.loads(hub.pushed["config.json"])["model_type"] == "qwen2"
        said = talk(PUSH, hub, out, "owner/name", cwd=tmp_path)
        assert said == ["--push owner/name: there is no token; set HF_TOKEN to one that may write"]
        said = talk(PUSH, hub, out, "owner/name", cwd=tmp_path, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1")
        assert said == ["--push owner/name: HF_HUB_OFFLINE is set; unset it to push"]
    refused = talk(PUSH, hub, out, "owner/name", cwd=tmp_path, HF_TOKEN=TOKEN)
    assert len(refused) == 1
    assert refused[0].startswith(f"--push owner/name: the hub refuses it, {out} is complete (")
