"""Photos and maps: decode, orient, resize, write."""

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from act2sal.data.color_profiles import as_rgb, grey_curve
from act2sal.data.transparency import WHITE, Opacity
from act2sal.errors import FileError, InputError

Value = TypeVar("Value")

ImageFile: TypeAlias = Path | bytes
"""A file with a picture: where it lies, or what is in it."""

NAMELESS = Path("-")
"""What errors call a file that came as bytes."""

SaliencyMethod = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Photo (H, W, 3) uint8 RGB to prob (H, W) float32 in [0, 1]."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""Formats that Pillow reads by itself; HEIC needs the extra `heic`."""

MAX_PIXELS = 250_000_000
"""Most pixels of a photo that is read, unless `limit_pixels` sets another number; protects from forged headers."""

TEMPORARY = ".tmp-"
"""Prefix of the names of files that are being written; a killed process leaves them behind."""

ORIENTATION_TAG = 0x0112  # of EXIF
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_largest = MAX_PIXELS
_WARNING_LOCK = threading.Lock()
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class ImageError(FileError):
    """A photo that cannot be read: `path`, and in `reason` one line that says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def name_of(file: ImageFile) -> Path:
    """What errors call a file."""
    return NAMELESS if isinstance(file, bytes) else Path(file)


def read_photo(file: ImageFile) -> NDArray[np.uint8]:
    """Decode a file (by its content: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC) -> (H, W, 3) uint8 RGB.

    The EXIF orientation is applied. What is transparent is laid on white, or on black or mid-grey where the photo
    does not stand out from that (`Opacity.level_behind`). 16-bit values are scaled to 8 bits, other deep values from
    their own range; CMYK, palette, grey and 1-bit become RGB, CMYK, Lab and grey by the profile in the file; of an
    animation the first frame counts. Safe to call from several threads.

    Raises:
        ImageError: missing, empty, truncated, no image, or more pixels than `limit_pixels` allows.
    """
    return decoded(file, lambda image, png: _to_rgb(image, png=png))


def read_with_opacity(file: ImageFile) -> tuple[NDArray[np.uint8], Opacity | None]:
    """`read_photo`, and the photo's transparency; None where it is opaque.

    Raises:
        ImageError: as `read_photo`.
    """
    return decoded(file, lambda image, png: (_to_rgb(image, png=png), _opacity(image)))


def decoded(file: ImageFile, work: Callable[[Image.Image, bool], Value]) -> Value:
    """Open a file, turn the image upright, and return `work(image, whether the file is a PNG)`.

    Raises:
        ImageError: as `read_photo`, or too little memory.
    """
    path = name_of(file)
    try:
        if (len(file) if isinstance(file, bytes) else path.stat().st_size) == 0:
            raise ImageError(path, "the file is empty")
        with open_image(file) as image:
            refuse_larger(path, image.size)
            return work(_upright(image), image.format == "PNG")
    except (FileError, InputError):
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types on malformed bytes
        raise ImageError(path, reason_of(error)) from error


def resize_photo(photo: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize photo (H, W, 3) uint8 to `size` = (height, width): bilinear, antialiased where it shrinks."""
    height, width = size
    if photo.shape[:2] == (height, width):
        return photo.copy()
    return np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def resize_map(prob: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize prob (H, W) float32 to `size` = (height, width), bilinear as `align_corners=False`."""
    height, width = size
    return np.asarray(cv2.resize(prob, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def write_gray_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels (H, W) uint8 as an 8-bit PNG, by way of a temporary name; missing folders are created."""
    write_atomic(path, gray_png(pixels))


def gray_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (H, W) uint8 as an 8-bit PNG."""
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"a grey PNG needs (H, W) uint8, not {pixels.shape} {pixels.dtype}")
    # OpenCV's default compression is faster than Pillow's, and the files are hardly larger.
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, then rename it; missing folders are created.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    with naming(path), written_whole(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError of the body, which works on the file `path` alone, name that file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure.

    Missing folders are created. The temporary name has the suffix of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{threading.get_ident()}{path.suffix}"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of a Pillow image, (H, W, 3) uint8 RGB, by the rules of `read_photo`; its EXIF orientation is applied.

    Errors of Pillow's decoders on malformed bytes are passed on.
    """
    return _to_rgb(_upright(image), png=image.format == "PNG")


def upright_opacity(image: Image.Image) -> Opacity | None:
    """The transparency of a Pillow image, turned as in `upright_rgb`; None where it is opaque."""
    return _opacity(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    """The image with its pixels loaded and its EXIF orientation applied."""
    # Pillow parses the metadata of a TIFF again while it loads the pixels.
    with without_warnings() if image.format == "TIFF" else nullcontext():
        image.load()
    with without_warnings():
        transpose = _TRANSPOSE.get(image.getexif().get(ORIENTATION_TAG, 1))
    return image if transpose is None else image.transpose(transpose)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about odd metadata; warning filters are global, hence the lock and short bodies."""
    with _WARNING_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(file: ImageFile) -> Image.Image:
    """A Pillow image of a file, whose pixels are not decoded yet; by its content, as `read_photo`.

    Errors of Pillow are passed on.

    Raises:
        ImageError: a HEIC file, and the extra `heic` is not installed.
    """
    with without_warnings():
        Image.init()  # registers every format; Pillow does so by itself only when `formats` is left out
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `decoded` has a limit of its own
        try:
            image = Image.open(_readable(file), formats=FORMATS)
            if image.format == "TIFF":
                # Pillow maps uncompressed pixels into memory by this name, with swapped sides where the photo lies
                # on its side, and then shows something else.
                image.filename = ""
            return image
        except UnidentifiedImageError:
            if not _is_heif(file):
                raise
            _register_heif(name_of(file))
            return Image.open(_readable(file), formats=["HEIF"])
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def _readable(file: ImageFile) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _is_heif(file: ImageFile) -> bool:
    """Whether a file begins with the signature of HEIF (ISO 23008-12)."""
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:] in _HEIF_BRANDS


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(path, 'HEIC needs the extra "heic": pip install "act2sal[heic]"') from error
    register_heif_opener()


def _to_rgb(image: Image.Image, *, png: bool) -> NDArray[np.uint8]:
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow before 11 opens 16-bit PNG files as 32-bit integers.
        sixteen_bit = image.mode.startswith("I;16") or png
        curve = grey_curve(image.info.get("icc_profile")) if sixteen_bit else None
        return _scale_deep(np.asarray(image, dtype=np.float64), sixteen_bit=sixteen_bit, curve=curve)
    if image.has_transparency_data:
        opacity = Opacity.of(np.array(_rgba(image)))
        level = opacity.level_behind()
        return opacity.laid_on(WHITE if level is None else level)
    return np.array(as_rgb(image))


def _rgba(image: Image.Image) -> Image.Image:
    """Convert an image with transparency to RGBA; greys with a profile become sRGB, as in opaque images."""
    rgba = image.convert("RGBA")
    if image.mode not in ("L", "LA"):
        return rgba
    grey = image.convert("L")
    grey.info = {"icc_profile": image.info.get("icc_profile")}
    colours = as_rgb(grey)
    colours.putalpha(rgba.getchannel("A"))
    return colours


def _opacity(image: Image.Image) -> Opacity | None:
    if image.mode == "F" or image.mode.startswith("I") or not image.has_transparency_data:
        return None
    opacity = Opacity.of(np.array(_rgba(image)))
    return None if opacity.alpha.min() == 255 else opacity


def _scale_deep(
    values: NDArray[np.float64], *, sixteen_bit: bool, curve: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """Deep grey values (H, W) in 8 bits, (H, W, 3) uint8; curve: what 8-bit levels are in sRGB (`grey_curve`)."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (0.0, 65535.0) if sixteen_bit else (float(values.min()), float(values.max()))
    levels = 255 * np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if curve is not None:
        levels = np.interp(levels, np.arange(256), curve)
    return np.repeat(np.round(levels).astype(np.uint8)[..., None], 3, axis=2)


def limit_pixels(most: int) -> None:
    """Set how many pixels, at least 1, a photo or a frame that this process reads may have."""
    global _largest
    _largest = most


def refuse_larger(path: Path, size: tuple[int, int]) -> None:
    """Refuse a picture of `size` = (width, height) that has more pixels than `limit_pixels` allows.

    Raises:
        ImageError: it has.
    """
    if size[0] * size[1] > _largest:
        raise ImageError(path, _too_large(size))


def pixels_in(path: Path) -> int:
    """Pixels of a photo according to its header; 0 where it cannot be read or exceeds the limit."""
    try:
        with open_image(path) as image:
            pixels = image.width * image.height
    except Exception:  # Pillow raises errors of many types; `read_photo` is who says what is wrong
        return 0
    return pixels if pixels <= _largest else 0


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python, OpenCV or PyTorch means that memory ran out."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, cv2.error) and error.code == cv2.Error.STS_NO_MEM)
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _too_large(size: tuple[int, int]) -> str:
    width, height = size
    return (
        f"{width}x{height} are more than {_largest} pixels; is it a decompression bomb? "
        f"--max-pixels {width * height} reads it"
    )


def reason_of(error: Exception) -> str:
    """Turn an error of reading or decoding into one line for the user."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC), or damaged at its beginning"
    if is_out_of_memory(error):
        return "too little memory for this photo"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"damaged image ({detail})"
