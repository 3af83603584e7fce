"""Options of the model and of the device mesh (no jax here)."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.options import opt

__all__ = [
    "AUTOMATIC",
    "LORA_TARGETS",
    "LoraOptions",
    "MeshOptions",
    "ModelOptions",
    "RunMeshOptions",
    "SamplingMeshOptions",
]

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The matrices of a layer, as Hugging Face and PEFT name them."""


AUTOMATIC = ("compute_dtype", "remat")
"""The options of the model that follow the device where they are "auto" (`device_defaults`)."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model to start from, and in what precision to keep and run it."""

    path: str = opt(help="Hugging Face model folder, .gguf file, or hub model owner/name[@revision]")
    chat_template: str = opt("", "file with a chat template (Jinja) to use instead of the model's own")
    adapter: str = opt(
        "",
        help="LoRA adapter in PEFT's format, a folder or hub id, that belongs to the model: merged into its "
        "weights, or where training.lora.rank is set, trained on",
    )
    dtype: str = opt(
        "float32",
        choices=("float32", "bfloat16"),
        help="precision in which the parameters are kept",
    )
    compute_dtype: str = opt(
        "auto",
        choices=("auto", "float32", "bfloat16"),
        help="precision of the matrix products (norms, softmax and logits are always float32); auto is "
        "bfloat16 on accelerators and float32 on CPUs",
    )
    remat: str = opt(
        "auto",
        choices=("auto", "none", "dots", "full"),
        changes_result=False,
        help="which activations of a layer the backward pass computes again instead of having them stored: "
        "none; all but the products with weights (dots); all (full); auto is full on accelerators and none "
        "on CPUs",
    )


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Adapters of low rank that are trained in place of the weights (arXiv 2106.09685)."""

    rank: int = opt(
        0,
        "rank of the adapters; the model's own weights stay as they are. 0 trains all weights, without "
        "adapters",
        min=0,
    )
    alpha: float = opt(32.0, "an adapter's output is scaled by alpha / rank", min=0)
    targets: tuple[str, ...] = opt(
        LORA_TARGETS, "the matrices that get an adapter, in every layer", choices=LORA_TARGETS
    )

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError("alpha must be more than 0: at 0 no adapter changes the model")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError("targets: name at least one matrix, and each only once")


@dataclass(frozen=True, kw_only=True)
class MeshOptions:
    """Sizes of the three mesh axes; one of them may be -1, which takes the remaining devices."""

    data: int = opt(
        1, min=-1, changes_result=False, help="data parallel: batches split, parameters replicated"
    )
    fsdp: int = opt(1, min=-1, changes_result=False, help="batches and parameters split")
    tensor: int = opt(1, min=-1, changes_result=False, help="heads, MLP and vocabulary split")
    cpu_data: int = opt(
        0,
        min=0,
        changes_result=False,
        help="data on a CPU, where the other sizes are 1: it is divided into as many devices; 0: data",
    )

    @property
    def cpu_devices(self) -> int:
        """The number of devices that a CPU is divided into; 0 for none."""
        return self.cpu_data if self.data == self.fsdp == self.tensor == 1 else 0


@dataclass(frozen=True, kw_only=True)
class SamplingMeshOptions:
    """The layout of the same devices for sampling, where it is another than in training."""

    data: int = opt(
        0,
        min=-1,
        changes_result=False,
        help="data parallel: slots and prompts split; 0 for all three is the layout of training, otherwise 1",
    )
    fsdp: int = opt(0, min=-1, changes_result=False, help="slots, prompts and parameters split")
    tensor: int = opt(0, min=-1, changes_result=False, help="heads, MLP and vocabulary split")


@dataclass(frozen=True, kw_only=True)
class RunMeshOptions(MeshOptions):
    """The layout of a run's devices, in training and in sampling."""

    sampling: SamplingMeshOptions = opt(SamplingMeshOptions)
