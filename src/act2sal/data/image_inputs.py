"""Pictures as users pass them: a path, a Pillow image, an array or a tensor."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import (
    read_photo,
    read_with_opacity,
    reason_of,
    upright_opacity,
    upright_rgb,
)
from act2sal.data.transparency import Opacity


@runtime_checkable
class TensorLike(Protocol):
    """A PyTorch tensor, without importing PyTorch."""

    def detach(self) -> Any:
        """The values without their gradient."""

    def is_floating_point(self) -> bool:
        """Whether the values are floats, of any width."""


ImageInput: TypeAlias = str | Path | Image.Image | NDArray[Any] | TensorLike
"""A path; a Pillow image of any mode; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or with the channels in
front; a tensor of such a shape. Values: uint8, bool, float in [0, 1], or uint16 over its whole range."""

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGB with alpha."""


def rgb_of(image: ImageInput) -> NDArray[np.uint8]:
    """Any `ImageInput` as (H, W, 3) uint8 RGB; may share the memory of an array.

    Paths and Pillow images follow the rules of `images.read_photo`: both are turned upright by their EXIF
    orientation, and alpha is laid on a plain ground, as it is for arrays. Where the channels could lie in front and
    behind, they lie behind in arrays and in front in tensors.

    Raises:
        ImageError: a path that cannot be read as a photo.
        ValueError: a Pillow image that cannot be loaded; an array of another shape, kind or range.
        TypeError: something else.
    """
    if isinstance(image, str | Path):
        return read_photo(Path(image))
    if isinstance(image, Image.Image):
        return _rgb_of_pillow(image)
    if isinstance(image, np.ndarray):
        return _rgb_of_array(image, channels_first=False)
    if isinstance(image, TensorLike):
        return _rgb_of_array(_array_of(image), channels_first=True)
    raise TypeError(f"a picture is a path, a Pillow image, an array or a tensor, not {type(image).__name__}")


def opacity_of(image: ImageInput) -> Opacity | None:
    """The transparency of any `ImageInput`; None where it is opaque.

    Raises:
        ImageError, ValueError, TypeError: as `rgb_of`.
    """
    if isinstance(image, str | Path):
        return read_with_opacity(Path(image))[1]
    if isinstance(image, Image.Image):
        return upright_opacity(image)
    if isinstance(image, np.ndarray):
        pixels = _channels_last(image, channels_first=False)
    else:
        pixels = _channels_last(_array_of(image), channels_first=True)
    if pixels.shape[-1] < 4:
        return None
    return upright_opacity(Image.fromarray(np.ascontiguousarray(_eight_bit(pixels))))


def _rgb_of_pillow(image: Image.Image) -> NDArray[np.uint8]:
    if 0 in image.size:
        raise ValueError(f"a picture has pixels, and this one is {image.width} x {image.height}")
    try:
        return upright_rgb(image)
    except Exception as error:  # Pillow's decoders raise errors of many types on malformed bytes
        raise ValueError(f"the Pillow image cannot be used: {reason_of(error)}") from error


def _array_of(tensor: TensorLike) -> NDArray[Any]:
    values = tensor.detach()
    # NumPy has no bfloat16.
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


def _rgb_of_array(array: NDArray[Any], *, channels_first: bool) -> NDArray[np.uint8]:
    pixels = _eight_bit(_channels_last(array, channels_first=channels_first))
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    if pixels.shape[-1] == 4:
        return upright_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
    return np.ascontiguousarray(pixels)


def _channels_last(array: NDArray[Any], *, channels_first: bool) -> NDArray[Any]:
    """Bring an array of any accepted shape to (H, W, C)."""
    if array.ndim == 2 and array.size:
        return array[..., None]
    if array.ndim == 3 and array.size:
        front, behind = array.shape[0] in CHANNELS, array.shape[-1] in CHANNELS
        if front and (channels_first or not behind):
            return array.transpose(1, 2, 0)
        if behind:
            return array
    raise ValueError(f"a picture has the shape (H, W), (H, W, 3) or (3, H, W), not {array.shape}")


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return np.round(values / 257).astype(np.uint8)  # 65535 / 255
    if values.dtype.kind != "f":
        raise ValueError(f"the values of a picture are uint8, uint16, bool or float, not {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("a picture of floats holds values that are not finite")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ValueError(f"a picture of floats has values in [0, 1], not in [{low:g}, {high:g}]")
    return np.round(values.astype(np.float64) * 255).astype(np.uint8)
