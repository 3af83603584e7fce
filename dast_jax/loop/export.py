"""A run's trained policy as a Hugging Face folder that transformers and vLLM load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dast_jax.config import build_config
from dast_jax.errors import UserError
from dast_jax.loop.chosen_round import check_wanted, choose_round
from dast_jax.options import opt

__all__ = ["ExportOptions", "export_run"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which policy of the run is written, and in what precision."""

    round: int | str = opt(
        "last",
        "the round whose policy is exported: its number, the last one trained, or the best by the mean "
        "accuracy over the evaluation sets",
    )
    dtype: str = opt(
        "kept",
        "precision of the written weights; kept: that of the run's parameters (model.dtype)",
        choices=("kept", "float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        check_wanted(self.round, "last", "best")


def export_run(run: Path, out: Path, options: ExportOptions | None = None) -> int:
    """Write the policy of `run` into the folder `out`; returns the round that it came from.

    Works while the run is under way, and needs the base model's folder only for config and tokenizer.
    Raises `UserError` when `run` is no run directory or has not trained that round, or `out` holds something
    else.
    """
    import jax

    from dast_jax.loop.card import card_sections
    from dast_jax.models.hf import save_model
    from dast_jax.models.hub import resolve_model
    from dast_jax.models.load import abstract_model, load_description
    from dast_jax.models.model_card import model_card
    from dast_jax.store.run_store import RunStore
    from dast_jax.training.checkpoint import load_policy

    options = options or ExportOptions()
    store = RunStore.read(run)
    round = choose_round(store, options.round)
    store.check(f"{round:02d}/train")
    _check_free(out)
    run_config = build_config(store.config)
    model = run_config.model
    config, tokenizer = load_description(resolve_model(model.path), chat_template=model.chat_template)
    _, template = abstract_model(config, dtype=model.dtype)
    host = jax.sharding.SingleDeviceSharding(_host())
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), template)
    params: Any = load_policy(store.path / "checkpoints" / f"round_{round:02d}", like)
    if options.dtype != "kept":
        params = jax.tree.map(lambda x: x.astype(options.dtype), params)
    card = model_card(
        model.path,
        config,
        method=run_config.method_name,
        round=round,
        sections=card_sections(store, run_config, round, selected=options.round == "best"),
    )
    save_model(out, config, params, tokenizer, card)
    return round


def _check_free(out: Path) -> None:
    """Refuse to overwrite anything but an earlier export."""
    if out.is_dir() and any(out.iterdir()) and not (out / "config.json").is_file():
        raise UserError(f"{out}: holds something that is not a model; name a new folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder")


def _host() -> Any:
    """Return the CPU device, as an accelerator may be too small for the weights; else the first device."""
    import jax

    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return jax.local_devices()[0]
