"""Outlines the regions of an object as polygons that fill to exactly the same pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.predict.regions import Box, connected

TOLERANCE = 0.49
"""How far a simplified outline may move, in half pixels. An outline runs a quarter of a pixel inside the edge of its
object, as far from the middles of the pixels on both sides: so none of them changes sides below 0.5."""


class Region(NamedTuple):
    """A connected part of an object.

    Args:
        box: around it.
        pixels: how many it has.
        score: mean saliency in it, in [0, 1].
        outline: (N, 2) float32, x and y of the corners of a closed polygon; the first pixel of a photo reaches from 0
            to 1. Holes are joined to it by lines that are passed twice.
    """

    box: Box
    pixels: int
    score: float
    outline: NDArray[np.float32]


def regions_of(found: NDArray[np.bool_], prob: NDArray[np.float32]) -> tuple[Region, ...]:
    """The connected regions of an object, in the order of `regions.boxes_of`.

    Args:
        found: the object, (H, W) bool.
        prob: the saliency, (H, W) float32 in [0, 1].
    """
    labels, parts = connected(found)
    regions = []
    for label, box, pixels in parts:
        window = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
        region = labels[window] == label
        score = float(prob[window][region].mean(dtype=np.float64))
        outline = outline_of(region) + np.array([box.left, box.top], np.float32)
        regions.append(Region(box, pixels, score, outline))
    return tuple(regions)


def outline_of(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """One polygon around a connected region (H, W) bool, with its holes: (N, 2) float32 as of `Region`.

    A pixel belongs to the region where its middle lies within the polygon, by the even-odd rule as by that of winding
    numbers.
    """
    halves = np.repeat(np.repeat(region.astype(np.uint8), 2, axis=0), 2, axis=1)
    # The first contour is the outer one; a connected region has one, and the others are holes.
    contours, _ = cv2.findContours(halves, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [cv2.approxPolyDP(line, TOLERANCE, True)[:, 0].astype(np.float32) for line in contours]
    polygon = _joined(lines[0], lines[1:]) if len(lines) > 1 else lines[0]
    return (polygon + np.float32(0.5)) * np.float32(0.5)


def _joined(outer: NDArray[np.float32], holes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One polygon of all: at the corner that is nearest to a hole, a line leads there, around it, and back."""
    from scipy.spatial import KDTree  # takes longer to load than most photos take to outline

    distances, nearest = KDTree(outer).query(np.concatenate(holes))
    hanging: dict[int, list[NDArray[np.float32]]] = {}
    start = 0
    for hole in holes:
        there = start + int(distances[start : start + len(hole)].argmin())
        corner = int(nearest[there])
        around = np.roll(hole, start - there, axis=0)
        hanging.setdefault(corner, []).extend([around, around[:1], outer[corner : corner + 1]])
        start += len(hole)
    parts, last = [], 0
    for corner in sorted(hanging):
        parts += [outer[last : corner + 1], *hanging[corner]]
        last = corner + 1
    return np.concatenate([*parts, outer[last:]])
