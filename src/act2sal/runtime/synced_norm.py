"""BatchNorm over the photos of all processes, so that a step is the same in one process and in several.

A process sees a part of a batch, often one or two photos, whose own statistics would give another training.
`torch.nn.SyncBatchNorm` does the same, but on GPUs only.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from act2sal.runtime import parallel


class SyncedBatchNorm(nn.BatchNorm2d):
    """Takes the place of a `BatchNorm2d`, or of timm's variant with an activation, and shares its weights.

    All processes have to pass the same number of values.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum, device="meta")
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) float -> the same shape, normalised over the photos of all processes while in train mode."""
        normalised = self._by_all(maps) if self.training else super().forward(maps)
        return self.act(self.drop(normalised))

    def _by_all(self, maps: Tensor) -> Tensor:
        wide = maps.float()
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        total_mean = _Averaged.apply(mean)
        total_variance = _Averaged.apply(variance + (mean - total_mean).square())
        self._remember(total_mean.detach(), total_variance.detach(), wide.numel() // wide.shape[1])
        scale = self.weight * (total_variance + self.eps).rsqrt()
        shift = self.bias - total_mean * scale
        return torch.addcmul(shift.view(1, -1, 1, 1), wide, scale.view(1, -1, 1, 1)).to(maps.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, own_count: int) -> None:
        """Move the running statistics as `BatchNorm2d` does, the variance being the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        count = own_count * parallel.world()
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), share)


def synced(module: nn.Module) -> nn.Module:
    """Replace every `BatchNorm2d` of `module`, in place, if there are several processes."""
    if parallel.world() == 1:
        return module
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SyncedBatchNorm(child))
        else:
            synced(child)
    return module


class _Averaged(torch.autograd.Function):
    """Mean over all processes, (C,) float32; the gradients are averaged as well."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return parallel.averaged(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total / parallel.world()
