"""Supervision by fusion (SBF; Zhang, Han and Zhang, ICCV 2017): three labelers' maps become one label per photo.

Labelers vote on whole photos and, in each photo, on superpixels; GLAD turns the votes into abilities and easiness.
Easy photos are kept, and their maps are averaged by ability.

Differs: superpixels come from scikit-image's implementation of the same algorithm; a superpixel's distance is that of
its mean saliency.
"""

import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from act2sal.classical.superpixels import stretched
from act2sal.rivals.glad import Glad, glad

KEPT_SHARES = (0.35, 0.38, 0.44, 0.52, 0.62)
"""Share of the photos, the easiest ones, that each round trains on (published code)."""

GLOBAL_SHARES = (0.9, 0.9, 0.9, 0.1, 0.1)
"""Share of the global map in the label of each round; the local map has the rest (published code)."""

FIRST_GRABCUT_ROUND = 3
"""First round, counted from 1, whose labels are cut by GrabCut (published code)."""

GRABCUT_TURNS = 3
"""Iterations of GrabCut (published code); OpenCV has five components per model, as it does."""

SEGMENT_SIGMA, SEGMENT_SCALE, SEGMENT_PIXELS = 0.5, 120.0, 100
"""Smoothing, scale k and least size of the superpixels (Felzenszwalb and Huttenlocher, 2004; published code)."""

FLOOR = 0.1
"""Keeps priors away from 0 (published code)."""

LEAST_WEIGHT = 0.01
"""Added to the weight of each pixel (published code)."""


@dataclass(frozen=True)
class Votes:
    """Votes of the labelers, and how good each item is taken to be before them.

    Attributes:
        votes: (N, M) bool.
        prior: (N,) float64 in (0, 1).
    """

    votes: NDArray[np.bool_]
    prior: NDArray[np.float64]


def image_distances(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each map from the mean map, `sum |S_j - A| / sum A`: (M, H, W) in [0, 1] -> (M,) float64."""
    mean = maps.mean(axis=0, dtype=np.float64)
    return np.asarray(np.abs(maps - mean).sum(axis=(1, 2)) / max(mean.sum(), np.finfo(np.float64).tiny))


def superpixel_distances(maps: NDArray[np.float32], segments: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each labeler's mean saliency from the labelers' mean, in each superpixel.

    Args:
        maps: (M, H, W) float32 in [0, 1].
        segments: (H, W) int64, 0..S-1.

    Returns:
        (S, M) float64.
    """
    sizes = np.bincount(segments.ravel())
    means = np.stack([np.bincount(segments.ravel(), one.ravel()) / sizes for one in maps], axis=1)
    return np.abs(means - means.mean(axis=1, keepdims=True))


def votes_by_distance(distances: NDArray[np.float64]) -> Votes:
    """A labeler votes for an item if it is no farther from the mean map than all are on average.

    The prior is `1 - d / (max d + 0.1)`, d being the mean distance of the labelers in the majority, of all in a tie.

    Args:
        distances: (N, M) float64, of each labeler on each item.
    """
    votes = distances <= distances.mean()
    count = votes.sum(axis=1, keepdims=True)
    majority = np.where(2 * count == votes.shape[1], True, votes == (2 * count > votes.shape[1]))
    mean = (distances * majority).sum(axis=1) / majority.sum(axis=1)
    prior = 1 - mean / (mean.max() + FLOOR)
    return Votes(votes, np.clip(prior, 1e-6, 1 - 1e-6))


def labeler_shares(ability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each labeler in a fused map, (M,) float64 that sums to 1.

    Abilities below 0 count as 0; if all are, the least wrong labeler counts most, by 1 / |alpha|.
    """
    positive = np.maximum(ability, 0)
    if positive.sum() == 0:
        positive = 1 / np.maximum(np.abs(ability), np.finfo(np.float64).eps)
    return np.asarray(positive / positive.sum(), np.float64)


def easiest(easiness: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Indices, ascending, of the share of the items with the largest easiness; at least one."""
    count = max(1, round(share * len(easiness)))
    return np.sort(np.argsort(-easiness, kind="stable")[:count])


def superpixels_of(photo: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Graph-based superpixels (Felzenszwalb and Huttenlocher, 2004): (H, W, 3) uint8 -> (H, W) int64, 0..S-1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of photos with one channel alike
        found = felzenszwalb(photo, scale=SEGMENT_SCALE, sigma=SEGMENT_SIGMA, min_size=SEGMENT_PIXELS)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int64)


def local_votes(maps: NDArray[np.float32], segments: NDArray[np.int64]) -> Glad:
    """GLAD over the superpixels of one photo; the prior is divided by 1.1, as in the published code.

    Args:
        maps: (M, H, W) float32 in [0, 1].
        segments: (H, W) int64, 0..S-1.
    """
    votes = votes_by_distance(superpixel_distances(maps, segments))
    return glad(votes.votes, votes.prior / (1 + FLOOR))


def fused_label(
    maps: NDArray[np.float32], shares: NDArray[np.float64], local: Glad, number: int
) -> NDArray[np.float32]:
    """The label of a photo in a round: global and local map, mixed and stretched to [0, 1].

    Args:
        maps: (M, H, W) float32 in [0, 1].
        shares: (M,) float64, of the labelers over all photos (`labeler_shares`).
        local: what the superpixels of the photo say.
        number: round, from 1; rounds beyond the fifth are as the fifth.

    Returns:
        (H, W) float32.
    """
    share = GLOBAL_SHARES[min(number, len(GLOBAL_SHARES)) - 1]
    overall = np.tensordot(shares, maps, axes=1)
    near = np.tensordot(labeler_shares(local.ability), maps, axes=1)
    return stretched(share * overall + (1 - share) * near).astype(np.float32)


def grabcut_label(photo: NDArray[np.uint8], label: NDArray[np.float32]) -> NDArray[np.float32]:
    """A soft label cut by GrabCut (Rother et al., 2004) from its Otsu mask: 0 and 1, (H, W) float32.

    A label without object or without ground is returned as its mask.

    Args:
        photo: (H, W, 3) uint8 RGB.
        label: (H, W) float32 in [0, 1].
    """
    levels = np.round(label * 255).astype(np.uint8)
    _, cut = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if cut.min() == cut.max():
        return cut.astype(np.float32)
    mask = np.where(cut == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(photo[..., ::-1])
    cv2.grabCut(bgr, mask, (0, 0, 1, 1), *models, GRABCUT_TURNS, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)


def pixel_weights(segments: NDArray[np.int64], local: Glad, image_easiness: float) -> NDArray[np.float32]:
    """Weight of each pixel in the loss: easiness of its superpixel times that of the photo, stretched, plus .01.

    Args:
        segments: (H, W) int64, 0..S-1.
        local: what the superpixels of the photo say.
        image_easiness: of the photo.

    Returns:
        (H, W) float32 in [.01, 1.01].
    """
    weights = local.easiness[segments] * image_easiness
    return (stretched(weights) + LEAST_WEIGHT).astype(np.float32)
