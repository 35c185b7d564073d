"""Conversion of colours between ICC profiles: from CMYK, grey and Lab to sRGB, and between RGB spaces."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_CONVERTED = {b"CMYK": ("CMYK",), b"GRAY": ("L", "1"), b"Lab ": ("LAB",)}
"""Modes of Pillow whose pixels a profile of that colour space describes."""


def space_of(icc_profile: object) -> bytes | None:
    """Colour space of an ICC profile, such as b"RGB "; None where the profile is damaged or missing."""
    if not isinstance(icc_profile, bytes) or len(icc_profile) < 128:
        return None
    # ICC.1:2022, 7.2: the colour space of the data, and the signature that every profile has.
    return icc_profile[16:20] if icc_profile[36:40] == b"acsp" else None


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an opaque image to RGB: by a profile of CMYK, grey or Lab, else by Pillow's formulas."""
    profile = image.info.get("icc_profile")
    if image.mode in _CONVERTED.get(space_of(profile) or b"", ()):
        source = image.convert("L") if image.mode == "1" else image
        converted = _converted(source, profile, None)
        if converted is not None:
            return converted
    return image.convert("RGB")


def in_srgb(pixels: NDArray[np.uint8], icc_profile: bytes | None) -> NDArray[np.uint8]:
    """Convert pixels (H, W, 3) uint8 from an RGB profile to sRGB; None stands for sRGB."""
    return _pixels_by(pixels, icc_profile, None)


def from_srgb(pixels: NDArray[np.uint8], icc_profile: bytes | None) -> NDArray[np.uint8]:
    """Convert pixels (H, W, 3) uint8 from sRGB to an RGB profile; None stands for sRGB."""
    return _pixels_by(pixels, None, icc_profile)


def _pixels_by(pixels: NDArray[np.uint8], source: bytes | None, target: bytes | None) -> NDArray[np.uint8]:
    if source == target:
        return pixels
    converted = _converted(Image.fromarray(pixels), source, target)
    return pixels if converted is None else np.array(converted)


def _converted(image: Image.Image, source: bytes | None, target: bytes | None) -> Image.Image | None:
    """Convert an image between two profiles, None standing for sRGB; returns None where a profile cannot be used."""
    try:
        return ImageCms.profileToProfile(
            image,
            _opened(source),
            _opened(target),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _opened(icc_profile: bytes | None) -> ImageCms.ImageCmsProfile:
    stored = ImageCms.createProfile("sRGB") if icc_profile is None else io.BytesIO(icc_profile)
    return ImageCms.ImageCmsProfile(stored)
