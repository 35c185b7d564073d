"""Texture matching (A2S-v2): neighbours of the same colour are asked to lie on the same side of the boundary."""

import torch
from torch import Tensor
from torch.nn import functional

CONTOUR = 5
"""Side, in pixels of the map, of the window that has to hold both classes for its centre to be contour."""
WINDOW = 11
"""Side of the window of neighbours, in pixels of the map."""
SHARPNESS = 200.0
"""Factor of the squared distance of two colours, RGB in [0, 1], in the exponent of their similarity."""


def texture_loss(prob: Tensor, photos: Tensor) -> Tensor:
    """Difference of prob between neighbours of like colour, along the contour of `prob > 1/2` (A2S-v2).

    For a pixel i of the contour: the sum over the neighbours j of `exp(-200 |c_i - c_j|^2) |p_i - p_j|`; the mean
    over the contour, 0 where there is none. A2S-v2 weighs it by .05 and takes both maps at a quarter of the photo.

    Differs: neighbours outside the photo do not count; the published code takes them for black pixels of prob 0.

    Args:
        prob: (B, 1, h, w) float32 in [0, 1].
        photos: (B, 3, h, w) float32 in [0, 1], of the same size.

    Returns:
        Scalar, in [0, 120].
    """
    inside = torch.ones_like(prob[:1])
    with torch.no_grad():
        difference = _neighbours(photos) - photos.flatten(2)[:, :, None]
        alike = (-SHARPNESS * difference.square().sum(dim=1)).exp() * _neighbours(inside)[:, 0]
        on_contour = contour(prob).flatten(1)
    apart = (_neighbours(prob)[:, 0] - prob.flatten(1)[:, None]).abs()
    return ((alike * apart).sum(dim=1) * on_contour).sum() / on_contour.sum().clamp_min(1)


def contour(prob: Tensor) -> Tensor:
    """1 where a window of 5 x 5 pixels holds both classes of `prob > 1/2`, else 0: (B, 1, h, w) -> (B, 1, h, w)."""
    mask = (prob.detach() > 0.5).to(prob.dtype)
    grown = functional.max_pool2d(mask, CONTOUR, stride=1, padding=CONTOUR // 2)
    shrunk = 1 - functional.max_pool2d(1 - mask, CONTOUR, stride=1, padding=CONTOUR // 2)
    return grown - shrunk


def _neighbours(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, WINDOW^2, h w), zeros outside the map."""
    batch, channels, height, width = maps.shape
    unfolded = functional.unfold(maps, WINDOW, padding=WINDOW // 2)
    return unfolded.view(batch, channels, WINDOW**2, height * width)
