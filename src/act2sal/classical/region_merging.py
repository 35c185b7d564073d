"""Regions of ever larger scale, as HS needs them (Yan, Xu, Shi, Jia, CVPR 2013, Section 3.1).

The scale of a region is the side of the largest square inside it (Eq. 1). A region below the scale that is wanted
joins the neighbour whose mean colour is nearest. Regions touch at edges and at corners of pixels, as those of the
authors' maps do.
"""

import numpy as np
from numpy.typing import NDArray

from act2sal.classical.superpixels import means
from act2sal.runtime.compiled import compiled


def flat_regions(photo: NDArray[np.uint8], tolerance: int) -> NDArray[np.int64]:
    """Pixels that are linked by steps of at most `tolerance` grey values in every channel, by pixels side by side.

    (H, W, 3) uint8 -> (H, W) int64, 0..N-1.
    """
    labels: NDArray[np.int64] = _numbered(_linked(photo.astype(np.int64), tolerance))
    return labels


def region_scales(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Side of the largest square inside each region, in pixels (Eq. 1): (H, W), 0..N-1 -> (N,)."""
    scales: NDArray[np.int64] = _largest_squares(labels, int(labels.max()) + 1)
    return scales


def merged(
    labels: NDArray[np.int64], luv: NDArray[np.float64], scale: int, *, largest_last: bool = False
) -> NDArray[np.int64]:
    """Join each region below a scale with the neighbour most like it, until none is left.

    Args:
        labels: (H, W), 0..N-1.
        luv: (H, W, 3) CIELUV.
        scale: in pixels.
        largest_last: the regions of fewest pixels come first; else those of the lowest scale, as in the paper.

    Returns:
        (H, W) int64, 0..M-1.
    """
    sizes, scales = np.bincount(labels.ravel()), region_scales(labels)
    order = np.argsort(sizes if largest_last else scales, kind="stable")
    boxes = _boxes(labels, len(sizes))
    parents = _merge(labels, means(luv, labels, sizes), sizes, scales, boxes, order, scale)
    joined: NDArray[np.int64] = _numbered(parents[labels])
    return joined


@compiled
def _root(parents, region):  # type: ignore[no-untyped-def]
    """The region that a region is part of by now."""
    while parents[region] != region:
        parents[region] = parents[parents[region]]
        region = parents[region]
    return region


@compiled
def _linked(photo, tolerance):  # type: ignore[no-untyped-def]
    """For each pixel, the first pixel of what it is linked with: (H, W)."""
    height, width, _ = photo.shape
    parents = np.arange(height * width)
    for row in range(height):
        for column in range(width):
            for down, across in ((1, 0), (0, 1)):
                if row < down or column < across:
                    continue
                step = 0
                for channel in range(3):
                    change = photo[row, column, channel] - photo[row - down, column - across, channel]
                    step = max(step, abs(change))
                if step <= tolerance:
                    one = _root(parents, row * width + column)
                    other = _root(parents, (row - down) * width + column - across)
                    parents[max(one, other)] = min(one, other)
    for pixel in range(height * width):
        parents[pixel] = _root(parents, pixel)
    return parents.reshape(height, width)


@compiled
def _numbered(labels):  # type: ignore[no-untyped-def]
    """The same regions with the numbers 0..N-1, in the order in which they are met."""
    numbers = np.full(labels.max() + 1, -1)
    result = np.empty_like(labels)
    met = 0
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            label = labels[row, column]
            if numbers[label] < 0:
                numbers[label] = met
                met += 1
            result[row, column] = numbers[label]
    return result


@compiled
def _largest_squares(labels, count):  # type: ignore[no-untyped-def]
    """The side of the largest square of each region, by the sides of those that end at each pixel."""
    height, width = labels.shape
    largest = np.zeros(count, np.int64)
    above, current = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            side = 1
            if row > 0 and column > 0:
                alike = labels[row - 1, column] == labels[row, column - 1] == labels[row - 1, column - 1]
                if alike and labels[row - 1, column] == label:
                    side += min(above[column], current[column - 1], above[column - 1])
            current[column] = side
            largest[label] = max(largest[label], side)
        above, current = current, above
    return largest


@compiled
def _boxes(labels, count):  # type: ignore[no-untyped-def]
    """Bottom, right, top and left of each region: (N, 4)."""
    height, width = labels.shape
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, 2], boxes[:, 3] = height, width
    for row in range(height):
        for column in range(width):
            box = boxes[labels[row, column]]
            box[0], box[1] = max(box[0], row + 1), max(box[1], column + 1)
            box[2], box[3] = min(box[2], row), min(box[3], column)
    return boxes


@compiled
def _neighbours(labels, count):  # type: ignore[no-untyped-def]
    """Lists of neighbours: the region and the next entry of each entry, the first and last entry of each region."""
    height, width = labels.shape
    neighbour = np.empty(8 * height * width, np.int32)
    following = np.full(8 * height * width, -1, np.int32)
    first, last = np.full(count, -1), np.full(count, -1)
    entries = 0
    for row in range(height):
        for column in range(width):
            for down, across in ((0, 1), (1, -1), (1, 0), (1, 1)):
                r, c = row + down, column + across
                if r >= height or c < 0 or c >= width or labels[r, c] == labels[row, column]:
                    continue
                pair = (labels[row, column], labels[r, c])
                for region, other in (pair, pair[::-1]):
                    if first[region] >= 0 and neighbour[last[region]] == other:
                        continue
                    neighbour[entries] = other
                    if first[region] < 0:
                        first[region] = entries
                    else:
                        following[last[region]] = entries
                    last[region] = entries
                    entries += 1
    return neighbour, following, first, last


@compiled
def _nearest(region, colours, parents, neighbour, following, first):  # type: ignore[no-untyped-def]
    """The neighbour of the most similar colour; -1 where there is none."""
    nearest, least = -1, np.inf
    entry = first[region]
    while entry >= 0:
        other = _root(parents, neighbour[entry])
        neighbour[entry] = other
        if other not in (region, nearest):
            gap = 0.0
            for channel in range(3):
                gap += (colours[other, channel] - colours[region, channel]) ** 2
            if gap < least:
                nearest, least = other, gap
        entry = following[entry]
    return nearest


@compiled
def _around(one, other, scale, shape):  # type: ignore[no-untyped-def]
    """Where squares that hold pixels of two regions can be: the smaller of their boxes, widened."""
    areas = [(box[0] - box[2]) * (box[1] - box[3]) for box in (one, other)]
    bottom, right, top, left = one if areas[0] <= areas[1] else other
    margin = scale - 1
    return (
        min(bottom + margin, shape[0]),
        min(right + margin, shape[1]),
        max(top - margin, 0),
        max(left - margin, 0),
    )


@compiled
def _holds_square(labels, parents, box, region, scale):  # type: ignore[no-untyped-def]
    """Whether a square of that side lies inside a region and a box."""
    bottom, right, top, left = box
    above, current = np.zeros(right - left + 1, np.int64), np.zeros(right - left + 1, np.int64)
    for row in range(top, bottom):
        for column in range(left, right):
            place, side = column - left, 0
            if _root(parents, labels[row, column]) == region:
                side = 1 + min(above[place], above[place + 1], current[place])
                if side >= scale:
                    return True
            current[place + 1] = side
        above, current = current, above
    return False


@compiled
def _merge(labels, colours, sizes, scales, boxes, order, scale):  # type: ignore[no-untyped-def]
    """For each region, the one that it is part of in the end. Colours, sizes, scales and boxes are used up."""
    parents = np.arange(len(sizes))
    neighbour, following, first, last = _neighbours(labels, len(sizes))
    for region in order:
        if scales[region] >= scale:
            continue
        target = _nearest(region, colours, parents, neighbour, following, first)
        if target < 0:
            continue
        parents[region] = target
        following[last[target]] = first[region]
        last[target] = last[region]
        total = sizes[region] + sizes[target]
        colours[target] = (sizes[region] * colours[region] + sizes[target] * colours[target]) / total
        sizes[target] = total
        seam = _around(boxes[region], boxes[target], scale, labels.shape)
        boxes[target, :2] = np.maximum(boxes[target, :2], boxes[region, :2])
        boxes[target, 2:] = np.minimum(boxes[target, 2:], boxes[region, 2:])
        large_enough = scales[target] < scale and total >= scale * scale
        if large_enough and _holds_square(labels, parents, seam, target, scale):
            scales[target] = scale
    for region in range(len(parents)):
        parents[region] = _root(parents, region)
    return parents
