"""A model's folder runs no code, names no file outside itself, and is never read as a pickle."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dast_jax import evaluate, sample
from dast_jax.assets import resolve_path
from dast_jax.errors import UserError
from dast_jax.estimators.clustering import make_encoder
from dast_jax.models.hf import open_folder
from dast_jax.models.load import load_description, load_model
from dast_jax.models.tokenizer import load_tokenizer
from tests.security.canary import Canary, refused

INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model."""
    return Path(shutil.copytree(resolve_path("asset:base_model"), tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def evaluated(model: Path) -> int:
    return evaluate.main(["--model", str(model), "--data", "asset:problems/test_ood.jsonl", "data.limit=1"])


# --- tokenizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_tokenizer_that_is_code(
    whole: bool, file: str, model: Path, canary: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "tokenization_mine.py").write_text(canary.code)
    edit(model / file, auto_map={"AutoTokenizer": ["tokenization_mine.Tokenizer", None]})
    if not whole:
        (model / "tokenizer.json").unlink()
    refused(capsys, evaluated(model), f"{model / file} says that the tokenizer is code (auto_map)")
    canary.assert_silent()


def test_the_old_form_of_auto_map(model: Path, canary: Canary) -> None:
    (model / "tokenization_mine.py").write_text(canary.code)
    edit(model / "tokenizer_config.json", auto_map=["tokenization_mine.Tokenizer", None])
    with pytest.raises(UserError, match="auto_map"):
        load_tokenizer(model)
    canary.assert_silent()


@pytest.mark.parametrize("answer", ["y\n", ""])
def test_nothing_prompts_whether_to_run_code(answer: str, model: Path, canary: Canary) -> None:
    """The class of the config is code that only transformers finds, for a tokenizer without a name."""
    (model / "configuration_mine.py").write_text(canary.code)
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    edit(model / "config.json", auto_map={"AutoConfig": "configuration_mine.Module"}, model_type="mine")
    code = f"from dast_jax.models.tokenizer import load_tokenizer; load_tokenizer({str(model)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], input=answer, capture_output=True, text=True, timeout=120, check=False
    )
    assert "UserError" in done.stderr
    assert "has no tokenizer that can be read" in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    canary.assert_silent()


def test_code_of_the_model_itself_is_ignored(model: Path, canary: Canary) -> None:
    (model / "modeling_mine.py").write_text(canary.code)
    edit(model / "config.json", auto_map={"AutoModelForCausalLM": "modeling_mine.Module"})
    load_model(model)
    canary.assert_silent()


def test_tokenizer_config_names_no_other_file(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("not a tokenizer")
    edit(model / "tokenizer_config.json", tokenizer_file=str(other))
    assert load_tokenizer(model).encode("1+1") == load_tokenizer(resolve_path("asset:base_model")).encode(
        "1+1"
    )


# --- chat templates -------------------------------------------------------------------------------

REACHING = [
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ ('{0.__class__.__init__.__globals__}' | attr('format'))(cycler) }}",
    "{{ namespace.__init__.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "{{ strftime_now.__globals__['datetime'] }}",
    "{{ self.__init__.__globals__ }}{{ lipsum.__globals__['os'].popen('touch CANARY') }}",
    "{% include '/etc/hostname' %}",
]


@pytest.mark.parametrize("template", REACHING)
def test_a_template_that_reaches_for_globals(
    template: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    edit(model / "tokenizer_config.json", chat_template=template.replace("CANARY", str(canary)))
    code = evaluated(model)
    refused(capsys, code, f"{model}: the chat template cannot be used (")
    assert not canary.exists()


def test_a_template_in_a_separate_file_and_sampling(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "chat_template.jinja").write_text(REACHING[0].replace("CANARY", str(tmp_path / "canary")))
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    code = sample.main(["--model", str(model), "--data", str(prompts), "--out", str(out)])
    refused(capsys, code, "the chat template cannot be used (")
    assert not (tmp_path / "canary").exists()


# --- weights --------------------------------------------------------------------------------------


def sharded(model: Path, file: str) -> Path:
    """The folder with an index that names `file` for every tensor; what was its weights is elsewhere."""
    names = open_folder(model)._files
    shutil.move(model / "model.safetensors", model.parent / "elsewhere.safetensors")
    (model / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, file)}))
    return model


