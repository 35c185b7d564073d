"""DSR: saliency by dense and sparse reconstruction (Li, Lu, Zhang, Ruan, Yang, ICCV 2013).

What cannot be put together from the colours and places on the border of a photo is an object. Numbers of equations
are the paper's.

Differs: constants and details are those of the authors' published code. The likelihoods of Eq. 14 are not smoothed;
frames around a photo are not cut off; superpixels are scikit-image's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans, vq

from act2sal.classical.superpixels import (
    at_working_size,
    cielab,
    distances,
    means,
    on_border,
    segmented,
    stretched,
)
from act2sal.runtime.compiled import compiled

SCALES = ((50, 10), (100, 10), (150, 20), (200, 20), (250, 25), (300, 25), (350, 30), (400, 30))
"""Superpixels of a photo and compactness of SLIC in each of the segmentations (Section 3.3; published code)."""
BORDER_WIDTH = 1
"""Pixels from the edge that belong to the border."""
KEPT_VARIANCE = 0.95
"""Share of the variance of the border that the bases of the dense reconstruction keep (published code)."""
SPARSITY = 0.01
"""Weight of the L1 norm in the sparse reconstruction (Eq. 6)."""
CLUSTERS = 8
"""Of the regions, by k-means (Section 3.2)."""
TAU = 0.5
"""Share of a region's error that comes from its cluster (Eq. 8)."""
OBJECT_SIGMA = 0.25
"""Reach of the object-biased Gaussian, as a share of height and width (Eq. 12)."""
BINS = 60
"""Of the histograms that are the likelihoods (Eq. 14; published code)."""
_TINY = 1e-12


def dsr(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency by DSR: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1], zeros for a photo of one colour."""
    return at_working_size(photo, _dsr)


def _dsr(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = photo.shape[:2]
    if (photo == photo[:1, :1]).all():
        return np.zeros((height, width), np.float32)
    pixels = pixel_features(photo)
    dense, sparse = (object_biased(stretched(error)) for error in pixel_errors(photo, pixels))
    return ((posterior(dense, sparse) + posterior(sparse, dense)) / 2).astype(np.float32)


def pixel_features(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """RGB, CIELAB and place of every pixel, each in [0, 1] (Section 3): (H, W, 3) uint8 -> (H, W, 8)."""
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    lab = cielab(photo).astype(np.float64)
    return np.dstack(
        [photo / 255]
        + [stretched(lab[..., c]) for c in range(3)]
        + [(columns + 1) / width, (rows + 1) / height]
    )


def pixel_errors(
    photo: NDArray[np.uint8], pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of both reconstructions at every pixel, over all scales, those that fit a pixel best counting most.

    Eq. 10-11: photo (H, W, 3) uint8, features (H, W, 8) -> two of (H, W).
    """
    dense, sparse, total = (np.zeros(photo.shape[:2]) for _ in range(3))
    for count, compactness in SCALES:
        labels = segmented(photo, count=count, compactness=compactness)
        features = means(pixels, labels, np.bincount(labels.ravel()))
        border = features[on_border(labels, len(features), BORDER_WIDTH)]
        near, clusters = likeness(features), clustered(features)
        weight = 1 / (np.sqrt(((pixels - features[labels]) ** 2).sum(axis=-1)) + _TINY)
        dense += weight * propagated(dense_errors(features, border), near, clusters)[labels]
        sparse += weight * propagated(sparse_errors(features, border), near, clusters)[labels]
        total += weight
    return dense / total, sparse / total


