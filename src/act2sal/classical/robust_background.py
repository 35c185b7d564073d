"""RBD: saliency optimisation from robust background detection (Zhu, Liang, Wei, Sun, CVPR 2014).

A region that touches the border of the photo along much of its outline is background; the contrast to what is
probably background, cleaned by a least-squares problem, is saliency. Numbers of equations are the paper's.

Differs: constants and details are those of the authors' published code, which has more of both than the paper.
Frames around a photo are not cut off. Superpixels are scikit-image's, and the map is the mean over three
segmentations: where the borders of superpixels happen to fall moves a single map, and the mean is closer to the
authors' maps.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from skimage.filters import threshold_otsu

from act2sal.classical.superpixels import (
    Superpixels,
    at_working_size,
    distances,
    linked_in_two_steps,
    second_neighbours,
    stretched,
    superpixels,
)

PIXELS_EACH = (500, 550, 600)
"""Pixels of a superpixel in each of the segmentations (published code: 600)."""
COMPACTNESS = 20.0
"""Of SLIC (published code)."""
BORDER_WIDTH = 8
"""Pixels from the edge that belong to the border (published code)."""
BOUNDARY_SIGMA = 1.0
"""From boundary connectivity to background probability (Eq. 6)."""
SURE_BACKGROUND, SURE_WEIGHT = 3.0, 1000.0
"""Boundary connectivity above which a region is background beyond doubt, and its weight (published code)."""
PLACE_SIGMA = 0.4
"""Reach of the contrast, as a share of the photo (Eq. 8: 0.25 of its size; published code: 0.4)."""
BACKGROUND_WEIGHT = 5.0
"""Of the background term beside the foreground term (published code)."""
SMALLEST_SMOOTHNESS = 0.1
"""Between neighbours however much they differ (Eq. 10)."""
_TOP = 0.01
_TINY = 1e-9


def rbd(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency by RBD: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1], zeros for a photo of one colour."""
    return at_working_size(photo, _rbd)


def _rbd(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    maps = [_of_one_segmentation(photo, pixels_each) for pixels_each in PIXELS_EACH]
    return np.mean(maps, axis=0, dtype=np.float32)


def _of_one_segmentation(photo: NDArray[np.uint8], pixels_each: int) -> NDArray[np.float32]:
    regions = superpixels(photo, pixels_each=pixels_each, compactness=COMPACTNESS, border_width=BORDER_WIDTH)
    colour = distances(regions.lab)
    scales = colour_scales(regions.adjacent, colour)
    connectivity = boundary_connectivity(regions, colour, scales)
    background = 1 - np.exp(-(connectivity**2) / (2 * BOUNDARY_SIGMA**2))
    contrast = weighted_contrast(regions, colour, background)
    background_weight = np.where(connectivity > SURE_BACKGROUND, SURE_WEIGHT, background)
    saliency = optimised(regions, colour, scales, background_weight, contrast)
    return stretched(saliency)[regions.labels].astype(np.float32)


class ColourScales:
    """What counts as a small difference of colour in this photo, in CIELAB units.

    ignored: differences that do not add to a geodesic distance; geodesic, neighbours: sigmas of the weights.
    """

    def __init__(self, *, ignored: float, geodesic: float, neighbours: float) -> None:
        self.ignored, self.geodesic, self.neighbours = ignored, geodesic, neighbours


def colour_scales(adjacent: NDArray[np.bool_], colour: NDArray[np.float64]) -> ColourScales:
    """Scales from how much neighbours differ (published code; the paper has fixed ones).

    Args:
        adjacent: (N, N) bool.
        colour: (N, N) distances.
    """
    if not adjacent.any():
        return ColourScales(ignored=0.0, geodesic=5.0, neighbours=_TINY)
    nearest = _mean_of_nearest(adjacent, colour)
    steps = np.sort(colour[np.tril(adjacent)])[::-1]
    largest = float(steps[: max(1, round(_TOP * len(steps)))].mean())
    return ColourScales(
        ignored=_mean_of_nearest(second_neighbours(adjacent), colour),
        geodesic=max(5.0, min(10.0, 3 * nearest, largest / 10)),
        neighbours=max(_TINY, min(20.0, 3 * nearest, 0.2 * largest)),
    )


def boundary_connectivity(
    regions: Superpixels, colour: NDArray[np.float64], scales: ColourScales
) -> NDArray[np.float64]:
    """Length along the border over the root of the area, both soft by geodesic distance (Eq. 3-5): (N,)."""
    linked = regions.adjacent | np.outer(regions.border, regions.border)
    np.fill_diagonal(linked, val=False)
    cost = np.maximum(0, colour - scales.ignored)
    # An edge that costs nothing must not look like a missing one.
    graph = csr_matrix(np.where(linked, cost + _TINY, 0))
    near = gaussian_weights(dijkstra(graph, directed=False), scales.geodesic)
    return near[:, regions.border].sum(axis=1) / np.sqrt(near.sum(axis=1))


def weighted_contrast(
    regions: Superpixels, colour: NDArray[np.float64], background: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Contrast to what is probably background, the near first (Eq. 7-8): (N,) in [0, 1], the lower part zeroed."""
    place = gaussian_weights(distances(regions.centres), PLACE_SIGMA)
    contrast = stretched((colour * place) @ background)
    if not contrast.any():
        return contrast
    return np.where(contrast < threshold_otsu(contrast), 0.0, contrast)


def optimised(
    regions: Superpixels,
    colour: NDArray[np.float64],
    scales: ColourScales,
    background: NDArray[np.float64],
    foreground: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Saliency low in the background, high in the foreground, smooth between neighbours (Eq. 9-10): (N,)."""
    linked = linked_in_two_steps(regions.adjacent, regions.border)
    smoothness = np.where(linked, gaussian_weights(colour, scales.neighbours), 0)
    smoothness += SMALLEST_SMOOTHNESS * regions.adjacent
    laplacian = np.diag(smoothness.sum(axis=1)) - smoothness
    system = laplacian + np.diag(BACKGROUND_WEIGHT * background + foreground + _TINY)
    return np.linalg.solve(system, foreground)


def gaussian_weights(distance: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """exp(-d^2 / (2 sigma^2)), 0 beyond three sigmas; any shape."""
    return np.where(distance > 3 * sigma, 0, np.exp(-(distance**2) / (2 * sigma**2)))


def _mean_of_nearest(linked: NDArray[np.bool_], colour: NDArray[np.float64]) -> float:
    nearest = np.where(linked, colour, np.inf).min(axis=1)
    return float(nearest[np.isfinite(nearest)].mean())
