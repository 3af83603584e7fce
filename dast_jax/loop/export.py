"""A run's trained policy as a Hugging Face folder that transformers and vLLM load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dast_jax.config import RunConfig, build_config
from dast_jax.errors import UserError
from dast_jax.loop.chosen_round import check_wanted, choose_round
from dast_jax.models.model_files import ADAPTER_CONFIG
from dast_jax.options import opt

if TYPE_CHECKING:
    from dast_jax.models.llama_config import LlamaConfig
    from dast_jax.models.lora import Lora
    from dast_jax.models.tokenizer import Tokenizer

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
    adapter: bool = opt(
        False,
        "of a run with training.lora: write the adapters alone, in PEFT's format, not merged into the model",
    )

    def __post_init__(self) -> None:
        check_wanted(self.round, "last", "best")


def export_run(run: Path, out: Path, options: ExportOptions | None = None) -> int:
    """Write the policy of `run` into the folder `out`; returns the round that it came from.

    Works while the run is under way, and needs the base model's folder only for config and tokenizer; of a
    run with adapters also for its weights, into which they are merged, unless `options.adapter`. Raises
    `UserError` when `run` is no run directory or has not trained that round, or `out` holds something else.
    """
    from dast_jax.loop.card import card_sections
    from dast_jax.models.hub import resolve_model
    from dast_jax.models.load import load_description
    from dast_jax.models.lora import lora_of
    from dast_jax.models.model_card import model_card
    from dast_jax.store.run_store import RunStore

    options = options or ExportOptions()
    store = RunStore.read(run)
    round = choose_round(store, options.round)
    store.check(f"{round:02d}/train")
    _check_free(out)
    run_config = build_config(store.config)
    model, lora = run_config.model, lora_of(run_config.training.lora)
    config, tokenizer = load_description(resolve_model(model.path), chat_template=model.chat_template)
    checkpoint = store.path / "checkpoints" / f"round_{round:02d}"
    adapter = options.adapter and lora is not None
    card = model_card(
        model.path,
        config,
        method=run_config.method_name,
        round=round,
        adapter=adapter,
        sections=card_sections(store, run_config, round, selected=options.round == "best"),
    )
    if options.adapter:
        if lora is None:
            raise UserError(f"adapter: {run} has no adapters, as it trained all weights; leave adapter out")
        _write_adapter(out, run_config, config, checkpoint, lora, options.dtype)
        tokenizer.save(out)
        (out / "README.md").write_text(card, encoding="utf-8")
        return round
    _write_model(out, run_config, checkpoint, lora, options.dtype, (config, tokenizer, card))
    return round


def _write_model(
    out: Path,
    run_config: RunConfig,
    checkpoint: Path,
    lora: Lora | None,
    dtype: str,
    described: tuple[LlamaConfig, Tokenizer, str],
) -> None:
    """Write the weights of a checkpoint, one parameter at a time; with adapters merged into the base model's.

    `described` are the model's config and tokenizer, and its card.
    """
    import jax

    from dast_jax.models.hf import save_model
    from dast_jax.models.hub import resolve_model
    from dast_jax.models.load import abstract_model, load_model
    from dast_jax.models.lora import join_adapters, merged
    from dast_jax.training.checkpoint import open_policy

    model, kept = run_config.model, None if dtype == "kept" else dtype
    config, tokenizer, card = described
    if lora is None:
        template = _on_host(abstract_model(config, dtype=model.dtype)[1])
        with open_policy(checkpoint, template) as read:
            save_model(out, config, template, tokenizer, card, dtype=kept, read=read)
        return
    adapters = _adapters(run_config, config, checkpoint, lora)
    with jax.default_device(_host()):
        base = load_model(resolve_model(model.path), dtype=model.dtype).params
        params = merged(join_adapters(adapters, base), lora)
    save_model(out, config, params, tokenizer, card, dtype=kept)


def _adapters(run_config: RunConfig, config: LlamaConfig, checkpoint: Path, lora: Lora) -> Any:
    """Return the adapters of a checkpoint on the host."""
    from dast_jax.models.digest import model_digest
    from dast_jax.models.hub import resolve_adapter, resolve_model
    from dast_jax.models.load import abstract_model
    from dast_jax.models.lora import split_adapters
    from dast_jax.training.checkpoint import load_policy

    model = run_config.model
    template, _ = split_adapters(abstract_model(config, dtype=model.dtype, lora=lora)[1])
    digest = model_digest(
        resolve_model(model.path), resolve_adapter(model.adapter) if model.adapter else None
    )
    return load_policy(checkpoint, _on_host(template), base=digest)


def _write_adapter(
    out: Path, run_config: RunConfig, config: LlamaConfig, checkpoint: Path, lora: Lora, dtype: str
) -> None:
    import jax

    from dast_jax.models.peft import save_adapter

    adapters = _adapters(run_config, config, checkpoint, lora)
    if dtype != "kept":
        adapters = jax.tree.map(lambda x: x.astype(dtype), adapters)
    save_adapter(out, adapters, lora, config, base=run_config.model.path)


def _on_host(template: Any) -> Any:
    """Return `template` (shapes) on the host's CPU."""
    import jax

    host = jax.sharding.SingleDeviceSharding(_host())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), template)


def _check_free(out: Path) -> None:
    """Refuse to overwrite anything but an earlier export."""
    earlier = (out / "config.json").is_file() or (out / ADAPTER_CONFIG).is_file()
    if out.is_dir() and any(out.iterdir()) and not earlier:
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
