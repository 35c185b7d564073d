"""Multiple noisy labelings (MNL; Zhang et al., CVPR 2018): labels are the truth plus noise of a variance per pixel.

The noise is Gaussian with mean 0; its variance belongs to the photo and the pixel and is shared by all labelers. The
network learns the truth while the variance is estimated from how far the labels lie from its predictions.

Differs: the paper's body was not at hand; constants and order are those of a public re-implementation. Noise is drawn
with the standard deviation sqrt(v), where that code multiplies by v; noisy predictions are cut to [0, 1], where that
code stretches them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

RATE = 0.01
"""Share of the new estimate in an update of the variance."""

KL_WEIGHT = 0.01
"""Weight of the divergence in the loss."""

EPSILON = 1e-6
"""Keeps the ratio of variances finite."""


def empirical_variance(labels: NDArray[np.float32], prob: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unbiased variance over the labelers of label minus prediction, per pixel.

    Args:
        labels: (M, H, W) float32 in [0, 1], M >= 2.
        prob: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32 >= 0.
    """
    return np.asarray((labels - prob).var(axis=0, ddof=1), np.float32)


def updated_variance(
    variance: NDArray[np.float32], labels: NDArray[np.float32], prob: NDArray[np.float32]
) -> NDArray[np.float32]:
    """One update, `v + a (v_hat - v)`; its fixed point is the empirical variance: (H, W) float32."""
    return (variance + RATE * (empirical_variance(labels, prob) - variance)).astype(np.float32)


def with_noise(prob: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Predictions with noise of the given variance, cut to [0, 1].

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        variance: (B, 1, H, W) float >= 0.
        generator: of the CPU.
    """
    drawn = torch.randn(prob.shape, generator=generator).to(prob.device)
    return (prob + variance.sqrt() * drawn).clamp(0, 1)


def divergence(variance: Tensor, empirical: Tensor) -> Tensor:
    """KL divergence of two zero-mean Gaussians, `(r - ln r - 1) / 2` with r = v / v_hat; mean over pixels."""
    ratio = (variance + EPSILON) / (empirical + EPSILON)
    return ((ratio - ratio.log() - 1) / 2).mean()


def noisy_loss(prob: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of a noisy prediction to the label of each labeler; a scalar.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        labels: (B, M, H, W) float in [0, 1].
    """
    return functional.binary_cross_entropy(prob.expand_as(labels), labels)
