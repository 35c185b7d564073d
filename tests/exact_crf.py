"""The dense CRF straight from its definition, over all pairs of pixels."""

import numpy as np
from numpy.typing import NDArray


def exact_kernel(
    photo: NDArray[np.uint8],
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
) -> NDArray[np.float64]:
    """Sum of both weighted, symmetrically normalised kernels over all pairs of pixels: (N, N) float64."""
    height, width, _ = photo.shape
    y, x = np.divmod(np.arange(height * width), width)
    colour = photo.reshape(-1, 3).astype(np.float64)
    apart = (x[:, None] - x) ** 2.0 + (y[:, None] - y) ** 2.0
    colour_apart = ((colour[:, None] - colour) ** 2).sum(axis=2)
    gaussian = np.exp(-0.5 * apart / gaussian_sxy**2)
    bilateral = np.exp(-0.5 * (apart / bilateral_sxy**2 + colour_apart / bilateral_srgb**2))
    total = np.zeros_like(apart)
    for kernel, weight in ((gaussian, gaussian_compat), (bilateral, bilateral_compat)):
        row_sum = kernel.sum(axis=1)
        total += weight * kernel / np.sqrt(row_sum[:, None] * row_sum)
    return total


def exact_mean_field(
    photo: NDArray[np.uint8], unary: NDArray[np.float32], *, iterations: int, **parameters: float
) -> NDArray[np.float64]:
    """Both labels, straight from the definition: Q ~ exp(-U + K Q), all pairs, float64."""
    kernel = exact_kernel(photo, **parameters)
    energy = np.stack([-unary.ravel(), unary.ravel()]).astype(np.float64) / 2
    q = np.exp(-energy) / np.exp(-energy).sum(axis=0)
    for _ in range(iterations):
        score = -energy + q @ kernel
        q = np.exp(score - score.max(axis=0))
        q /= q.sum(axis=0)
    return q[0].reshape(unary.shape)
