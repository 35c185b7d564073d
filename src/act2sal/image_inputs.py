"""Pictures as people hold them: a path, a Pillow image, an array or a tensor."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.images import read_photo


class TensorLike(Protocol):
    """A PyTorch tensor, without importing PyTorch."""

    def detach(self) -> Any:
        """The values without their gradient."""


ImageInput: TypeAlias = str | Path | Image.Image | NDArray[Any] | TensorLike
"""A path; a Pillow image; an array (H, W, 3) or (H, W), uint8 or float in [0, 1]; a tensor of such a shape, or
(3, H, W)."""


def rgb_of(image: ImageInput) -> NDArray[np.uint8]:
    """Any `ImageInput` as (H, W, 3) uint8 RGB.

    Raises:
        ImageError: a path that cannot be read as a photo.
        ValueError: an array of another shape, kind or range.
        TypeError: something else.
    """
    if isinstance(image, str | Path):
        return read_photo(Path(image))
    if isinstance(image, Image.Image):
        return np.array(image.convert("RGB"))
    if not isinstance(image, np.ndarray) and hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"a picture is a path, a Pillow image, an array or a tensor, not {type(image).__name__}"
        )
    return _rgb_of_array(image)


def _rgb_of_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim == 3 and array.shape[-1] not in (3, 4) and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] not in (3, 4) or 0 in array.shape:
        raise ValueError(f"a picture has the shape (H, W, 3), (H, W) or (3, H, W), not {array.shape}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array[..., :3])
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ValueError("an array is uint8, or float with values in [0, 1]")
    return np.round(array[..., :3] * 255).astype(np.uint8)
