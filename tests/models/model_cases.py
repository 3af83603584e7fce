"""Shared by the tests of this package: cases as models, folders on disk, a small byte-level tokenizer."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import nnx
from reference.llama_cases import hf_config, inputs, weights
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from dast_jax.models.hf import build_params, config_from_dict
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.models.load import abstract_model
from dast_jax.models.tokenizer import Tokenizer

TEXT = [
    "Natalia sold 48 clips in April and half as many in May: 48/2 = 24, so 48+24 = 72.",
    "It's 12345 apples, isn't it?  Two  spaces\n\nnew line\tand a tab.",
    "def f(x):\n    return x + 1\n",
    "naïve café — 日本語 🎉",
]


@functools.cache
def case(name: str, **settings: Any) -> tuple[LlamaConfig, nnx.GraphDef, nnx.State]:
    """Returns config, graph and parameters of one of the reference cases."""
    config = config_from_dict(hf_config(name), name)
    graphdef, template = abstract_model(config, **settings)
    tensors = weights(name)
    return (
        config,
        graphdef,
        build_params(template, config, tensors.__getitem__),
    )


@functools.partial(jax.jit, static_argnums=0)
def forward(graphdef, params, tokens, positions, segments=None) -> jax.Array:
    """Returns the logits [B, T, V] of whole rows."""
    model: Llama = nnx.merge(graphdef, params)
    return model.logits(model(tokens, positions, segments))


@functools.cache
def our_logits(name: str) -> np.ndarray:
    _, graphdef, params = case(name)
    return np.asarray(forward(graphdef, params, *inputs(name)))


def write_folder(
    directory: Path, config: dict[str, Any], tensors: dict[str, np.ndarray], *, tokenizer: bool = True
) -> Path:
    """Writes a Hugging Face folder by hand, with none of our writing code."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    if tokenizer:
        byte_tokenizer().save_pretrained(directory)
    return directory


@functools.cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE of 90 tokens (few bytes) that puts nothing in front of a text."""
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>", "<pad>")]
    backend.train_from_iterator(TEXT[:3], trainers.BpeTrainer(vocab_size=90, special_tokens=special))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer())


def state_equal(one: nnx.State, other: nnx.State) -> bool:
    """Whether two parameter states have the same names, dtypes and bits."""
    a, b = (dict(nnx.to_flat_state(state)) for state in (one, other))
    return a.keys() == b.keys() and all(
        a[k].get_value().dtype == b[k].get_value().dtype
        and np.array_equal(np.asarray(a[k].get_value()), np.asarray(b[k].get_value()))
        for k in a
    )
