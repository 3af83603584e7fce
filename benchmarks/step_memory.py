"""Temporary memory of a training step, as compiled: `python -m benchmarks.step_memory`.

Compiles, without running them, the SFT and the DPO step of two layers of Llama-3's width (hidden 4,096, 32
query and 8 key heads, MLP 14,336, vocabulary 128,256, float32) on 8 rows of 1,024 tokens with remat, and the
same steps with all logits at once and attention over length × length. Prints the compiler's temporary bytes
of each, and ends in one JSON line with the ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dast_jax.models import llama
from dast_jax.models.blockwise import Rows, visible
from dast_jax.models.llama import Llama, LlamaConfig
from dast_jax.training import preference
from dast_jax.training.losses import SFTMetrics, TokenScores
from dast_jax.training.options import TrainingOptions
from dast_jax.training.preference import preference_objective
from dast_jax.training.step import SFTObjective, batch_shapes, init_optimizer, make_train_step


@dataclass(frozen=True, kw_only=True)
class DenseSFT:
    """SFT's objective with all logits at once."""

    head_chunk: int = 0

    def loss(self, model: Llama, micro: Any, unembed: Any) -> tuple[jax.Array, SFTMetrics]:
        """Return the summed loss, and the sums."""
        hidden = model(micro["tokens"], micro["positions"], micro["segment_ids"])
        weights = micro["weights"]
        scores = dense_logprobs(hidden, unembed, micro["targets"], 0, weights)
        nll = -jnp.sum(weights * scores.logprob)
        return nll, SFTMetrics(nll=nll, tokens=jnp.sum(weights), correct=jnp.sum(weights * scores.top))

    count = SFTObjective.count
    metrics = SFTObjective.metrics


def dense_logprobs(hidden: Any, unembed: Any, targets: Any, chunk: int, weights: Any = None) -> TokenScores:
    """Return `losses.token_logprobs` from logits [B, T, V]."""
    logits = jnp.einsum("btd,dv->btv", hidden, unembed, preferred_element_type=jnp.float32)
    logprobs = jax.nn.log_softmax(logits)
    at_target = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
    return TokenScores(at_target, jnp.argmax(logits, axis=-1) == targets)


def dense_attention(
    q: Any,
    k: Any,
    v: Any,
    segment_ids: Any = None,
    *,
    parents: Any = None,
    positions: Any = None,
    window: int | None = None,
) -> Any:
    """Return `attention.attention` from scores [B, N, T, T]."""
    batch, length, _, width = q.shape
    rows = Rows(segment_ids, parents, positions if window is not None else None)
    grouped = q.reshape(batch, length, k.shape[2], -1, width)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32) * width**-0.5
    at = jnp.arange(length)
    scores = jnp.where(visible(rows, rows, at, at, window)[:, None, None], scores, -1e30)
    return jnp.einsum("bkgts,bskh->btkgh", jax.nn.softmax(scores), v).reshape(q.shape)


def temporary_bytes(config: LlamaConfig, batch: Any, options: TrainingOptions, objective: Any) -> int:
    """Return the temporary bytes of the compiled step."""
    model = nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0), remat="full"))
    graphdef, params = nnx.split(model)
    state = jax.eval_shape(lambda p: init_optimizer(options, p), params)
    step: Any = make_train_step(graphdef, options, None, objective)
    compiled = step.lower(params, state, batch, jax.ShapeDtypeStruct((), np.float32)).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)


def gradient_bytes(config: LlamaConfig) -> int:
    """Return the bytes of all gradients in float32, which exist at once: their norm is that of all."""
    _, params = nnx.split(nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0))))
    return sum(4 * leaf.size for leaf in jax.tree.leaves(params))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=8, help="packed rows (8)")
    parser.add_argument("--length", type=int, default=1024, help="tokens per row (1024)")
    parser.add_argument("--vocabulary", type=int, default=128_256, help="tokens in the vocabulary (128256)")
    parser.add_argument("--hidden", type=int, default=4096, help="width: 4096 (8B, the default) or 2048 (1B)")
    arguments = parser.parse_args()
    large = arguments.hidden == 4096
    config = LlamaConfig(
        vocab_size=arguments.vocabulary, hidden_size=arguments.hidden, num_layers=2, num_heads=32,
        num_kv_heads=8, head_dim=arguments.hidden // 32,
        intermediate_size=14336 if large else 4 * arguments.hidden, tie_word_embeddings=not large,
    )  # fmt: skip
    options = TrainingOptions(
        batch_size=arguments.rows, sequence_length=arguments.length, preference_loss="sigmoid"
    )
    ratios, floors, least = {}, {}, gradient_bytes(config)
    for name, pairs in (("sft", False), ("dpo", True)):
        batch = batch_shapes(options, None, pairs=pairs)
        objective = preference_objective(options) if pairs else SFTObjective(head_chunk=options.head_chunk)
        ours = temporary_bytes(config, batch, options, objective)
        make_train_step_cache_clear()
        with (
            mock.patch.object(llama, "attention", dense_attention),
            mock.patch.object(preference, "token_logprobs", dense_logprobs),
        ):
            dense = temporary_bytes(config, batch, options, objective if pairs else DenseSFT())
        make_train_step_cache_clear()
        ratios[name], floors[name] = round(ours / dense, 3), round(least / dense, 3)
        print(
            f"{name}: {ours / 1e9:.2f} GB of temporaries, of which the gradients are {least / 1e9:.2f} GB; "
            f"with all logits and scores {dense / 1e9:.2f} GB"
        )
    result = {
        "benchmark": "step_memory",
        "ratio": ratios,
        "ratio_of_the_gradients_alone": floors,
        "unit": "temporary bytes, ours over all logits and dense attention (lower is better)",
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))


def make_train_step_cache_clear() -> None:
    """Forget compiled steps: the next one is traced with what is patched now."""
    from dast_jax.training import step

    step._make_train_step.cache_clear()
    jax.clear_caches()


if __name__ == "__main__":
    main()
