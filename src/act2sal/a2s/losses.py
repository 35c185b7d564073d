"""The detector's loss: BCE + SSIM + IoU (A2S, Eq. 12), and agreement between scales.

Every function takes maps (B, 1, H, W) float and returns a scalar.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
IOU_EPSILON = 1e-7


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of logits and target, both (B, 1, H, W), target in [0, 1]; mean over pixels."""
    return functional.binary_cross_entropy_with_logits(logits, target)


def ssim_loss(prob: Tensor, target: Tensor) -> Tensor:
    """`1 - SSIM`, mean over all pixels (Wang et al., 2004), in [0, 2].

    Gaussian window of 11 pixels with sigma 1.5, C1 = 0.01^2, C2 = 0.03^2 (range 1), and zeros beyond the
    border, all as in the official A2S code.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        target: (B, 1, H, W) float in [0, 1].
    """
    mu_p, pp, pt = gaussian_blur(torch.cat([prob, prob * prob, prob * target])).chunk(3)
    mu_t, tt = gaussian_blur(torch.cat([target, target * target])).chunk(2)
    luminance = (2 * mu_p * mu_t + SSIM_C1) / (mu_p**2 + mu_t**2 + SSIM_C1)
    structure = (2 * (pt - mu_p * mu_t) + SSIM_C2) / (pp - mu_p**2 + tt - mu_t**2 + SSIM_C2)
    return 1 - (luminance * structure).mean()


def gaussian_blur(maps: Tensor) -> Tensor:
    """Gaussian of the SSIM window over (B, 1, H, W) float, zeros beyond the border.

    A sum of shifted copies along one axis, then the other: several times faster on a CPU than a convolution
    with one channel, and never computed in reduced precision.
    """
    return _Blur.apply(maps)


class _Blur(torch.autograd.Function):
    """`gaussian_blur`. The window is symmetric, so the gradient is blurred by the same window."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        return _blur_axis(_blur_axis(maps, -2), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gaussian_blur(gradients[0])


def _blur_axis(maps: Tensor, axis: int) -> Tensor:
    half, length = SSIM_WINDOW // 2, maps.shape[axis]
    weights = [math.exp(-(offset**2) / (2 * SSIM_SIGMA**2)) for offset in range(half + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    padded = functional.pad(maps, (half, half) if axis == -1 else (0, 0, half, half))
    blurred = maps * (weights[0] / total)
    for offset in range(1, half + 1):
        before, after = padded.narrow(axis, half - offset, length), padded.narrow(axis, half + offset, length)
        blurred.add_(before + after, alpha=weights[offset] / total)
    return blurred


def iou_loss(prob: Tensor, target: Tensor) -> Tensor:
    """`1 - soft IoU` of each image, averaged over the batch, in [0, 1].

    Intersection `sum p t`, union `sum (p + t - p t)`; 1e-7 is added to the union, as in the official code, so
    that an image with nothing in either map costs 1.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        target: (B, 1, H, W) float in [0, 1].
    """
    overlap = prob * target
    union = (prob + target - overlap).sum(dim=(1, 2, 3))
    return (1 - overlap.sum(dim=(1, 2, 3)) / (union + IOU_EPSILON)).mean()


def detector_loss(
    logits: Tensor,
    target: Tensor,
    *,
    bce: float = 1.0,
    ssim: float = 1.0,
    iou: float = 1.0,
    binarise: bool = True,
) -> Tensor:
    """`L = BCE + SSIM + IoU` (Eq. 12), weighted; `bce=0, ssim=0` is the IoU loss of A2S-v2.

    Args:
        logits: (B, 1, H, W) float.
        target: (B, 1, H, W) float in [0, 1], a pseudo label.
        bce: weight of the cross-entropy; a term of weight 0 is not computed.
        ssim: weight of the structural similarity.
        iou: weight of the soft IoU.
        binarise: replace the target by `target > 0.5`, as the official code does.
    """
    if binarise:
        target = (target > 0.5).to(logits.dtype)
    prob = torch.sigmoid(logits)
    total = logits.new_zeros(())
    if bce:
        total = total + bce * bce_loss(logits, target)
    if ssim:
        total = total + ssim * ssim_loss(prob, target)
    if iou:
        total = total + iou * iou_loss(prob, target)
    return total


def scale_consistency_loss(prob: Tensor, rescaled: Tensor) -> Tensor:
    """Mean squared difference between predictions for one photo at two scales (A2S-v2), in [0, 1].

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        rescaled: (B, 1, H', W') float in [0, 1], of the photo at another size; resized to `prob` bilinearly.
    """
    same_size = functional.interpolate(rescaled, prob.shape[-2:], mode="bilinear", align_corners=False)
    return functional.mse_loss(prob, same_size)
