"""HS: hierarchical saliency detection (Yan, Xu, Shi, Jia, CVPR 2013).

Small patterns in an object or behind it look salient by themselves. So a photo is cut into three layers of ever
larger regions, cues are read in each, and a tree of regions settles what belongs together. Numbers of equations are
the paper's.

Differs: the authors' source was never published, so details are ours: the first regions are basins of scikit-image's
watershed on a gradient in coarse steps, the map is the mean over three such steps, and the energy is minimised
exactly instead of by belief propagation. The maps score like the authors' and resemble them, but do not equal them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_gradient_magnitude
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from skimage.segmentation import watershed

from act2sal.classical.superpixels import at_working_size, cielab, distances, means, numbered, stretched
from act2sal.compiled import compiled

SCALES = (5, 17, 33)
"""Side, in pixels, of the square that the regions of each layer can hold, at about 400 x 300 (Section 3.1)."""
GRADIENT_SIGMA = 0.7
"""Of the gradient whose basins are the first regions, in pixels."""
GRADIENT_STEPS = (1.0, 1.5, 2.0)
"""Steps of that gradient, in CIELAB units a pixel; smaller differences do not part two regions."""
REACH = 0.2**2
"""Square of the reach of the contrast, as a share of the photo, for a scale of 1 (Eq. 4)."""
CENTRE = 9.0
"""Strength of the preference for the middle (Eq. 5)."""
LAYER_CONFIDENCE = (0.5, 4.0, 2.0)
"""Weight of the cues of each layer (Eq. 8)."""
CONSISTENCY = (4.0, 4.0)
"""Weight of the agreement between a layer and the next (Eq. 9)."""


@dataclass(frozen=True)
class Layer:
    """labels: (H, W) int64, 0..N-1; cue: (N,) in [0, 1], saliency of each region within the layer (Eq. 6)."""

    labels: NDArray[np.int64]
    cue: NDArray[np.float64]


def hs(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency by HS: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1], zeros for a photo of one colour."""
    return at_working_size(photo, _hs)


