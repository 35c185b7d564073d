"""Pixels as the bytes of an image file, with the colour profile and the EXIF of the photo they come from."""

import io
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from act2sal.config import Format
from act2sal.data.color_profiles import space_of
from act2sal.data.images import ORIENTATION_TAG, ImageFile, open_image, without_warnings
from act2sal.data.origin import PROCESSING_SOFTWARE, Origin, marked_png
from act2sal.errors import InputError

HOLDS_ALPHA: tuple[Format, ...] = ("png", "webp", "tiff", "gif")
"""Formats with transparency; a pixel of a gif has all of it or none."""

ANIMATED: tuple[Format, ...] = ("png", "webp", "gif")
"""Formats that hold animations."""

JPEG_QUALITY = 95
"""Quality on JPEG's scale of 1 to 100; chroma is not subsampled."""

WEBP_QUALITY = 95
"""Quality on WebP's scale of 0 to 100, for colours; grey levels and alpha are stored without loss."""

PNG_LEVEL, PNG_STRATEGY = 1, zlib.Z_RLE
"""Compression level and strategy of zlib: faster than Pillow's default, for somewhat larger cut-outs
(`benchmarks/cutout.py` measures both)."""

LONGEST_SIDE: dict[Format, int] = {"jpg": 65_535, "webp": 16_383, "gif": 65_535}
"""Most pixels along a side, for the formats whose limit photos can reach."""

_PILLOW_NAMES: dict[Format, str] = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "gif": "GIF"}

FORMAT_OF: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
}
"""Format by lower-case suffix of the file name."""

LONGEST_EXIF_OF_JPG = 65_533
"""Bytes that fit into one segment of a JPEG."""

_KEPT_TAGS = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Copyright,
    Base.XPTitle,
    Base.XPComment,
    Base.XPAuthor,
    Base.XPKeywords,
    Base.XPSubject,
)

_LOST_TAGS = (
    Base.ExifImageWidth,  # before the photo was turned
    Base.ExifImageHeight,
    Base.ExifInteroperabilityOffset,  # of a block that is not kept
    Base.MakerNote,  # its own offsets hold in the old file alone, and it can hold a preview
)


class Profile(NamedTuple):
    """ICC profile and EXIF block of a photo, each None where the photo has none."""

    icc_profile: bytes | None
    exif: bytes | None


NO_PROFILE = Profile(None, None)


def read_profile(file: ImageFile) -> Profile:
    """Colour profile and EXIF of the photo in a file, fit for the upright 8-bit RGB that `images.read_photo` gives.

    The profile is left out where it is damaged or does not describe RGB, as that of a CMYK or grey photo. The EXIF
    keeps what describes the photo (camera, exposure, place, author), with orientation 1; the preview, which shows the
    photo before the work, is left out. A file that cannot be read has neither.
    """
    try:
        with open_image(file) as image, without_warnings():
            return Profile(_rgb_profile(image), _exif(image))
    except Exception:  # Pillow raises errors of many types; `read_photo` is who says what is wrong
        return NO_PROFILE


def encoded(
    pixels: NDArray[np.uint8],
    format: Format,
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    origin: Origin | None = None,
) -> bytes:
    """The bytes of an image file.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8.
        format: png and tiff keep every value, webp those of grey levels and of alpha, gif those of grey levels.
        icc_profile: colour space of the pixels; for RGB and RGBA.
        exif: EXIF block, see `read_profile`; left out of a jpg that has no room for it, and of a gif, which holds
            neither that nor a profile.
        origin: is kept in the file: as text of a png, comment of a jpg or gif, EXIF of others.

    Raises:
        InputError: alpha in a jpg, or more pixels along a side than the format holds.
        ValueError: pixels of another shape or dtype.
    """
    _refuse_pixels(pixels, format)
    if exif is not None and format == "jpg" and len(exif) > LONGEST_EXIF_OF_JPG:
        exif = None
    if origin is not None and (format == "webp" or (format == "tiff" and exif is not None)):
        exif = _with_origin(exif, origin)
    options = _options(format, grey=pixels.ndim == 2, exif=exif)
    if origin is not None:
        options |= _told(origin, format, exif)
    if icc_profile is not None:
        options["icc_profile"] = icc_profile
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=_PILLOW_NAMES[format], **options)
    content = stream.getvalue()
    return marked_png(content, origin) if origin is not None and format == "png" else content


