"""Composes a photo with its saliency: cut-outs, tints, other backgrounds.

Throughout: photo (H, W, 3) uint8 RGB; alpha (H, W) float32 in [0, 1], the share of the object in each pixel.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from act2sal.runtime.compiled import compiled

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
"""Passes of a box filter; three are close to a Gaussian."""

GRID = 512
"""Most samples along a side from which means over windows are taken: a window is many of them wide."""

LEAST_WEIGHT = 1e-4
"""Mean weight in a window below which there is no mean to take; one sample of the largest window has 4e-4."""

TRANSPARENT, OPAQUE = 0.5 / 255, 254.5 / 255
"""Alpha up to which 8 bits hold 0, and from which they hold 255."""


def foreground_colors(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of the object alone, (H, W, 3) uint8 RGB: at its edges without those of the ground.

    An edge pixel is neither opaque nor transparent in 8 bits and lies near sure object and near sure ground. It moves
    by 1 - alpha^2 towards the mean colour of the sure object around it. Elsewhere, where a soft alpha is doubt and no
    mixture, the photo stays as it is.

    Differs: no matting equation is solved. An alpha from a saliency map is softer than the edge in the photo, and the
    equation then overshoots.
    """
    samples, shares = _sampled(photo), _sampled(alpha)
    near_object = _window_sums(samples, (shares > SURE).astype(np.float32), 2 * EDGE_REACH)
    near_ground = _window_sums(samples, (shares < 1 - SURE).astype(np.float32), 2 * EDGE_REACH)
    colors = photo.copy()
    _take_out_ground(colors, alpha, np.dstack([near_object, near_ground[..., 3]]))
    return colors


def cutout(
    photo: NDArray[np.uint8], alpha: NDArray[np.float32], cover: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Cut the object out: (H, W, 4) uint8 RGBA, black where it is wholly transparent.

    Args:
        photo: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32 in [0, 1].
        cover: the photo's own alpha, (H, W) uint8, with which alpha is multiplied; None: opaque.
    """
    opacity = cv2.convertScaleAbs(_within(alpha, cover), alpha=255)
    shown = cv2.copyTo(foreground_colors(photo, alpha), opacity)
    pixels = np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGB2RGBA), np.uint8)
    pixels[..., 3] = opacity
    return pixels


def _within(alpha: NDArray[np.float32], cover: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    return alpha if cover is None else alpha * (cover.astype(np.float32) / np.float32(255))


def overlay(
    photo: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    *,
    tint: tuple[int, int, int] | NDArray[np.uint8] = TINT,
) -> NDArray[np.uint8]:
    """Tint the object of a photo: (H, W, 3) uint8 RGB."""
    share = (TINT_STRENGTH * alpha)[..., None]
    return _levels((1 - share) * photo + share * np.array(tint, np.float32))


def on_background(
    photo: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    background: NDArray[np.uint8] | NDArray[np.float32],
    cover: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Put the object before a background (H, W, 3) or (3,) in [0, 255]: (H, W, 3) uint8 RGB; cover as in `cutout`."""
    share = _within(alpha, cover)[..., None]
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
    """Weighted mean colour around each pixel, (H, W, 3) float32, and where there is any weight, (H, W) bool."""
    height, width = weight.shape
    sums = _window_sums(_sampled(photo), _sampled(weight), window, passes=passes)
    sums = np.asarray(cv2.resize(sums, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    near = sums[..., 3] > LEAST_WEIGHT
    return sums[..., :3] / np.maximum(sums[..., 3:], np.float32(LEAST_WEIGHT)), near


def _sampled(values: NDArray[Any]) -> NDArray[Any]:
    """Every n-th value of (H, W, ...) along both sides, at most `GRID` of them."""
    step = math.ceil(max(values.shape[:2]) / GRID)
    rows, columns = (slice(min(step // 2, length - 1), None, step) for length in values.shape[:2])
    return values[rows, columns]


def _window_sums(
    samples: NDArray[np.uint8], weight: NDArray[np.float32], window: float, *, passes: int = 1
) -> NDArray[np.float32]:
    """Around each sample, the mean of weight times colour, and that of the weight: (h, w, 4) float32.

    Args:
        samples: (h, w, 3).
        weight: (h, w) in [0, 1].
        window: side of the square around the sample, as a share of the longer side.
        passes: how often the mean is taken.
    """
    sums = np.dstack([samples * weight[..., None], weight])
    side = _odd(window * max(sums.shape))
    for _ in range(passes):
        sums = cv2.blur(sums, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(sums, np.float32)


@compiled
def _take_out_ground(
    colors: NDArray[np.uint8], alpha: NDArray[np.float32], sums: NDArray[np.float32]
) -> None:
    """Move the edge pixels of colors (H, W, 3) as `foreground_colors` says.

    sums: (h, w, 5), interpolated bilinearly: colour and weight of sure object, weight of sure ground.
    """
    height, width = alpha.shape
    rows, columns, parts = sums.shape
    here = np.empty(parts, np.float32)
    for y in range(height):
        down = max((y + 0.5) * rows / height - 0.5, 0.0)
        above = min(int(down), rows - 1)
        below = min(above + 1, rows - 1)
        down -= above
        for x in range(width):
            share = alpha[y, x]
            if not TRANSPARENT < share < OPAQUE:
                continue
            across = max((x + 0.5) * columns / width - 0.5, 0.0)
            left = min(int(across), columns - 1)
            right = min(left + 1, columns - 1)
            across -= left
            for part in range(parts):
                upper = (1 - across) * sums[above, left, part] + across * sums[above, right, part]
                lower = (1 - across) * sums[below, left, part] + across * sums[below, right, part]
                here[part] = (1 - down) * upper + down * lower
            if here[3] > LEAST_WEIGHT and here[4] > LEAST_WEIGHT:
                share *= share
                for k in range(3):
                    value = share * colors[y, x, k] + (1 - share) * here[k] / here[3]
                    colors[y, x, k] = min(max(int(value + 0.5), 0), 255)


def _odd(length: float) -> int:
    """The odd number of pixels, at least 3, nearest to a length."""
    return max(3, 2 * round((length - 1) / 2) + 1)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
