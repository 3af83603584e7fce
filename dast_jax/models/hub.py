"""Models on the Hugging Face hub: `owner/name[@revision]` as a folder of the hub's cache, and pushing one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dast_jax.assets import resolve_path
from dast_jax.errors import UserError
from dast_jax.models.model_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    INDEX,
    SMALL_FILES,
    WEIGHTS,
    indexed_files,
)

__all__ = ["check_push", "hub_name", "hub_revision", "push_folder", "resolve_adapter", "resolve_model"]

_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*?)(@(?P<revision>[^@\s]+))?")

_LEFT_IN_PLACE = (".gguf", ".safetensors", ".json", ".bin")
"""Ends of names that are of files, which no hub model is called."""


def resolve_model(text: str | Path) -> Path:
    """Return the folder or .gguf file that `model.path` names, fetching a hub model that is not there yet.

    A path that exists comes first, then `asset:NAME`, then the hub: only the files that are read are fetched,
    the weights as safetensors, into the hub's own cache; with `HF_HUB_OFFLINE=1` nothing is. A path that is
    none of these is returned as it is. Raises `UserError` for a hub model that cannot be fetched.
    """
    path = resolve_path(text)
    hub = _HUB_ID.fullmatch(str(text))
    if path.exists() or hub is None or str(text).endswith(_LEFT_IN_PLACE):
        return path
    return _fetched(str(text), hub["name"], hub["revision"])


def hub_name(text: str) -> tuple[str | None, str | None]:
    """Return the owner/name and the revision of a hub id, None twice for what is a local path."""
    hub = _HUB_ID.fullmatch(text)
    if hub is None or resolve_path(text).exists() or text.endswith(_LEFT_IN_PLACE):
        return None, None
    return hub["name"], hub["revision"]


def hub_revision(folder: Path) -> str | None:
    """Return the commit of a folder of the hub's cache, None for any other folder or file."""
    above = folder.parent
    cached = above.name == "snapshots" and above.parent.name.startswith("models--")
    return folder.name if cached else None


def resolve_adapter(text: str | Path) -> Path:
    """Return the folder that `model.adapter` names, as `resolve_model` does; raises as it does."""
    path = resolve_path(text)
    hub = _HUB_ID.fullmatch(str(text))
    if path.exists() or hub is None:
        return path
    files = [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    return _snapshot(str(text), hub["name"], hub["revision"], files, key="model.adapter")


def _fetched(text: str, name: str, revision: str | None) -> Path:
    """Return the snapshot of a hub model with all that is read; weights of several files by their index."""
    folder = _snapshot(text, name, revision, [*SMALL_FILES, WEIGHTS, INDEX])
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        # by the snapshot's commit: the branch may have moved since
        _snapshot(text, name, folder.name, indexed_files(folder / INDEX))
    return folder


def _snapshot(
    text: str, name: str, revision: str | None, files: Sequence[str], key: str = "model.path"
) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the hub client raises its own, HTTP, file and value errors
        raise UserError(
            f"{key}: {text} is no local folder or file, and the hub model cannot be fetched "
            f"({_one_line(error)})"
        ) from None


# --- pushing --------------------------------------------------------------------------------------


def check_push(name: str) -> None:
    """Raise `UserError` where `name` cannot be pushed to: no hub id, no token, or offline."""
    from huggingface_hub import constants, get_token

    hub = _HUB_ID.fullmatch(name)
    if hub is None or hub["revision"]:
        raise UserError(f"--push {name}: is no hub id; name it owner/name")
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"--push {name}: HF_HUB_OFFLINE is set; unset it to push")
    if not get_token():
        raise UserError(f"--push {name}: there is no token; set HF_TOKEN to one that may write")


def push_folder(folder: Path, name: str) -> str:
    """Upload a model folder to the hub model `name`, made private where it is new; return its address.

    The token is that of the hub client (`HF_TOKEN`), and is in no message. Raises `UserError` where it fails.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=os.fspath(folder),
            allow_patterns=[
                *SMALL_FILES,
                "model*.safetensors",
                INDEX,
                ADAPTER_CONFIG,
                ADAPTER_WEIGHTS,
                "README.md",
            ],
            commit_message="Upload a model trained with dast_jax",
        )
    except Exception as error:  # the hub client raises its own, HTTP and file errors
        raise UserError(
            f"--push {name}: the hub refuses it, {folder} is complete ({_one_line(error)})"
        ) from None
    return f"{api.endpoint}/{name}"


def _one_line(error: BaseException) -> str:
    """Return the first 200 characters of an error without whatever the token of the environment is."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in (os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")):
        text = text.replace(secret, "…") if secret else text
    return text[:200]
