"""What a device can do at most: the peaks that its vendor publishes, by JAX's name of the device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Peak", "peak_of"]


@dataclass(frozen=True, kw_only=True)
class Peak:
    """What devices can do together.

    `flops`: dense bfloat16 products, FLOP/s; `bandwidth`: memory, bytes/s; `source`: where they are
    published; `memory`: bytes that programs may use; `interconnect`: bytes/s that a device can send to others
    of its slice or node, half of the vendor's total of both directions.
    """

    flops: float
    bandwidth: float
    source: str
    memory: float = 0.0
    interconnect: float = 0.0


# NVIDIA's datasheets give products with 2:4 sparsity; dense ones are half of that.
_H100 = "NVIDIA H100 Tensor Core GPU datasheet: 1,979 (PCIe: 1,513) TFLOPS with sparsity"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet: 1,979 TFLOPS with sparsity"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_L4 = "NVIDIA L4 Tensor Core GPU datasheet: 242 TFLOPS with sparsity"
_TPU = "https://docs.cloud.google.com/tpu/docs/{}, key specifications of a chip"
_GIB = 2.0**30
_V5E = Peak(flops=197e12, bandwidth=819e9, source=_TPU.format("v5e"), memory=15.75 * _GIB, interconnect=100e9)
_V5P = Peak(
    flops=459e12, bandwidth=2.765e12, source=_TPU.format("v5p"), memory=95.74 * _GIB, interconnect=300e9
)
_V6E = Peak(
    flops=918e12, bandwidth=1.638e12, source=_TPU.format("v6e"), memory=31.25 * _GIB, interconnect=224e9
)
_PEAKS = {
    "NVIDIA H100 80GB HBM3": Peak(
        flops=989.4e12, bandwidth=3.35e12, source=_H100, memory=79.1 * _GIB, interconnect=450e9
    ),
    "NVIDIA H100 PCIe": Peak(
        flops=756e12, bandwidth=2.0e12, source=_H100, memory=79.1 * _GIB, interconnect=64e9
    ),
    "NVIDIA H200": Peak(
        flops=989.4e12,
        bandwidth=4.8e12,
        source=_H200,
        memory=139.8 * _GIB,
        interconnect=450e9,
    ),
    "NVIDIA A100-SXM4-80GB": Peak(
        flops=312e12, bandwidth=2.039e12, source=_A100, memory=79.1 * _GIB, interconnect=300e9
    ),
    "NVIDIA A100-SXM4-40GB": Peak(
        flops=312e12, bandwidth=1.555e12, source=_A100, memory=39.4 * _GIB, interconnect=300e9
    ),
    "NVIDIA L4": Peak(
        flops=121e12,
        bandwidth=300e9,
        source=_L4,
        memory=22.0 * _GIB,
        interconnect=32e9,
    ),
    "TPU v4": Peak(
        flops=275e12, bandwidth=1.2e12, source=_TPU.format("v4"), memory=30.75 * _GIB, interconnect=150e9
    ),
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
}


def peak_of(device_kind: str, count: int = 1) -> Peak | None:
    """Return the peaks of `count` devices by their `device_kind`; None for one that is not in the table."""
    one = _PEAKS.get(device_kind)
    if one is None:
        return None
    return Peak(
        flops=count * one.flops,
        bandwidth=count * one.bandwidth,
        source=one.source,
        memory=count * one.memory,
        interconnect=count * one.interconnect,
    )