def encoded_animation(
    frames: Sequence[NDArray[np.uint8]],
    format: Format,
    *,
    durations: Sequence[int],
    plays: int,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    origin: Origin | None = None,
) -> bytes:
    """The bytes of an animation; frames that are alike can become one that is shown for longer.

    Args:
        frames: pixels as of `encoded`, all of one shape.
        format: one of `ANIMATED`.
        durations: of each frame, in milliseconds.
        plays: how often all are shown, 0: without end.
        icc_profile: as of `encoded`.
        exif: as of `encoded`.
        origin: as of `encoded`.

    Raises:
        InputError: more pixels along a side than the format holds.
        ValueError: no frames, or such as `encoded` refuses.
    """
    if not frames or format not in ANIMATED:
        raise ValueError(f"an animation has frames, and is {', '.join(ANIMATED)}")
    for pixels in frames:
        _refuse_pixels(pixels, format)
    if origin is not None and format == "webp":
        exif = _with_origin(exif, origin)
    options = _options(format, grey=frames[0].ndim == 2, exif=exif)
    if origin is not None:
        options |= _told(origin, format, exif)
    if icc_profile is not None:
        options["icc_profile"] = icc_profile
    if format != "gif":
        options["loop"] = plays
    elif plays != 1:
        options["loop"] = max(plays - 1, 0)  # a GIF file tells the repetitions
    if frames[0].shape[2:] == (4,):
        # What was there before shows through a transparent pixel, unless the frames say that it goes. Left to itself,
        # libwebp crops frames to their opaque part and then forgets that there is transparency.
        options |= {"gif": {"disposal": 2}, "webp": {"kmin": 0, "kmax": 1}}.get(format, {})
    first, *others = map(Image.fromarray, frames)
    stream = io.BytesIO()
    first.save(
        stream,
        format=_PILLOW_NAMES[format],
        save_all=True,
        append_images=others,
        duration=list(durations),
        **options,
    )
    content = stream.getvalue()
    return marked_png(content, origin) if origin is not None and format == "png" else content


def _refuse_pixels(pixels: NDArray[np.uint8], format: Format) -> None:
    """As `encoded` says."""
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4))
    ):
        raise ValueError(
            f"a picture is (H, W), (H, W, 3) or (H, W, 4) uint8, not {pixels.shape} {pixels.dtype}"
        )
    if pixels.shape[2:] == (4,) and format not in HOLDS_ALPHA:
        raise InputError(f"{format} holds no transparency; possible: {', '.join(HOLDS_ALPHA)}")
    longest = LONGEST_SIDE.get(format)
    if longest is not None and max(pixels.shape) > longest:
        raise InputError(f"{format} holds at most {longest} pixels along a side, not {max(pixels.shape)}")


def _options(format: Format, *, grey: bool, exif: bytes | None) -> dict[str, Any]:
    options: dict[str, Any] = {} if exif is None else {"exif": exif}
    if format == "png":
        options |= {"compress_level": PNG_LEVEL, "compress_type": PNG_STRATEGY}
    elif format == "jpg":
        options |= {"quality": JPEG_QUALITY, "subsampling": 0}
    elif format == "webp":
        options |= {"lossless": grey, "quality": WEBP_QUALITY}
    elif (
        format == "tiff" and exif is None
    ):  # libtiff, which compresses, does not write the directories of EXIF
        options |= {"compression": "tiff_lzw"}
    return options


def _with_origin(exif: bytes | None, origin: Origin) -> bytes:
    block = Image.Exif()
    if exif is not None:
        block.load(exif)
    block[PROCESSING_SOFTWARE] = origin.text
    return block.tobytes()


def _told(origin: Origin, format: Format, exif: bytes | None) -> dict[str, Any]:
    """The options by which Pillow writes the origin, where EXIF does not hold it."""
    if format in ("jpg", "gif"):
        return {"comment": origin.text}
    return {"tiffinfo": {Base.Software: origin.text}} if format == "tiff" and exif is None else {}


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The ICC profile, if pixels of this image are still in its colour space once they are RGB."""
    profile = image.info.get("icc_profile")
    return profile if image.mode not in ("CMYK", "LAB") and space_of(profile) == b"RGB " else None


def _exif(image: Image.Image) -> bytes | None:
    try:
        return _kept_exif(image.getexif())
    except Exception:  # Pillow raises errors of many types on malformed metadata
        return None


def _kept_exif(found: Image.Exif) -> bytes | None:
    kept = Image.Exif()
    for tag in _KEPT_TAGS:
        if tag in found:
            kept[tag] = found[tag]
    for ifd in (IFD.Exif, IFD.GPSInfo):
        values = {tag: value for tag, value in found.get_ifd(ifd).items() if tag not in _LOST_TAGS}
        if values:
            kept[ifd] = values
    if not kept:
        return None
    kept[ORIENTATION_TAG] = 1
    return kept.tobytes()
