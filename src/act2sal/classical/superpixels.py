"""The ground of the classical methods: superpixels, their colours and places, and who is whose neighbour."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from act2sal.data.images import SaliencyMethod, resize_map, resize_photo

WORKING_SIDE = 400
"""Longest side, in pixels, at which a method looks at a photo; that of most photos the methods were made for."""

SMALLEST_PIECE = 0.25
"""Share of a superpixel's size below which a piece is no superpixel of its own."""

ITERATIONS = 5
"""Of SLIC. Published code: 10, which moves the maps little and takes longer."""


@dataclass(frozen=True)
class Superpixels:
    """N superpixels of a photo.

    labels: (H, W) int64, 0..N-1. sizes: (N,) pixels. rgb: (N, 3) mean colour in [0, 1]. lab: (N, 3) CIELAB of the
    mean colour. centres: (N, 2) mean row and column as shares of height and width. adjacent: (N, N) bool, symmetric,
    without the diagonal. border: (N,) bool, those that reach into the border of the photo.
    """

    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    rgb: NDArray[np.float64]
    lab: NDArray[np.float64]
    centres: NDArray[np.float64]
    adjacent: NDArray[np.bool_]
    border: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sizes)


def superpixels(
    photo: NDArray[np.uint8], *, pixels_each: int, compactness: float, border_width: int
) -> Superpixels:
    """Segment a photo by SLIC and gather what the methods ask of its superpixels.

    Args:
        photo: (H, W, 3) uint8 RGB.
        pixels_each: pixels that a superpixel has, about.
        compactness: weight of nearness beside likeness of colour.
        border_width: in pixels; a superpixel with a pixel less than this from the edge is on the border.
    """
    height, width = photo.shape[:2]
    labels = segmented(photo, count=max(1, round(height * width / pixels_each)), compactness=compactness)
    sizes = np.bincount(labels.ravel())
    rgb = means(photo / 255, labels, sizes)
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([(rows + 1) / height, (columns + 1) / width], axis=-1)
    return Superpixels(
        labels=labels,
        sizes=sizes,
        rgb=rgb,
        lab=cielab(rgb[None])[0].astype(np.float64),
        centres=means(places, labels, sizes),
        adjacent=adjacency(labels, len(sizes)),
        border=on_border(labels, len(sizes), border_width),
    )


def segmented(photo: NDArray[np.uint8], *, count: int, compactness: float) -> NDArray[np.int64]:
    """Superpixels by SLIC (Achanta et al., 2012).

    Pieces smaller than a quarter of a superpixel join a neighbour, as in its authors' code.

    Args:
        photo: (H, W, 3) uint8 RGB.
        count: superpixels wanted; about as many are made.
        compactness: weight of nearness beside likeness of colour, in units of CIELAB.

    Returns:
        (H, W) int64, 0..N-1.
    """
    lab = cielab(photo)
    # slic() stretches what it is given to [0, 1].
    span = float(lab.max() - lab.min()) or 1.0
    labels = slic(
        lab,
        n_segments=count,
        compactness=compactness / span,
        max_num_iter=ITERATIONS,
        convert2lab=False,
        min_size_factor=SMALLEST_PIECE,
        start_label=0,
    )
    return numbered(labels)


def numbered(labels: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.int64]:
    """The same regions with the numbers 0..N-1: (H, W) -> (H, W) int64."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def cielab(colours: NDArray[np.uint8] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Convert sRGB (H, W, 3), uint8 or float in [0, 1], to CIELAB (D65) float32."""
    scale = 255 if colours.dtype == np.uint8 else 1
    return np.asarray(cv2.cvtColor((colours / scale).astype(np.float32), cv2.COLOR_RGB2LAB))


def means(
    values: NDArray[np.float64], labels: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of values (H, W, C) over each superpixel: (N, C)."""
    flat = labels.ravel()
    sums = [np.bincount(flat, values[..., c].ravel(), len(sizes)) for c in range(values.shape[-1])]
    return np.stack(sums, axis=1) / sizes[:, None]


def adjacency(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which superpixels share an edge of a pixel: (N, N) bool, symmetric, False on the diagonal."""
    adjacent = np.zeros((count, count), bool)
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        adjacent[one.ravel(), other.ravel()] = True
    adjacent |= adjacent.T
    np.fill_diagonal(adjacent, val=False)
    return adjacent


def on_border(labels: NDArray[np.int64], count: int, border_width: int) -> NDArray[np.bool_]:
    """Which superpixels have a pixel less than `border_width` pixels from the edge: (N,) bool."""
    inside = labels[border_width:-border_width, border_width:-border_width]
    rim = np.bincount(labels.ravel(), minlength=count) - np.bincount(inside.ravel(), minlength=count)
    return rim > 0


def second_neighbours(adjacent: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Neighbours and theirs, (N, N) bool, without the diagonal."""
    reach = adjacent.astype(np.float32)
    linked = (reach @ reach > 0) | adjacent
    np.fill_diagonal(linked, val=False)
    return linked


def linked_in_two_steps(adjacent: NDArray[np.bool_], border: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Neighbours and theirs, and all regions on the border with each other: (N, N) bool, without the diagonal."""
    linked = second_neighbours(adjacent) | np.outer(border, border)
    np.fill_diagonal(linked, val=False)
    return linked


def distances(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distance of each pair of rows of (N, D): (N, N)."""
    return np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(axis=-1))


def stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Any shape, stretched to [0, 1]; zeros where all values are equal but for rounding."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > 1e-9 else np.zeros_like(values)


def at_working_size(photo: NDArray[np.uint8], method: SaliencyMethod) -> NDArray[np.float32]:
    """Run a method on a photo whose longest side is at most `WORKING_SIDE` and enlarge its map again.

    (H, W, 3) uint8 -> (H, W) float32 in [0, 1].
    """
    height, width = photo.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1:
        return method(photo)
    small = resize_photo(photo, (max(1, round(height * scale)), max(1, round(width * scale))))
    return resize_map(method(small), (height, width))
