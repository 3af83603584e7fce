"""What a device can do at most: the peaks that its vendor publishes, by JAX's name of the device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Peak", "peak_of"]


@dataclass(frozen=True, kw_only=True)
class Peak:
    """`flops`: dense bfloat16 products, FLOP/s; `bandwidth`: memory, bytes/s; `source`: where they are."""

    flops: float
    bandwidth: float
    source: str


_H100 = "NVIDIA H100 Tensor Core GPU datasheet"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_TPU = "cloud.google.com/tpu/docs, system architecture of the version"
_PEAKS = {
    "NVIDIA H100 80GB HBM3": Peak(flops=989.4e12, bandwidth=3.35e12, source=_H100),
    "NVIDIA H100 PCIe": Peak(flops=756e12, bandwidth=2.0e12, source=_H100),
    "NVIDIA H200": Peak(flops=989.4e12, bandwidth=4.8e12, source="NVIDIA H200 Tensor Core GPU datasheet"),
    "NVIDIA A100-SXM4-80GB": Peak(flops=312e12, bandwidth=2.039e12, source=_A100),
    "NVIDIA A100-SXM4-40GB": Peak(flops=312e12, bandwidth=1.555e12, source=_A100),
    "NVIDIA L4": Peak(flops=121e12, bandwidth=300e9, source="NVIDIA L4 Tensor Core GPU datasheet"),
    "TPU v4": Peak(flops=275e12, bandwidth=1.228e12, source=_TPU),
    "TPU v5 lite": Peak(flops=197e12, bandwidth=819e9, source=_TPU),
    "TPU v5e": Peak(flops=197e12, bandwidth=819e9, source=_TPU),
    "TPU v5": Peak(flops=459e12, bandwidth=2.765e12, source=_TPU),
    "TPU v5p": Peak(flops=459e12, bandwidth=2.765e12, source=_TPU),
    "TPU v6 lite": Peak(flops=918e12, bandwidth=1.64e12, source=_TPU),
    "TPU v6e": Peak(flops=918e12, bandwidth=1.64e12, source=_TPU),
}


def peak_of(device_kind: str, count: int = 1) -> Peak | None:
    """Return the peaks of `count` devices by their `device_kind`; None for one that is not in the table."""
    one = _PEAKS.get(device_kind)
    if one is None:
        return None
    return Peak(flops=count * one.flops, bandwidth=count * one.bandwidth, source=one.source)
