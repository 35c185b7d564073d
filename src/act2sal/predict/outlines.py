"""The regions of an object as polygons, from which exactly the same pixels can be filled again."""

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
    polygon = lines[0]
    for hole in lines[1:]:
        polygon = _joined(polygon, hole)
    return (polygon + np.float32(0.5)) * np.float32(0.5)


def _joined(polygon: NDArray[np.float32], hole: NDArray[np.float32]) -> NDArray[np.float32]:
    """One polygon of both, over the shortest way between two of their corners and back."""
    distances = np.square(polygon[:, None] - hole[None]).sum(axis=2)
    here, there = np.unravel_index(distances.argmin(), distances.shape)
    around = np.roll(hole, -there, axis=0)
    return np.concatenate([polygon[: here + 1], around, around[:1], polygon[here:]])
