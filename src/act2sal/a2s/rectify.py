"""Label rectifying while the detector trains: OLR (A2S, Eq. 13-14) and HMA (USPS)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.config import Stage2Config

RefineMap = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]


def rectify(label: Tensor, prob: Tensor, lam: float) -> Tensor:
    """Online Label Rectifying, `G_{j+1} = lambda G_j + (1 - lambda) Y_j` (Eq. 14).

    Differs: the official code mirrors its photos once for all epochs; here a mirrored prediction has to be
    turned back with `flip` first.

    Args:
        label: (B, 1, H, W) float in [0, 1], the labels so far.
        prob: (B, 1, H, W) float in [0, 1], the predictions made in train mode before the step.
        lam: lambda, in [0, 1].
    """
    return lam * label + (1 - lam) * prob


def lambda_at(
    epoch: int, *, warmup: int = Stage2Config.rectify_warmup, lam: float = Stage2Config.rectify_lambda
) -> float:
    """Lambda of an epoch, counted from 0: 1 in the first `warmup` epochs, then `lam` (text after Eq. 14)."""
    return 1.0 if epoch < warmup else lam


def quantise(prob: Tensor) -> Tensor:
    """Round probabilities to 8 bits: float in [0, 1] of any shape -> uint8 0..255."""
    return (prob * 255).round().to(torch.uint8)


def historical_average(
    photos: NDArray[np.uint8],
    prob: NDArray[np.float32],
    previous: NDArray[np.float32],
    *,
    momentum: float,
    refine: RefineMap,
) -> NDArray[np.float32]:
    """Historical moving average of USPS (Nguyen et al., 2019): each prediction is CRF-refined, then averaged.

    `momentum * previous + (1 - momentum) * refine(photo, prob)`, photo by photo.

    Args:
        photos: (B, H, W, 3) uint8 RGB.
        prob: (B, H, W) float32 in [0, 1], predictions.
        previous: (B, H, W) float32 in [0, 1], the average so far.
        momentum: share of the average that stays, in [0, 1].
        refine: photo (H, W, 3) uint8 and prob (H, W) float32 to prob (H, W) float32.

    Returns:
        (B, H, W) float32 in [0, 1].
    """
    refined = np.stack([refine(photo, p) for photo, p in zip(photos, prob, strict=True)])
    return (momentum * previous + (1 - momentum) * refined).astype(np.float32)
