"""Conversion of colours between ICC profiles: from CMYK, grey and Lab to sRGB, and between RGB spaces."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_CONVERTED = {b"CMYK": "CMYK", b"Lab ": "LAB"}
"""The mode of Pillow whose pixels a profile of that colour space describes, beside those of grey."""


def space_of(icc_profile: object) -> bytes | None:
    """Colour space of an ICC profile, such as b"RGB "; None where the profile is damaged or missing."""
    if not isinstance(icc_profile, bytes) or len(icc_profile) < 128:
        return None
    # ICC.1:2022, 7.2: the colour space of the data, and the signature that every profile has.
    return icc_profile[16:20] if icc_profile[36:40] == b"acsp" else None


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an opaque image to RGB: by a profile of CMYK, grey or Lab, else by Pillow's formulas."""
    profile = image.info.get("icc_profile")
    curve = grey_curve(profile) if image.mode in ("L", "1") else None
    if curve is not None:
        return image.convert("L").point(np.round(curve).astype(int).tolist()).convert("RGB")
    if image.mode == _CONVERTED.get(space_of(profile) or b""):
        converted = _converted(image, profile, None, exact=image.mode == "LAB")
        if converted is not None:
            return converted
    return image.convert("RGB")


def grey_curve(icc_profile: bytes | None) -> NDArray[np.float64] | None:
    """What the 256 levels of a grey profile are in sRGB, (256,); None where there is none that can be used.

    Deeper values lie between them, as Pillow converts only 8 bits.
    """
    if space_of(icc_profile) != b"GRAY":
        return None
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    converted = _converted(ramp, icc_profile, None, exact=True)
    return None if converted is None else np.asarray(converted, np.float64)[0].mean(axis=-1)


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


def _converted(
    image: Image.Image, source: bytes | None, target: bytes | None, *, exact: bool = False
) -> Image.Image | None:
    """Convert an image between two profiles, None standing for sRGB; returns None where a profile cannot be used.

    exact: without the coarse table that Little CMS makes of some profiles, which errs by ten levels in the shadows;
    this takes several times as long.
    """
    try:
        return ImageCms.profileToProfile(
            image,
            _opened(source),
            _opened(target),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.NOOPTIMIZE if exact else ImageCms.Flags.NONE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _opened(icc_profile: bytes | None) -> ImageCms.ImageCmsProfile:
    stored = ImageCms.createProfile("sRGB") if icc_profile is None else io.BytesIO(icc_profile)
    return ImageCms.ImageCmsProfile(stored)