def dense_errors(features: NDArray[np.float64], border: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the principal components of the border leave of each region (Eq. 3-4).

    features (N, 8), border (M, 8) -> (N,) in [0, 1].
    """
    values, vectors = np.linalg.eigh(np.cov(border, rowvar=False, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = np.cumsum(values) < KEPT_VARIANCE * values.sum()
    bases = vectors[:, : int(kept.sum()) + 1]
    centred = features - features.mean(axis=0)
    return stretched(np.linalg.norm(centred - centred @ bases @ bases.T, axis=1))


def sparse_errors(features: NDArray[np.float64], border: NDArray[np.float64]) -> NDArray[np.float64]:
    """What few regions of the border leave of each region (Eq. 6-7): features (N, 8), border (M, 8) -> as above."""
    wanted, templates = _unit_rows(features), _unit_rows(border)
    codes = lasso(templates @ templates.T, wanted @ templates.T, SPARSITY)
    return stretched(((wanted - codes @ templates) ** 2).sum(axis=1))


@compiled
def lasso(
    gram: NDArray[np.float64],
    correlation: NDArray[np.float64],
    penalty: float,
    tolerance: float = 1e-5,
    most: int = 500,
) -> NDArray[np.float64]:
    """Minimise `|x - B a|^2 / 2 + penalty |a|_1` for each x by coordinate descent (Eq. 6).

    Args:
        gram: (M, M) inner products of the M templates, each of length 1.
        correlation: (N, M) inner products of each x with the templates.
        penalty: weight of the L1 norm.
        tolerance: largest change of a coefficient in the last sweep.
        most: sweeps.

    Returns:
        (N, M), one row of coefficients for each x.
    """
    count, templates = correlation.shape
    codes = np.zeros((count, templates))
    for row in range(count):
        code, residual = codes[row], correlation[row].copy()
        for _ in range(most):
            largest = 0.0
            for t in range(templates):
                target = residual[t] + code[t]
                target = np.sign(target) * max(abs(target) - penalty, 0.0)
                step = target - code[t]
                if step != 0:
                    residual -= step * gram[t]
                    code[t] = target
                    largest = max(largest, abs(step))
            if largest < tolerance:
                break
    return codes


def likeness(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian weights between regions, 0 of each with itself (Eq. 9): (N, 8) -> (N, N)."""
    variance = max(float(features.var(axis=0).mean()), _TINY)
    near = np.exp(-distances(features) / (2 * variance))
    np.fill_diagonal(near, 0)
    return near


def clustered(features: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number of the cluster that each region belongs to (Section 3.2): (N, 8) -> (N,)."""
    centres, _ = kmeans(features, min(CLUSTERS, len(features)), iter=5, rng=np.random.default_rng(0))
    return np.asarray(vq(features, centres)[0])


def propagated(
    errors: NDArray[np.float64], near: NDArray[np.float64], clusters: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Errors drawn to those of like regions of the same cluster, the largest first (Eq. 8): (N,) -> (N,) in [0, 1].

    Args:
        errors: (N,).
        near: (N, N) weights.
        clusters: (N,) numbers.
    """
    errors = errors.copy()
    for region in np.argsort(-errors, kind="stable"):
        weights = near[region] * (clusters == clusters[region])
        context = weights @ errors / max(weights.sum(), _TINY)
        errors[region] = (1 - TAU) * errors[region] + TAU * context
    return stretched(errors)


def object_biased(saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map times a Gaussian around its own centre (Eq. 12-13): (H, W) -> (H, W) in [0, 1]."""
    height, width = saliency.shape
    rows, columns = np.mgrid[:height, :width]
    total = max(saliency.sum(), _TINY)
    down = (rows - (rows * saliency).sum() / total) / (OBJECT_SIGMA * height)
    right = (columns - (columns * saliency).sum() / total) / (OBJECT_SIGMA * width)
    return stretched(saliency * np.exp(-(down**2 + right**2) / 2))


def posterior(prior: NDArray[np.float64], observed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of the foreground with one map as prior and the other observed (Eq. 14-15): (H, W) in [0, 1]."""
    bins = np.minimum((observed * BINS).astype(np.int64), BINS - 1)
    inside = prior >= prior.mean()
    foreground, background = (
        np.bincount(bins[side], minlength=BINS) / max(int(side.sum()), 1) for side in (inside, ~inside)
    )
    for_it = prior * foreground[bins]
    against = (1 - prior) * background[bins]
    return np.asarray(for_it / (for_it + against + _TINY))


def _unit_rows(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
