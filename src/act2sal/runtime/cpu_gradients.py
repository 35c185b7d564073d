"""Faster gradients, equal but for rounding, for two layers whose own are slow in PyTorch on a CPU.

These are a strided depthwise convolution in bfloat16, whose two passes become 4 to 17 times as fast, and GroupNorm in
channels-last memory, 1.3 to 4.4 times (`benchmarks/gradients.py`).
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Module = TypeVar("Module", bound=nn.Module)


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride and without bias."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) float -> (B, C, h', w')."""
        if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
            return super().forward(maps)
        reduced = torch.get_autocast_dtype("cpu")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _Depthwise.apply(maps.to(reduced), self.weight.to(reduced), geometry)


class ChannelsLastGroupNorm(nn.GroupNorm):
    """A GroupNorm with weights."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) float -> the same shape."""
        if not torch.is_grad_enabled():
            return super().forward(maps)
        return _GroupNorm.apply(maps, self.weight, self.bias, self.num_groups, self.eps)


def with_fast_gradients(module: Module) -> Module:
    """Turn the layers of `module` that can be faster into the classes above; weights, names and hooks stay."""
    for layer in module.modules():
        if type(layer) is nn.GroupNorm and layer.affine:
            layer.__class__ = ChannelsLastGroupNorm
        elif type(layer) is nn.Conv2d and _is_strided_depthwise(layer):
            layer.__class__ = StridedDepthwise
    return module


def _is_strided_depthwise(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1
    plain = conv.bias is None and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return depthwise and plain and max(conv.stride) > 1


class _Depthwise(torch.autograd.Function):
    """A convolution whose input's gradient is computed in float32."""

    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, geometry: tuple[Any, Any, Any, int]) -> Tensor:
        context.save_for_backward(maps, weight)
        context.geometry = geometry
        stride, padding, dilation, groups = geometry
        return functional.conv2d(maps, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        maps, weight = context.saved_tensors
        wide = torch.empty_like(maps, dtype=torch.float32)  # its shape counts, its values do not
        of_maps = _convolution_backward(
            gradient.float(), wide, weight.float(), context.geometry, maps_wanted=True
        )
        of_weight = _convolution_backward(gradient, maps, weight, context.geometry, maps_wanted=False)
        return of_maps.to(maps.dtype), of_weight, None


def _convolution_backward(
    gradient: Tensor, maps: Tensor, weight: Tensor, geometry: tuple[Any, Any, Any, int], *, maps_wanted: bool
) -> Tensor:
    """Compute the gradient of the maps, or that of the weight."""
    stride, padding, dilation, groups = geometry
    found = torch.ops.aten.convolution_backward(
        *(gradient, maps, weight, None, stride, padding, dilation, False, [0, 0], groups),
        [maps_wanted, not maps_wanted, False],
    )
    result: Tensor = found[0] if maps_wanted else found[1]
    return result


class _GroupNorm(torch.autograd.Function):
    """GroupNorm (Wu & He, 2018), whose gradient is a linear function of map and gradient in each channel."""

    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        count, channels, height, width = maps.shape
        normalised, mean, inverse = torch.native_group_norm(
            maps, weight, bias, count, channels, height * width, groups, eps
        )
        context.save_for_backward(maps, weight, mean, inverse)
        return normalised

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """r (w g - mean(w g) - x' mean(w g x')) with the inverse deviation r of a group and the normalised map x'."""  # noqa: D403
        (gradient,) = gradients
        maps, weight, mean, inverse = context.saved_tensors
        count, channels, height, width = maps.shape
        grouped = (count, mean.shape[1], channels // mean.shape[1])
        mean, inverse, scale = mean[..., None], inverse[..., None], weight.view(1, *grouped[1:])
        total = gradient.sum((2, 3), dtype=torch.float32).view(grouped)
        weighted = (gradient * maps).sum((2, 3), dtype=torch.float32).view(grouped)
        along = inverse * (weighted - mean * total)  # sum of g x' in each channel
        values = height * width * grouped[2]
        mean_total = (scale * total).sum(2, keepdim=True) / values
        mean_along = (scale * along).sum(2, keepdim=True) / values
        slope = -inverse.square() * mean_along
        offset = -inverse * mean_total - slope * mean

        def of_channels(values: Tensor) -> Tensor:
            return values.expand(grouped).reshape(count, channels, 1, 1)

        of_maps = torch.addcmul(of_channels(offset), maps, of_channels(slope))
        of_maps.addcmul_(gradient, of_channels(inverse * scale))
        return (
            of_maps.to(maps.dtype),
            along.sum(0).reshape(channels),
            total.sum(0).reshape(channels),
            None,
            None,
        )
