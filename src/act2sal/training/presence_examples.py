"""Pictures with and without a salient object, made of photos and of what a detector finds in them; no mask is read.

With: the photo, and a crop that holds the object. Without: a crop that holds nothing of it, the photo with the object
painted over, the photo cut into shuffled tiles, a rendered background. A crop without the object has a partner with
it, of the same photo, aspect and size in pixels, so that neither shape nor resolution tells them apart.

Differs: not in the paper.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from act2sal.data.images import resize_map, resize_photo
from act2sal.scenes.backgrounds import background

ExampleKind = Literal[
    "photo",
    "crop with the object",
    "crop without the object",
    "object painted over",
    "tiles shuffled",
    "rendered background",
]
WITH: tuple[ExampleKind, ...] = ("photo", "crop with the object")
"""The kinds that hold an object."""

SCALES = np.arange(0.9, 0.29, -0.05)
"""Sides of a crop without the object, as shares of the photo's; the largest that fits is taken."""
MARGIN = 0.02
"""Distance of a crop, or of the paint, from the object, as a share of the photo's longer side."""
PAINTED_SIDE = 160
"""Longer side, in pixels, at which an object is painted over."""
NOISE = 6
"""Standard deviation of the noise on the paint, in 8-bit levels."""
TILES = 4
"""Shuffled tiles along a side."""
RENDERED_SIZE = (240, 320)
"""Height and width of a rendered background, in pixels."""

Window = tuple[int, int, int, int]
"""Top, left, height, width."""


@dataclass(frozen=True)
class Example:
    """A picture (H, W, 3) uint8 RGB; native: it was cut out of its photo without being shrunk."""

    kind: ExampleKind
    picture: NDArray[np.uint8]
    native: bool = True

    @property
    def holds_object(self) -> bool:
        """Whether there is an object in it."""
        return self.kind in WITH


def examples(photo: NDArray[np.uint8], found: NDArray[np.bool_], rng: Generator) -> Iterator[Example]:
    """All that can be made of a photo (H, W, 3) in which the object (H, W) was found."""
    avoided = widened(found)
    yield Example("photo", photo)
    yield from crop_pair(photo, found, avoided, rng)
    if found.any():
        yield Example("object painted over", painted_over(photo, avoided, rng))
    yield Example("tiles shuffled", shuffled(photo, rng))
    yield Example("rendered background", rendered(rng))


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) grown by `MARGIN`."""
    reach = 2 * round(MARGIN * max(mask.shape)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0


def crop_pair(
    photo: NDArray[np.uint8], wanted: NDArray[np.bool_], avoided: NDArray[np.bool_], rng: Generator
) -> Iterator[Example]:
    """A crop that holds nothing of `avoided` and one that holds all of `wanted`, of the same size; or none."""
    window = window_without(avoided, rng)
    if window is None or not wanted.any():
        return
    top, left, height, width = window
    yield Example("crop without the object", photo[top : top + height, left : left + width])
    top, left, tall, wide = window_with(wanted, (height, width), rng)
    held = photo[top : top + tall, left : left + wide]
    yield Example("crop with the object", resize_photo(held, (height, width)), native=tall == height)


def window_without(avoided: NDArray[np.bool_], rng: Generator) -> Window | None:
    """A random one of the largest windows, of the photo's aspect, that hold nothing of a mask (H, W)."""
    sums = cv2.integral(avoided.astype(np.uint8))
    for scale in SCALES:
        height, width = (max(1, int(side * scale)) for side in avoided.shape)
        inside = (
            sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        )
        free = np.argwhere(inside == 0)
        if len(free):
            top, left = free[rng.integers(len(free))].tolist()
            return top, left, height, width
    return None


def window_with(wanted: NDArray[np.bool_], least: tuple[int, int], rng: Generator) -> Window:
    """A random window that holds all of a mask (H, W): of the size `least`, or as much larger as it must be."""
    rows, columns = np.nonzero(wanted)
    low, high = (int(rows.min()), int(columns.min())), (int(rows.max()) + 1, int(columns.max()) + 1)
    shape = wanted.shape
    scale = max(max(least[i], high[i] - low[i]) / shape[i] for i in (0, 1))
    size = [max(least[i], min(shape[i], int(np.ceil(shape[i] * scale - 1e-9)))) for i in (0, 1)]
    top, left = (
        int(rng.integers(max(0, high[i] - size[i]), min(low[i], shape[i] - size[i]) + 1)) for i in (0, 1)
    )
    return top, left, size[0], size[1]


def painted_over(photo: NDArray[np.uint8], mask: NDArray[np.bool_], rng: Generator) -> NDArray[np.uint8]:
    """A photo (H, W, 3) with what is under the mask (H, W) inpainted (Telea, 2004), with a little noise on it."""
    shape = (photo.shape[0], photo.shape[1])
    scale = PAINTED_SIDE / max(shape)
    small = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    hole = (resize_map(mask.astype(np.float32), small) > 0).astype(np.uint8)
    filled = cv2.inpaint(resize_photo(photo, small), hole, 5, cv2.INPAINT_TELEA).astype(np.uint8)
    paint = resize_photo(filled, shape)
    share = cv2.GaussianBlur(resize_map(hole.astype(np.float32), shape), (0, 0), 2)[..., None]
    noisy = paint + rng.normal(0, NOISE, (*shape, 1))
    return np.clip(photo * (1 - share) + noisy * share, 0, 255).astype(np.uint8)


def shuffled(photo: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """The tiles of a photo (H, W, 3) in random order, `TILES` x `TILES`, as a square."""
    side = max(1, min(photo.shape[:2]) // TILES)
    square = resize_photo(photo, (TILES * side, TILES * side))
    tiles = square.reshape(TILES, side, TILES, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    mixed: NDArray[np.uint8] = rng.permutation(tiles, axis=0).reshape(TILES, TILES, side, side, 3)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(square.shape))


def rendered(rng: Generator) -> NDArray[np.uint8]:
    """A rendered background: landscapes with sky, floors, rooms, leaves, water."""
    return np.clip(255 * background(rng, RENDERED_SIZE), 0, 255).astype(np.uint8)
