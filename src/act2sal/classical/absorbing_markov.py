"""MC: saliency by an absorbing Markov chain (Jiang, Zhang, Lu, Yang, Yang, ICCV 2013).

A walker goes from region to region, the more likely the more alike they are, until it leaves the photo by a copy of a
region on its border. Where that takes long, the region is unlike the border: an object. Numbers of equations are the
paper's.

Differs: constants and details are those of the authors' published code. Regions on the border are linked with all
others on it; frames around a photo are not cut off; superpixels are scikit-image's.
"""

import numpy as np
from numpy.typing import NDArray

from act2sal.classical.superpixels import (
    at_working_size,
    distances,
    linked_in_two_steps,
    stretched,
    superpixels,
)

SUPERPIXELS = 250
"""Superpixels of a photo (paper)."""
COMPACTNESS = 20.0
"""Of SLIC (published code)."""
BORDER_WIDTH = 1
"""Pixels from the edge that belong to the border."""
CONTRAST = 10.0
"""From difference of colour, stretched to [0, 1], to likeness (Eq. 3: 1 / sigma^2)."""
LEAST_LIKENESS = 1e-5
"""Of linked regions (published code)."""
UNDECIDED = 2.0
"""Score of the histogram above which the absorbed times are weighted (Eq. 8 and 9)."""
_BINS = 10


def mc(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency by MC: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1], zeros for a photo of one colour."""
    return at_working_size(photo, _mc)


def _mc(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = photo.shape[:2]
    pixels_each = max(1, round(height * width / SUPERPIXELS))
    regions = superpixels(photo, pixels_each=pixels_each, compactness=COMPACTNESS, border_width=BORDER_WIDTH)
    colour = distances(regions.lab)
    if not stretched(colour).any():
        return np.zeros((height, width), np.float32)
    likeness = affinity(colour, linked_in_two_steps(regions.adjacent, regions.border))
    return saliency_of_regions(likeness, regions.border)[regions.labels].astype(np.float32)


def affinity(colour: NDArray[np.float64], linked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Likeness of linked regions (Eq. 3), 1 of each with itself: (N, N) in [0, 1]."""
    likeness = np.zeros_like(colour)
    likeness[linked] = np.exp(-CONTRAST * stretched(colour[linked])) + LEAST_LIKENESS
    np.fill_diagonal(likeness, 1)
    return likeness


def absorbed_times(
    likeness: NDArray[np.float64], border: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time until a walker is absorbed, a step from region i taking `weights[i]` (Eq. 2, 7 and 9): (N,).

    Args:
        likeness: (N, N).
        border: (N,) bool, the regions of which an absorbing copy exists.
        weights: (N,).
    """
    degrees = likeness.sum(axis=1) + likeness[:, border].sum(axis=1)
    return np.linalg.solve(np.eye(len(likeness)) - likeness / degrees[:, None], weights)


def saliency_of_regions(likeness: NDArray[np.float64], border: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Absorbed times, in which often visited regions count less if the times alone leave the photo undecided.

    Args:
        likeness: as in `absorbed_times`.
        border: as in `absorbed_times`.

    Returns:
        (N,) float64 in [0, 1].
    """
    times = stretched(absorbed_times(likeness, border, np.ones(len(likeness))))
    if indecision(times) < UNDECIDED:
        return times
    rarely_visited = 1 / likeness.sum(axis=1)
    return stretched(absorbed_times(likeness, border, rarely_visited / rarely_visited.sum()))


def indecision(values: NDArray[np.float64]) -> float:
    """How much of a map lies between its extremes (Eq. 8): (N,) in [0, 1] -> [1, 5]; 1: all is black or white."""
    shares = np.histogram(values, bins=_BINS, range=(0, 1))[0] / len(values)
    bins = np.arange(1, _BINS + 1)
    return float((shares * np.minimum(bins, _BINS + 1 - bins)).sum())
