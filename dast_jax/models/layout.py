"""What a mesh does not divide: refused where it cannot run, else named, as it is whole on each device."""

from __future__ import annotations

from collections.abc import Sequence

from jax.sharding import Mesh

from dast_jax.errors import UserError
from dast_jax.models.llama_config import LlamaConfig
from dast_jax.models.sharding import LOGICAL_AXES, shards_of

__all__ = ["check_divides", "replicated"]


def check_divides(key: str, value: int, mesh: Mesh | None, what: str) -> None:
    """Raise `UserError` unless `value`, of option `key`, is a multiple of the parts of a batch on `mesh`."""
    ways = shards_of(mesh, "batch")
    if value % ways:
        lower = value // ways * ways
        near = f"{lower} or {lower + ways}" if lower else str(ways)
        raise UserError(
            f"{key}={value}: {what} are split into data x fsdp = {ways} parts by the mesh, which does not "
            f"divide them; set it to {near}"
        )


def replicated(config: LlamaConfig, mesh: Mesh, section: str = "mesh") -> list[str]:
    """Return a line for each axis of the model that the mesh does not divide, with the nearest that would."""
    sizes = {
        "heads": ("attention heads", config.num_heads),
        "kv_heads": ("key/value heads", config.num_kv_heads),
        "mlp": ("MLP columns", config.intermediate_size),
        "vocab": ("tokens of the vocabulary", config.vocab_size),
        "embed": ("hidden columns", config.hidden_size),
    }
    lines = []
    for axis, (name, size) in sizes.items():
        ways = shards_of(mesh, axis)
        if size % ways:
            over = " x ".join(f"{section}.{part}" for part in LOGICAL_AXES[axis])
            near = " or ".join(map(str, _nearest_divisors(size, ways)))
            lines.append(
                f"{over}={ways} does not divide the model's {size} {name}: they are whole on each device "
                f"(nearest that does: {near})"
            )
    return lines


def _nearest_divisors(size: int, ways: int) -> Sequence[int]:
    """Return the largest divisor of `size` below `ways`, and the smallest above it, if there is one."""
    below = max(n for n in range(1, ways) if size % n == 0)
    above = next((n for n in range(ways + 1, min(size, 64 * ways) + 1) if size % n == 0), None)
    return (below,) if above is None else (below, above)
