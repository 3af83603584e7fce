"""What to change where a run does not fit: candidates, the least change first, judged by formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from dast_jax.config import RunConfig, build_config, config_dict, override

__all__ = ["candidates", "changed"]


def candidates(
    config: RunConfig, sizes: Mapping[str, int], devices: int, stage: str
) -> Iterator[tuple[str, ...]]:
    """Yield settings, as `key=value`, that lower what `stage` takes on `devices`: alone, then together."""
    found: list[tuple[str, ...]] = []
    if devices > 1 and sizes["fsdp"] < devices:
        sampling = config.mesh.sampling
        separate = any((sampling.data, sampling.fsdp, sampling.tensor))
        found.append(
            (
                "mesh.data=1",
                f"mesh.fsdp={devices}",
                "mesh.tensor=1",
                *(_sampling_mesh(devices) if separate else ()),
            )
        )
    if stage in ("prefill", "decode"):
        found += _halved("sampling.slots", config.sampling.slots or 256, 8)
        found += _halved("sampling.prefill_tokens", config.sampling.prefill_tokens or 8192, 1024)
        if config.model.dtype == "float32":
            found.append(("model.dtype=bfloat16",))
    else:
        if config.model.compute_dtype == "float32":
            found.append(("model.compute_dtype=bfloat16",))
        if config.model.remat in ("none", "dots"):
            found.append(("model.remat=full",))
        ways = sizes["data"] * sizes["fsdp"]
        size = config.training.micro_batch_size or config.training.batch_size
        found += _halved("training.micro_batch_size", size, max(1, ways))
        found.append(("training.moment_dtype=bfloat16",))
        found.append(("training.optimizer=adafactor", "training.moment_dtype=float32"))
        if not config.training.lora.rank:
            found.append(("training.lora.rank=16", "model.dtype=bfloat16", "training.learning_rate=2e-4"))
    if stage in ("prefill", "decode") and devices > 1 and config.mesh.sampling.tensor < min(devices, 8):
        found.append(_sampling_mesh(devices))
    yield from found
    together: tuple[str, ...] = ()
    for settings in found:
        keys = {s.partition("=")[0] for s in settings}
        kept = tuple(s for s in together if s.partition("=")[0] not in keys)
        together = (*kept, *settings)
        yield together


def _sampling_mesh(devices: int) -> tuple[str, ...]:
    """Return the layout of sampling in which no weights are gathered: over up to 8 devices by heads."""
    tensor = next(n for n in (8, 4, 2, 1) if devices % n == 0)
    return (
        f"mesh.sampling.data={devices // tensor}",
        "mesh.sampling.fsdp=1",
        f"mesh.sampling.tensor={tensor}",
    )


def _halved(key: str, value: int, least: int) -> list[tuple[str, ...]]:
    """Return the halves of `value` down to `least`, those that divide it."""
    found: list[tuple[str, ...]] = []
    while value % 2 == 0 and value // 2 >= least:
        value //= 2
        found.append((f"{key}={value}",))
    return found


def changed(config: RunConfig, settings: Sequence[str]) -> RunConfig:
    """Return the config with these settings."""
    return build_config(override(config_dict(config), list(settings)))


def fitting(
    config: RunConfig,
    sizes: Mapping[str, int],
    devices: int,
    stage: str,
    needs: Callable[[RunConfig], float | None],
    limit: float,
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the candidates under which `needs(config)` bytes are within `limit`, and how many those are."""
    seen = set()
    for settings in candidates(config, sizes, devices, stage):
        if settings in seen:
            continue
        seen.add(settings)
        total = needs(changed(config, settings))
        if total is not None and total <= limit:
            yield settings, total
