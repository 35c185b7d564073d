"""A photo and its saliency put together: cut-outs, tints, other backgrounds.

Throughout: photo (H, W, 3) uint8 RGB; alpha (H, W) float32 in [0, 1], the share of the object in each pixel.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

EDGE_REACH = 1 / 20
"""How far from sure object and sure ground an edge pixel can lie, as a share of the longer side: 16 pixels of a map
of 320 x 320."""

SURE = 0.9
"""Alpha above which a pixel is surely object; below 1 - SURE it is surely ground."""

TINT = (255, 0, 0)
"""Colour of saliency in an overlay, RGB."""

TINT_STRENGTH = 0.6
"""Share of the tint in a pixel that is surely object."""

BLUR_SIDE = 1 / 30
"""Window of one pass of the blurred background, as a share of the longer side."""

BLUR_PASSES = 3
"""Passes of a box; three come near to a Gaussian."""

GRID = 512
"""Most samples along a side from which means over windows are taken: a window is many of them wide."""

LEAST_WEIGHT = 1e-4
"""Mean weight in a window below which there is no mean to take; one sample of the largest window has 4e-4."""


def foreground_colors(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of the object alone, (H, W, 3) float32 in [0, 255]: at its edges without those of the ground.

    An edge pixel lies near sure object and near sure ground. It moves by 1 - alpha^2 towards the mean colour of the
    sure object around it. Elsewhere, where a soft alpha is doubt and no mixture, the photo stays as it is.

    Differs: no matting equation is solved. An alpha from a saliency map is softer than the edge in the photo, and the
    equation then overshoots.
    """
    pixels = photo.astype(np.float32)
    object_color, near_object = _mean_color(photo, (alpha > SURE).astype(np.float32), 2 * EDGE_REACH)
    _, near_ground = _mean_color(photo, (alpha < 1 - SURE).astype(np.float32), 2 * EDGE_REACH)
    edge = near_object & near_ground
    share = np.square(alpha[edge])[:, None]
    pixels[edge] = share * pixels[edge] + (1 - share) * object_color[edge]
    return pixels


def cutout(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The object on nothing, (H, W, 4) uint8 RGBA; what is wholly transparent is black and gives nothing away."""
    opacity = np.round(alpha * 255).astype(np.uint8)
    colors = _levels(foreground_colors(photo, alpha))
    colors[opacity == 0] = 0
    return np.dstack([colors, opacity])


def overlay(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo with its object tinted, (H, W, 3) uint8 RGB."""
    share = (TINT_STRENGTH * alpha)[..., None]
    return _levels((1 - share) * photo + share * np.array(TINT, np.float32))


def on_background(
    photo: NDArray[np.uint8], alpha: NDArray[np.float32], background: NDArray[np.uint8] | NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The object before a background (H, W, 3) or (3,) in [0, 255], as (H, W, 3) uint8 RGB."""
    share = alpha[..., None]
    return _levels(share * foreground_colors(photo, alpha) + (1 - share) * background)


def blurred_ground(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """The photo blurred without the colours of its object, (H, W, 3) float32 in [0, 255].

    A mean over the ground around each pixel; the photo itself where no ground is near.
    """
    blurred, near = _mean_color(photo, 1 - alpha, BLUR_SIDE, passes=BLUR_PASSES)
    return np.where(near[..., None], blurred, photo.astype(np.float32))


def cover(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of a picture (h, w, 3) uint8 at `size` = (height, width): scaled until it covers, then cropped."""
    height, width = size
    return np.array(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.BILINEAR))


def _mean_color(
    photo: NDArray[np.uint8], weight: NDArray[np.float32], window: float, *, passes: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weighted mean colour around each pixel, (H, W, 3) float32, and where there is any weight, (H, W) bool.

    Args:
        photo: (H, W, 3) uint8.
        weight: (H, W) float32 in [0, 1].
        window: side of the square around the pixel, as a share of the longer side.
        passes: how often the mean is taken.
    """
    height, width = weight.shape
    step = math.ceil(max(height, width) / GRID)
    rows, columns = (slice(min(step // 2, length - 1), None, step) for length in (height, width))
    sums = np.dstack([photo[rows, columns] * weight[rows, columns, None], weight[rows, columns]])
    side = _odd(window * max(sums.shape))
    for _ in range(passes):
        sums = cv2.blur(sums, (side, side), borderType=cv2.BORDER_REFLECT)
    sums = np.asarray(cv2.resize(sums, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    near = sums[..., 3] > LEAST_WEIGHT
    return sums[..., :3] / np.maximum(sums[..., 3:], np.float32(LEAST_WEIGHT)), near


def _odd(length: float) -> int:
    """The odd number of pixels, at least 3, nearest to a length."""
    return max(3, 2 * round((length - 1) / 2) + 1)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
