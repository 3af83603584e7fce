"""Options of the model and of the device mesh (no jax here)."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.options import opt

__all__ = ["MeshOptions", "ModelOptions"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model to start from, and in what precision to keep and run it."""

    path: str = opt(help="Hugging Face model folder, .gguf file, or hub model owner/name[@revision]")
    chat_template: str = opt("", "file with a chat template (Jinja) to use instead of the model's own")
    dtype: str = opt(
        "float32",
        choices=("float32", "bfloat16"),
        help="precision in which the parameters are kept",
    )
    compute_dtype: str = opt(
        "float32",
        choices=("float32", "bfloat16"),
        help="precision of the matrix products (norms, softmax and logits are always float32)",
    )
    remat: bool = opt(
        False,
        changes_result=False,
        help="recompute each layer's activations in the backward pass instead of storing them",
    )


@dataclass(frozen=True, kw_only=True)
class MeshOptions:
    """Sizes of the three mesh axes; one of them may be -1, which takes the remaining devices."""

    data: int = opt(
        1, min=-1, changes_result=False, help="data parallel: batches split, parameters replicated"
    )
    fsdp: int = opt(1, min=-1, changes_result=False, help="batches and parameters split")
    tensor: int = opt(1, min=-1, changes_result=False, help="heads, MLP and vocabulary split")
