"""The alpha of hair, fur and other soft edges, solved for in a band around the object's outline.

Closed-form matting (Levin, Lischinski and Weiss, 2008) or KNN matting (Chen, Li and Tang, 2013), both by pymatting. A
saliency map is cut into an object; how much of it lies in the pixels near its outline is unknown, and is solved for
from the colours of the photo.
"""

import importlib.util
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.config import Matting
from act2sal.errors import MissingPackageError
from act2sal.predict.selection import grown
from act2sal.predict.upsampling import enlarged

BAND = 0.06
"""Half the width of the unknown band, as a share of the square root of the object's area."""

NARROWEST = 3
"""Least half width of the band, in pixels of the photo that is solved."""

SIDE = 640
"""Longest side, in pixels, at which the alpha is solved; a larger part of a photo is shrunk to it."""

Part = tuple[slice, slice]


def require_pymatting() -> None:
    """Make sure that pymatting is installed.

    Raises:
        MissingPackageError: it is not.
    """
    if importlib.util.find_spec("pymatting") is None:
        raise MissingPackageError('--matting needs pymatting: pip install "act2sal[matting]"')


def matted(photo: NDArray[np.uint8], shape: NDArray[np.bool_], matting: Matting) -> NDArray[np.float32]:
    """Alpha of an object from its rough shape and the photo.

    The part of the photo around the object is shrunk to at most `SIDE` pixels, solved, and enlarged along the edges
    of the photo, so that the cost does not grow with the photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        shape: (H, W) bool, the object.
        matting: method.

    Returns:
        (H, W) float32 in [0, 1]: 1 well inside the shape, 0 well outside. A shape without an inside or an outside is
        returned as it is.

    Raises:
        MissingPackageError: pymatting is not installed.
    """
    require_pymatting()
    alpha = shape.astype(np.float32)
    area = int(shape.sum())
    if area == 0 or area == shape.size:
        return alpha
    part = _part_around(shape, round(3 * BAND * area**0.5) + 2 * NARROWEST)
    inside, photo_part = alpha[part], photo[part]
    scale = min(1, SIDE / max(inside.shape))
    size = (max(1, round(scale * inside.shape[1])), max(1, round(scale * inside.shape[0])))
    small = np.asarray(cv2.resize(photo_part, size, interpolation=cv2.INTER_AREA), np.uint8)
    trimap = trimap_of(cv2.resize(inside, size, interpolation=cv2.INTER_AREA) >= 0.5)
    if not (trimap == 0).any() or not (trimap == 1).any():
        return alpha
    solved = _solve(small, trimap, matting)
    alpha[part] = (
        solved if solved.shape == inside.shape else enlarged(solved, np.ascontiguousarray(photo_part))
    )
    return alpha


def trimap_of(shape: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 well inside a shape, 0 well outside, 0.5 in the band around its outline: (H, W) bool -> (H, W) float64."""
    radius = max(NARROWEST, round(BAND * int(shape.sum()) ** 0.5))
    soft = shape.astype(np.float32)
    trimap = np.full(shape.shape, 0.5)
    trimap[grown(soft, radius) == 0] = 0
    trimap[grown(soft, -radius) == 1] = 1
    return trimap


def _part_around(shape: NDArray[np.bool_], margin: int) -> Part:
    """Rows and columns of the shape, with a margin on all sides as far as there are pixels."""
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )


def _solve(photo: NDArray[np.uint8], trimap: NDArray[np.float64], matting: Matting) -> NDArray[np.float32]:
    """Alpha (h, w) float32 of a photo (h, w, 3) and its trimap (h, w)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatting remarks on trimaps and on solvers that stop early
        from pymatting import estimate_alpha_cf, estimate_alpha_knn

        estimate = {"closed-form": estimate_alpha_cf, "knn": estimate_alpha_knn}[matting]
        alpha = estimate(photo / 255, trimap)
    return np.clip(alpha, 0, 1).astype(np.float32)
