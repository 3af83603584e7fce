"""The two models that comparisons run on, as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

from benchmarks.environment import cache_folder

__all__ = ["model_folder"]


def model_folder(name: str) -> Path:
    """Return the folder of "embedded", which ships with the package, or "5m", made once from a fixed seed."""
    if name == "embedded":
        from dast_jax.assets import ASSETS

        return ASSETS / "base_model"
    folder = cache_folder() / "model-5m"
    if not (folder / "config.json").exists():
        _save_5m(folder)
    return folder


def _save_5m(folder: Path) -> None:
    """Write a Llama of 5 million random weights and 4,096 tokens, of which 64 end a response.

    Its unembedding is scaled so that logits have a standard deviation of about 2.5, as a trained model's:
    with fresh weights all tokens would be about equally probable, and top-p would keep nearly all.
    """
    import jax
    from flax import nnx

    from dast_jax.models.hf import save_model
    from dast_jax.models.llama import Llama, LlamaConfig

    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=704,
        num_layers=4,
        num_heads=8,
        num_kv_heads=4,
        head_dim=32,
        eos_token_ids=tuple(range(1, 4096, 64)),
        pad_token_id=0,
    )
    _, params = nnx.split(Llama(config, rngs=nnx.Rngs(0)))
    flat = dict(nnx.to_flat_state(params))
    head = flat["lm_head",]
    value = head.get_value()
    flat["lm_head",] = head.replace(value * (2.5 / (value.std() * config.hidden_size**0.5)))
    save_model(folder, config, jax.device_get(nnx.from_flat_state(flat)))
