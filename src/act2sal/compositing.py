"""A photo and its saliency put together: cut-outs, tints, other backgrounds.

Throughout: photo (H, W, 3) uint8 RGB; alpha (H, W) float32 in [0, 1], the share of the object in each pixel.
"""

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


def foreground_colors(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of the object alone, (H, W, 3) float32 in [0, 255]: at its edges without those of the ground.

    An edge pixel lies near sure object and near sure ground. It moves by 1 - alpha^2 towards the mean colour of the
    sure object around it. Elsewhere, where a soft alpha is doubt and no mixture, the photo stays as it is.

    Differs: no matting equation is solved. An alpha from a saliency map is softer than the edge in the photo, and the
    equation then overshoots.
    """
    side = _odd(2 * EDGE_REACH * max(alpha.shape) + 1)
    pixels = photo.astype(np.float32)
    sure = (alpha > SURE).astype(np.float32)
    around = _mean(sure, side)
    edge = (around > 0.5 / side**2) & (_mean((alpha < 1 - SURE).astype(np.float32), side) > 0.5 / side**2)
    if not edge.any():
        return pixels
    object_color = _mean(pixels * sure[..., None], side)[edge] / around[edge][:, None]
    share = np.square(alpha[edge])[:, None]
    pixels[edge] = share * pixels[edge] + (1 - share) * object_color
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
    side = _odd(BLUR_SIDE * max(alpha.shape))
    ground = (1 - alpha).astype(np.float32)
    weighted = photo * ground[..., None]
    for _ in range(BLUR_PASSES):
        weighted, ground = _mean(weighted, side), _mean(ground, side)
    near = ground > 1e-3
    blurred = photo.astype(np.float32)
    blurred[near] = weighted[near] / ground[near][:, None]
    return blurred


def cover(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of a picture (h, w, 3) uint8 at `size` = (height, width): scaled until it covers, then cropped."""
    height, width = size
    return np.array(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.BILINEAR))


def _mean(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Mean over a window of `side` x `side`, mirrored at the borders."""
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _odd(length: float) -> int:
    return max(3, 2 * round((length - 1) / 2) + 1)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