@pytest.mark.parametrize(
    "file",
    ["../elsewhere.safetensors", "ELSEWHERE", "a/../../elsewhere.safetensors", "..\\elsewhere.safetensors"],
)
def test_an_index_names_files_of_its_folder(
    file: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file.replace("ELSEWHERE", str(model.parent / "elsewhere.safetensors"))
    code = evaluated(sharded(model, file))
    refused(capsys, code, f"{model / INDEX} names {file!r}, which is not a file inside the folder")


@pytest.mark.parametrize("file", ["C:\\x.safetensors", "\0.safetensors", "", "pytorch_model.bin", "."])
def test_names_that_are_no_weights(file: str, model: Path) -> None:
    with pytest.raises(UserError, match="names") as error:
        open_folder(sharded(model, file))
    assert repr(file) in str(error.value)


@pytest.mark.parametrize("content", [[], {}, {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_an_index_of_another_form(content: Any, model: Path) -> None:
    sharded(model, "x.safetensors")
    (model / INDEX).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"has no weight_map|is not a JSON object"):
        open_folder(model)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_description_that_is_no_object(name: str, model: Path) -> None:
    (model / name).write_text("[1]")
    with pytest.raises(UserError, match=f"{name} is not a JSON object"):
        open_folder(model).generation_eos_ids()


@pytest.mark.parametrize("file", ["shard.safetensors", "sub/shard.safetensors"])
def test_an_index_with_a_link_out_of_the_folder(
    file: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharded(model, file)
    (model / file).parent.mkdir(exist_ok=True)
    (model / file).symlink_to(model.parent / "elsewhere.safetensors")
    refused(capsys, evaluated(model), f"{model / file} is a link out of the folder")


def test_a_folder_that_is_a_link_out(model: Path) -> None:
    sharded(model, "sub/elsewhere.safetensors")
    (model / "sub").symlink_to(model.parent)
    with pytest.raises(UserError, match="is a link out of the folder"):
        open_folder(model)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json"]
)
def test_other_files_that_are_links_out(file: str, model: Path) -> None:
    shutil.move(model / file, model.parent / file)
    (model / file).symlink_to(model.parent / file)
    with pytest.raises(UserError, match=f"{file} is a link out of the folder") as error:
        load_description(model)
    assert "\n" not in str(error.value)


def test_links_within_the_folder_and_to_the_folder(model: Path, tmp_path: Path) -> None:
    sharded(model, "shard.safetensors")
    shutil.move(model.parent / "elsewhere.safetensors", model / "whole.safetensors")
    (model / "shard.safetensors").symlink_to("whole.safetensors")
    (tmp_path / "link").symlink_to(model)
    load_model(tmp_path / "link")


def test_a_snapshot_of_the_hub_cache(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot, blobs = repository / "snapshots" / "0123", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copy(file, blobs / f"{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    load_model(snapshot)
    (tmp_path / "models--owner--other" / "blobs").mkdir(parents=True)
    shutil.copy(model / "model.safetensors", tmp_path / "models--owner--other" / "blobs" / "0")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../../models--owner--other/blobs/0")
    with pytest.raises(UserError, match="is a link out of the folder"):
        load_model(snapshot)


class _Sings:
    def __init__(self, canary: Canary):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.canary.code,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_weights_that_are_a_pickle_are_refused(
    name: str, model: Path, canary: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(_Sings(canary)))
    refused(capsys, evaluated(model), str(model), "model.safetensors")
    canary.assert_silent()


# --- encoders -------------------------------------------------------------------------------------


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder that sentence-transformers takes."""
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers (extra `parity`)")
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    plain, folder = tmp_path / "plain", tmp_path / "encoder"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(plain)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(plain)
    SentenceTransformer(str(plain)).save(str(folder))
    return folder


def encode(folder: Path) -> Any:
    return make_encoder("sentence_transformers", policy=lambda texts: None, model=str(folder))(["a b"])  # type: ignore[arg-type,return-value]


def test_an_encoder_without_code(encoder: Path) -> None:
    assert encode(encoder).shape == (1, 16)


@pytest.mark.parametrize("kind", ["module", "installed", "auto_map", "router", "dense"])
def test_an_encoder_that_names_code(kind: str, encoder: Path, canary: Canary) -> None:
    (encoder / "mine.py").write_text(canary.code)
    modules = json.loads((encoder / "modules.json").read_text())
    if kind == "auto_map":
        edit(encoder / "config.json", auto_map={"AutoModel": "mine.Module"}, model_type="mine")
    elif kind == "router":
        (encoder / "router_config.json").write_text('{"types": {"a": "canary_of_tests.Module"}}')
    elif kind == "dense":
        (encoder / "2_Dense").mkdir()
        dense = {"in_features": 16, "out_features": 4, "activation_function": "canary_of_tests.sing"}
        (encoder / "2_Dense" / "config.json").write_text(json.dumps(dense))
        modules.append(
            {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
        )
    else:
        modules[0]["type"] = "mine.Module" if kind == "module" else "canary_of_tests.Module"
    (encoder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=r"names the code .*, and a model's code is not run"):
        encode(encoder)
    canary.assert_silent()


def test_an_encoder_that_is_a_pickle(encoder: Path, canary: Canary) -> None:
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").write_bytes(pickle.dumps(_Sings(canary)))
    with pytest.raises(UserError, match=r"pytorch_model.bin is a pickle, and only safetensors are read"):
        encode(encoder)
    canary.assert_silent()
