"""How frozen features are stored: float16, or int8 with one scale per channel of each photo."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from act2sal.config import StoredPrecision

LEVELS = ("E3", "E4", "E5")
MOST = 127
"""Greatest magnitude of a quantised value; -128 stays unused, so that both signs have the same steps."""
HALF_MAX = 65504.0
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


def quantised(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features as whole multiples of a step that fits their greatest magnitude in each channel.

    What is beyond +-65504 becomes +-65504; a channel with a NaN becomes NaN throughout.

    Args:
        features: (B, C, h, w) float.

    Returns:
        (B, C, h, w) int8 in [-127, 127], and the steps, (B, C, 1, 1) float32, > 0. `restored` is off by half a
        step at most, and by nothing where a feature is 0.
    """
    clipped = features.float().clamp(-HALF_MAX, HALF_MAX)
    scales = (clipped.abs().amax(dim=(2, 3), keepdim=True) / MOST).clamp_min(_SMALLEST_SCALE)
    return (clipped / scales).round().nan_to_num(0).to(torch.int8), scales


def restored(values: Tensor, scales: Tensor) -> Tensor:
    """Features from what `quantised` returns: (B, C, h, w) float32."""
    return values.float() * scales


def halved(features: Tensor) -> Tensor:
    """Features as float16, any shape; what is beyond its range becomes +-65504, its greatest value."""
    return features.float().clamp(-HALF_MAX, HALF_MAX).half()


def packed(levels: Sequence[Tensor], precision: StoredPrecision) -> dict[str, Tensor]:
    """E_3, E_4, E_5, each (B, C_i, h_i, w_i) float, as the tensors that are stored, by name, B in front."""
    tensors: dict[str, Tensor] = {}
    for name, level in zip(LEVELS, levels, strict=True):
        if precision == "int8":
            tensors[name], tensors[_scales(name)] = quantised(level)
        else:
            tensors[name] = halved(level)
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """E_3, E_4, E_5, each (B, C_i, h_i, w_i) float32, from what `packed` returns."""
    return [
        restored(tensors[name], tensors[_scales(name)]) if _scales(name) in tensors else tensors[name].float()
        for name in LEVELS
    ]


def _scales(name: str) -> str:
    return f"{name}.scales"
