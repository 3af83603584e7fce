"""Clusters of texts: vectors from an encoder, then scikit-learn's K-Means. Imports no jax.

The encoder is the policy itself (`models.embed.mean_pooled`, handed in as a function), or a
sentence-transformers model, which is an extra: `pip install dast_jax[embed]`. Such a model is data: its
folder may name classes and functions to import, and hold pickles, and neither is taken.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from dast_jax.assets.paths import file_within
from dast_jax.errors import UserError
from dast_jax.runtime import interruption
from dast_jax.runtime.progress import OnProgress, progress_of, silent

__all__ = ["ENCODERS", "Encoder", "embed", "kmeans", "make_encoder"]

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts in, float32 [n, d] out."""

ENCODERS = ("policy", "sentence_transformers")
"""The encoders that options may name."""

_BLOCK = 1024
"""Texts embedded between two progress events."""

_MANY = 20_000
"""[ours] From this number of vectors on, K-Means works in mini-batches."""


def make_encoder(name: str, *, policy: Encoder, model: str = "all-MiniLM-L6-v2") -> Encoder:
    """Return the encoder `name`, one of `ENCODERS`: the `policy`'s own, or the sentence-transformers `model`.

    Nothing is loaded before the encoder is used. Raises `UserError` for an unknown name; the
    encoder raises one where its package or model is not available.
    """
    if name == "policy":
        return policy
    if name != "sentence_transformers":
        raise UserError(f"encoder {name!r}: unknown; known are {', '.join(ENCODERS)}")
    return lambda texts: _sentence_vectors(texts, model)


def _sentence_vectors(texts: Sequence[str], model: str) -> np.ndarray:
    vectors = _sentence_model(model).encode(list(texts), show_progress_bar=False)
    return np.asarray(vectors, np.float32)


@functools.lru_cache(maxsize=1)
def _sentence_model(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            "encoder sentence_transformers: the package is not installed; "
            "run `pip install dast_jax[embed]`, or use policy"
        ) from error
    try:
        folder = _sentence_folder(model)
        _refuse_code(folder)
        return SentenceTransformer(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except UserError:
        raise
    except Exception as error:  # the hub client and torch raise their own, HTTP, file and value errors
        text = " ".join(str(error).split())[:160]
        raise UserError(f"encoder sentence_transformers: {model} cannot be loaded ({text})") from error


def _sentence_folder(model: str) -> Path:
    """Return the folder of `model`, fetched from the hub where it is none: its texts and safetensors only."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    name = model if "/" in model else f"sentence-transformers/{model}"
    return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"]))


def _refuse_code(folder: Path) -> None:
    """Raise `UserError` where a JSON file of `folder` names code outside sentence-transformers and torch.nn.

    sentence-transformers before version 6 imports what a folder's `modules.json` names without asking.
    """
    for file in sorted(folder.rglob("*.json")):
        try:
            said = json.loads(file_within(folder, str(file.relative_to(folder))).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue  # whoever needs the file says that it is broken
        if code := next(_foreign_code(said), None):
            raise UserError(
                f"encoder sentence_transformers: {file} names the code {code!r}, and code of a model is not "
                "run; use another model"
            )
    for file in sorted([*folder.rglob("pytorch_model*.bin"), *folder.rglob("adapter_model*.bin")]):
        if not any(file.parent.glob("*.safetensors")):
            raise UserError(
                f"encoder sentence_transformers: {file} is a pickle, and only safetensors are read; "
                "use another model, or save it with safe serialization"
            )


def _foreign_code(said: Any) -> Iterator[str]:
    """Yield what a file of a model's folder names and sentence-transformers or transformers would import."""
    if isinstance(said, list):
        for item in said:
            yield from _foreign_code(item)
    if not isinstance(said, dict):
        return
    modules = [said["type"]] if {"type", "path"} <= said.keys() else []  # of modules.json
    if isinstance(said.get("types"), dict):  # of a router's config
        modules += said["types"].values()
    yield from (str(name) for name in modules if not str(name).startswith("sentence_transformers."))
    activation = str(said.get("activation_function"))
    if "." in activation and not activation.startswith("torch.nn."):
        yield activation
    yield from (str(said[key]) for key in ("auto_map", "trust_remote_code") if said.get(key))
    for value in said.values():
        yield from _foreign_code(value)


def embed(
    texts: Sequence[str], encoder: Encoder, *, on_progress: OnProgress = silent
) -> Float[np.ndarray, "n d"]:
    """Return the encoder's vectors of `texts`, float32."""
    with progress_of(on_progress, "clusters: embedding", total=len(texts)) as update:
        blocks = []
        for start in range(0, len(texts), _BLOCK):
            blocks.append(encoder(texts[start : start + _BLOCK]))
            update(min(start + _BLOCK, len(texts)))
            interruption.check()
    return np.concatenate(blocks)


def kmeans(
    vectors: Float[np.ndarray, "n d"], clusters: int, *, seed: int, unit: bool = True
) -> Int32[np.ndarray, " n"]:
    """Return the K-Means cluster of each vector, in [0, clusters), by 4 seeded starts.

    `unit` scales the vectors to length one first, so that their angles are compared. The same vectors and
    seed give the same clusters. Raises `UserError` for fewer vectors than clusters, or for vectors that
    are not finite.
    """
    n = len(vectors)
    if clusters < 1 or clusters > n:
        raise UserError(f"clusters: {clusters} cannot be made of {n:,} queries; use 1 to {n:,}")
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        raise UserError("clusters: the encoder's vectors are not finite; use another encoder")
    if unit:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if n < _MANY else MiniBatchKMeans
    found = kind(n_clusters=clusters, n_init=4, random_state=seed).fit_predict(vectors)
    return np.asarray(found, np.int32)
