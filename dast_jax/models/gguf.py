""".gguf files (llama.cpp's format) of some of the families: config, dequantized tensors, tokenizer.

Tensors are read under their Hugging Face names and in their Hugging Face layout, so that
`hf.build_params` takes them. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dast_jax.errors import UserError
from dast_jax.models.checks import check_config
from dast_jax.models.families import FAMILIES
from dast_jax.models.gguf_tokenizer import build_tokenizer
from dast_jax.models.llama_config import LlamaConfig, RopeScaling
from dast_jax.models.rope import rope_frequencies
from dast_jax.models.tokenizer import Tokenizer

__all__ = ["GGUFFile", "open_gguf"]

_TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

_ROPE_FREQS = "rope_freqs.weight"

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""llama.cpp's names: those of the families, except that a Mistral is a `llama` too."""

_YARN_EXTRAS = (
    "attn_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_ext_factor",
    "yarn_log_multiplier",
)
"""Keys below `rope.scaling` that change what YaRN computes, and are in the files of no family here."""


class GGUFFile:
    """An open .gguf file, with the interface of `hf.Folder`: `config`, `read(name)`, `tokenizer()`.

    Raises `UserError` where the file is missing, damaged or of an unsupported architecture.
    """

    def __init__(self, path: str | os.PathLike[str]):
        import gguf

        from dast_jax.models.gguf_reader import BoundedReader

        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(
                f"model file {self.path} does not exist; give a Hugging Face folder, a .gguf file or a hub id"
            )
        try:
            reader = BoundedReader(self.path)
        except Exception as error:  # a damaged file fails in many ways
            raise UserError(
                f"{self.path} cannot be read as GGUF ({_one_line(error)}); download it again"
            ) from None
        self._dequantize = gguf.dequantize
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.config = self._read_config()
        check_config(self.config, str(self.path))

    def read(self, name: str) -> np.ndarray:
        """Return the tensor of a Hugging Face name as float32, in the Hugging Face layout."""
        theirs = _gguf_name(name)
        tensor = self._raw(theirs)
        if self._architecture != "llama":
            return tensor  # whose rows are in Hugging Face's order
        if theirs.endswith(("attn_q.weight", "attn_q.bias")):
            return _unpermute(tensor, self.config.num_heads)
        if theirs.endswith(("attn_k.weight", "attn_k.bias")):
            return _unpermute(tensor, self.config.num_kv_heads)
        return tensor

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the stored weights by Hugging Face name; of an unknown one, by its own."""
        return {
            _hf_name(name): tuple(int(size) for size in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
            if name != _ROPE_FREQS
        }

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer that the metadata describes; raise `UserError` for an unknown kind."""
        prefix = "tokenizer.ggml."
        metadata = {
            key.removeprefix(prefix): self._get(key) for key in self._fields if key.startswith(prefix)
        }
        template = self._get("tokenizer.chat_template")
        try:
            inner = build_tokenizer(metadata, chat_template=template, where=str(self.path))
        except UserError:
            raise
        except Exception as error:  # the lists may be of any length and type; `tokenizers` raises its own
            raise UserError(
                f"{self.path}: its tokenizer cannot be built ({_one_line(error)}); download it again"
            ) from None
        return Tokenizer(inner, eos_ids=self.config.eos_token_ids, where=str(self.path))

    def _get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        try:
            return default if field is None else field.contents()
        except (ValueError, IndexError) as error:  # text that is not UTF-8
            raise UserError(
                f"{self.path}: {key} cannot be read ({_one_line(error)}); download it again"
            ) from None

    def _raw(self, name: str) -> np.ndarray:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise UserError(f"the weights lack the tensor {name}; the file is not a complete model")
        try:
            values: np.ndarray = self._dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            kind = tensor.tensor_type.name
            raise UserError(f"tensor {name} is quantized as {kind}, which cannot be read; use Q8_0") from None
        return values.astype(np.float32, copy=False)

    def _of(self, key: str, default: Any = None) -> Any:
        """Return the value of a key of the file's architecture."""
        return self._get(f"{self._architecture}.{key}", default)

    def _read_config(self) -> LlamaConfig:
        architecture = self._get("general.architecture")
        if architecture not in _ARCHITECTURES:
            raise UserError(
                f"{self.path}: the architecture is {architecture!r}, which is not supported as GGUF "
                f"({', '.join(_ARCHITECTURES)} are); use another model, or its Hugging Face folder"
            )
        self._architecture: str = architecture
        needed = ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
        missing = [f"{architecture}.{key}" for key in needed if f"{architecture}.{key}" not in self._fields]
        if missing or "token_embd.weight" not in self._tensors:
            raise UserError(
                f"{self.path} lacks {', '.join(missing) or 'token_embd.weight'}; download it again"
            )
        if self._of("expert_count", 0):
            raise UserError(f"{self.path} is a mixture of experts, which cannot be read; use a plain model")
        family = FAMILIES[architecture]
        hidden, heads = self._of("embedding_length"), self._of("attention.head_count")
        ends = (self._get(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom"))
        bias = "blk.0.attn_q.bias" in self._tensors
        config = LlamaConfig(
            family=family.model_type,
            vocab_size=int(self._tensors["token_embd.weight"].shape[1]),
            hidden_size=hidden,
            intermediate_size=self._of("feed_forward_length"),
            num_layers=self._of("block_count"),
            num_heads=heads,
            num_kv_heads=self._of("attention.head_count_kv", heads),
            head_dim=self._of("attention.key_length", hidden // heads),
            rope_theta=_decimal(self._of("rope.freq_base", 10000.0)),
            rms_norm_eps=_decimal(self._of("attention.layer_norm_rms_epsilon", 1e-5)),
            qk_norm=family.qk_norm,
            tie_word_embeddings="output.weight" not in self._tensors,
            attention_bias=bias if family.attention_bias is None else family.attention_bias,
            attention_output_bias=bias and family.attention_bias is None,
            mlp_bias=family.mlp_bias and "blk.0.ffn_up.bias" in self._tensors,
            max_position_embeddings=self._of("context_length", 2048),
            bos_token_id=self._get("tokenizer.ggml.bos_token_id"),
            eos_token_ids=tuple(dict.fromkeys(int(end) for end in ends if end is not None)),
            pad_token_id=self._get("tokenizer.ggml.padding_token_id"),
        )
        return self._with_rope_scaling(config)

    def _with_rope_scaling(self, config: LlamaConfig) -> LlamaConfig:
        """Return `config` with the file's rope scaling; Llama 3.1's follows from the divisors stored."""
        kind = self._of("rope.scaling.type", "none")
        if kind == "none":
            return self._with_divisors(config)
        if kind not in ("linear", "yarn"):
            raise UserError(
                f"{self.path}: rope scaling {kind!r} is not supported (linear, yarn and llama3 are)"
            )
        factor = _decimal(self._of("rope.scaling.factor", 1.0))
        if kind == "linear":
            return replace(config, rope_scaling=RopeScaling(rope_type="linear", factor=factor))
        unknown = [key for key in _YARN_EXTRAS if f"{self._architecture}.rope.scaling.{key}" in self._fields]
        if unknown:
            raise UserError(
                f"{self.path}: rope.scaling.{unknown[0]} is not supported; use the original folder"
            )
        context = int(self._of("rope.scaling.original_context_length", config.max_position_embeddings))
        scaling = RopeScaling(rope_type="yarn", factor=factor, original_max_position_embeddings=context)
        return replace(config, rope_scaling=scaling)

    def _with_divisors(self, config: LlamaConfig) -> LlamaConfig:
        """Return `config` with the Llama 3.1 scaling that the file's divisors of frequencies stand for."""
        if _ROPE_FREQS not in self._tensors:
            return config
        divisors = self._raw(_ROPE_FREQS).reshape(-1)
        scaled = replace(config, rope_scaling=RopeScaling(rope_type="llama3", factor=float(divisors.max())))
        if not np.allclose(rope_frequencies(config) / rope_frequencies(scaled), divisors, rtol=1e-4):
            raise UserError(
                f"{self.path}: {_ROPE_FREQS} follows no known rope scaling; use the original folder"
            )
        return scaled


def open_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Return the opened file; raise `UserError` if it is missing, damaged or not supported."""
    return GGUFFile(path)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _gguf_name(name: str) -> str:
    """Return the GGUF name of a tensor: `model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`."""
    stem, _, leaf = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{_TENSORS[rest]}.{leaf}"
    return f"{_TENSORS[stem]}.{leaf}"


def _hf_name(name: str) -> str:
    """Return the Hugging Face name of a tensor, the inverse of `_gguf_name`; an unknown name as it is."""
    stem, _, leaf = name.rpartition(".")
    theirs = {gguf: hf for hf, gguf in _TENSORS.items()}
    if stem.startswith("blk."):
        _, layer, rest = stem.split(".", 2)
        return f"model.layers.{layer}.{theirs[rest]}.{leaf}" if rest in theirs else name
    return f"{theirs[stem]}.{leaf}" if stem in theirs else name


def _unpermute(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Return q or k with its rows in Hugging Face's order.

    llama.cpp rotates the rows (2i, 2i + 1) as a pair, Hugging Face (i, i + head_dim / 2).
    """
    rows = tensor.shape[0]
    return tensor.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(tensor.shape)


def _decimal(value: float) -> float:
    """Return the shortest decimal that rounds to a stored float32: 9.9999997e-06 → 1e-05."""
    return float(str(np.float32(value)))