def _hs(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    maps = [_of_one_segmentation(photo, step) for step in GRADIENT_STEPS]
    return np.mean(maps, axis=0, dtype=np.float32)


def _of_one_segmentation(photo: NDArray[np.uint8], step: float) -> NDArray[np.float32]:
    lab = cielab(photo).astype(np.float64)
    luv = cv2.cvtColor((photo / 255).astype(np.float32), cv2.COLOR_RGB2LUV).astype(np.float64)
    labels = over_segmentation(lab, step)
    layers = []
    for scale in SCALES:
        labels = merged(labels, luv, scale)
        layers.append(Layer(labels, layer_cue(labels, lab, scale)))
    return stretched(inferred(layers))[layers[0].labels].astype(np.float32)


def over_segmentation(lab: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """Basins of the gradient in steps of `step` (Section 3.1): (H, W, 3) -> (H, W) int64, 0..N-1."""
    squares = [gaussian_gradient_magnitude(lab[..., c], GRADIENT_SIGMA) ** 2 for c in range(3)]
    return numbered(watershed(np.sqrt(np.sum(squares, axis=0)) // step))


def merged(labels: NDArray[np.int64], luv: NDArray[np.float64], scale: int) -> NDArray[np.int64]:
    """Join each region too small for a square of `scale` pixels, the smallest first, with the neighbour most like it.

    Section 3.1: labels (H, W), 0..N-1, CIELUV (H, W, 3) -> labels (H, W), 0..M-1.
    """
    sizes = np.bincount(labels.ravel())
    boxes = np.array(
        [[side.stop for side in box] + [side.start for side in box] for box in find_objects(labels + 1)]
    )
    sides = np.array([largest_square(labels, boxes[region], region) for region in range(len(sizes))])
    order = np.argsort(sides, kind="stable")
    joined = labels.copy()
    _merge(joined, means(luv, labels, sizes), sizes, sides, boxes, order, scale)
    return numbered(joined)


@compiled
def largest_square(labels: NDArray[np.int64], box: NDArray[np.int64], region: int) -> int:
    """Side of the largest square inside a region, in pixels (Eq. 1).

    Args:
        labels: (H, W).
        box: bottom, right, top and left of the region.
        region: its number.
    """
    bottom, right, top, left = box
    above, current = np.zeros(right - left + 1, np.int64), np.zeros(right - left + 1, np.int64)
    largest = 0
    for row in range(top, bottom):
        for column in range(left, right):
            place = column - left
            side = 0
            if labels[row, column] == region:
                side = 1 + min(above[place], above[place + 1], current[place])
                largest = max(largest, side)
            current[place + 1] = side
        above, current = current, above
    return largest


@compiled
def _merge(labels, colours, sizes, sides, boxes, order, scale):  # type: ignore[no-untyped-def]
    """Merge in place, until each region holds a square of `scale` pixels or is the only one."""
    pending = True
    while pending:
        pending = False
        for region in order:
            if sizes[region] == 0 or sides[region] >= scale:
                continue
            nearest = _nearest_neighbour(labels, colours, boxes[region], region)
            if nearest < 0:
                continue
            _join(labels, colours, sizes, boxes, region, nearest)
            if sides[nearest] < scale:
                sides[nearest] = largest_square(labels, boxes[nearest], nearest)
                pending = pending or sides[nearest] < scale


@compiled
def _nearest_neighbour(labels, colours, box, region):  # type: ignore[no-untyped-def]
    """The neighbour of the most similar colour; -1 where there is none."""
    height, width = labels.shape
    bottom, right, top, left = box
    nearest, least = -1, np.inf
    for row in range(top, bottom):
        for column in range(left, right):
            if labels[row, column] != region:
                continue
            for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                r, c = row + down, column + across
                if r < 0 or c < 0 or r >= height or c >= width:
                    continue
                other = labels[r, c]
                if other in (region, nearest):
                    continue
                gap = ((colours[other] - colours[region]) ** 2).sum()
                if gap < least:
                    nearest, least = other, gap
    return nearest


@compiled
def _join(labels, colours, sizes, boxes, region, target):  # type: ignore[no-untyped-def]
    """Give the pixels of a region to another one."""
    bottom, right, top, left = boxes[region]
    for row in range(top, bottom):
        for column in range(left, right):
            if labels[row, column] == region:
                labels[row, column] = target
    total = sizes[region] + sizes[target]
    colours[target] = (sizes[region] * colours[region] + sizes[target] * colours[target]) / total
    sizes[target], sizes[region] = total, 0
    boxes[target, :2] = np.maximum(boxes[target, :2], boxes[region, :2])
    boxes[target, 2:] = np.minimum(boxes[target, 2:], boxes[region, 2:])


def layer_cue(labels: NDArray[np.int64], lab: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Local contrast times nearness to the middle, each stretched to [0, 1] (Eq. 4-6): (N,).

    Args:
        labels: (H, W), 0..N-1.
        lab: (H, W, 3) CIELAB.
        scale: of the layer, in pixels.
    """
    height, width = labels.shape
    sizes = np.bincount(labels.ravel())
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([(rows + 0.5) / height, (columns + 0.5) / width], axis=-1)
    near = np.exp(-(distances(means(places, labels, sizes)) ** 2) / (REACH * scale))
    contrast = (near * distances(means(lab, labels, sizes))) @ (sizes / sizes.sum())
    from_middle = ((places - 0.5) ** 2).sum(axis=-1, keepdims=True)
    middle = means(np.exp(-CENTRE * from_middle), labels, sizes)[:, 0]
    return stretched(contrast) * stretched(middle)


def inferred(layers: list[Layer]) -> NDArray[np.float64]:
    """Saliency of the regions of the finest layer at the least energy of the tree (Eq. 7-9): (N,).

    The energy is quadratic, so that its minimum is the solution of one sparse linear system.
    """
    counts = [len(layer.cue) for layer in layers]
    starts = np.concatenate([[0], np.cumsum(counts)])
    confidence = np.repeat(LAYER_CONFIDENCE, counts)
    rows, columns, values = [np.arange(starts[-1])], [np.arange(starts[-1])], [confidence.astype(float)]
    for level, weight in enumerate(CONSISTENCY):
        child = np.arange(counts[level]) + starts[level]
        parent = parents(layers[level].labels, layers[level + 1].labels) + starts[level + 1]
        weights = np.full(counts[level], weight)
        rows += [child, parent, child, parent]
        columns += [child, parent, parent, child]
        values += [weights, weights, -weights, -weights]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    cues = np.concatenate([layer.cue for layer in layers])
    return np.asarray(spsolve(coo_matrix(entries).tocsc(), confidence * cues))[: counts[0]]


def parents(fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> NDArray[np.int64]:
    """The region of the coarse layer in which each region of the fine one lies: (N,)."""
    first = np.unique(fine.ravel(), return_index=True)[1]
    return coarse.ravel()[first]
