"""The one reader of masks, maps and labels, in all the formats in which people store them.

A file whose values can only mean one thing is read; any other is refused with one line that names the file and its
largest value.

* Grey, in 8 or 1 bit: the values. In 16 bits: 0..65535 is brought to 0..255; where no value is above 255, the values.
  Floats: 0..1 is brought to 0..255; 0..255 stays.
* A palette of greys: its colours; one whose colours do not tell its numbers apart: the numbers; black and one
  colour: the shape in that colour; more colours: unclear, as they may be classes.
* RGB whose channels agree: their grey. Black and shades of one colour: the brightest channel. Other colours: unclear.
* Transparency that varies: it is the shape, if what it shows is a photo, as in a cut-out, or one colour; unclear, if
  what it shows looks like a mask itself.
* A mask is cut above 127. Where no mask of the folder reaches that, and all hold 0 and 1 alone, 1 is the object;
  other small values are unclear. A mask of zeros is empty, as some of PASCAL-S are once they are cut.
* A map may be dark where a detector found nothing: its values stay as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import ImageError, decoded
from act2sal.errors import InputError

CUT = 127
"""Grey level above which a pixel of a mask in 0..255 is object."""

SMALLEST_GRADE = 16
"""Smallest maximum of a graded mask in 0..255. Twelve people marked the objects of PASCAL-S; one vote is 21."""

_GREY_SPREAD = 32  # between the channels of a grey picture that was a JPEG
_COLOUR_SPREAD = 64  # from shades of one colour
_ODD_PIXELS = 0.02  # that may have more: JPEG mixes colours at edges
_BRIGHT = 200  # largest value from which shades of a colour are surely meant as 0..255


class UnclearError(InputError):
    """A picture that could mean two things, or is no mask; the message names the file and its largest value."""

    def __init__(self, path: Path, largest: float, reason: str) -> None:
        super().__init__(f"{path}: {reason}; its largest value is {largest:g}")


@dataclass(frozen=True)
class Levels:
    """Values of a picture.

    Attributes:
        values: (H, W) uint8.
        largest: largest value in the file.
        sure: whether the values are certainly meant as 0..255.
    """

    values: NDArray[np.uint8]
    largest: float
    sure: bool = False


@dataclass(frozen=True)
class MaskReader:
    """Reads the masks or labels of one folder; `unit` is the value that stands for object."""

    unit: int = 255

    @classmethod
    def of(cls, files: Iterable[Path]) -> "MaskReader":
        """Make the reader of these files; reads one after the other until one shows what the values mean.

        Raises:
            UnclearError: all values are at most `CUT`, and they are not just 0 and 1.
        """
        dark: list[tuple[float, Path]] = []
        for file in files:
            try:
                levels = _read_levels(file)
            except ImageError:
                continue
            highest = int(levels.values.max())
            if levels.sure or highest > CUT:
                return cls()
            if highest:
                dark.append((highest, file))
        if not dark:
            return cls()
        largest, file = max(dark)
        if largest > 1:
            raise UnclearError(file, largest, f"a mask is 0 and 255 or 0 and 1, and none here is above {CUT}")
        return cls(unit=1)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W) uint8 in 0..255.

        Raises:
            ImageError: as `images.read_photo`.
            UnclearError: it could mean two things.
        """
        levels = _read_levels(path)
        highest = int(levels.values.max())
        if levels.sure or not highest:
            return levels.values
        if self.unit == 1 and highest == 1:
            return levels.values * np.uint8(255)
        if highest < SMALLEST_GRADE:
            raise UnclearError(path, levels.largest, "a mask of 0..255 that is nearly black throughout")
        return levels.values


def read_map(path: Path) -> NDArray[np.uint8]:
    """A saliency map (H, W) uint8 in 0..255.

    Raises:
        ImageError: as `images.read_photo`.
        UnclearError: it could mean two things.
    """
    return _read_levels(path).values


def refuse_turned(path: Path, size: tuple[int, int], other: Path, other_size: tuple[int, int]) -> None:
    """Refuse a picture of `size` = (height, width) that is turned by 90 degrees against another of the same photo.

    Raises:
        InputError: the two are turned against each other; other differences of size are accepted.
    """
    (height, width), (other_height, other_width) = size, other_size
    upright, turned = (
        max(a, b) / min(a, b)
        for a, b in (
            (height * other_width, width * other_height),
            (height * other_height, width * other_width),
        )
    )
    if turned < 1.02 < 1.1 < upright:
        raise InputError(
            f"{path} is {width}x{height} and {other} is {other_width}x{other_height}: "
            "one of them is turned by 90 degrees"
        )


def _read_levels(path: Path) -> Levels:
    return decoded(path, lambda image, png: _levels_of(path, image))


def _levels_of(path: Path, image: Image.Image) -> Levels:
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep(path, np.asarray(image))
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        if pixels[..., 3].min() < 255:
            return _shape_in_alpha(path, pixels)
        return _coloured(path, pixels[..., :3])
    if image.mode == "P":
        return _indexed(path, image)
    if image.mode in ("1", "L", "LA"):
        grey = np.array(image.convert("L"))
        return Levels(grey, float(grey.max()), sure=image.mode == "1")
    return _coloured(path, np.asarray(image.convert("RGB")))


def _deep(path: Path, values: NDArray[np.generic]) -> Levels:
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all() or numbers.min() < 0:
        raise UnclearError(path, float(numbers.max()), "values below 0 or not finite")
    largest = float(numbers.max())
    if values.dtype.kind == "f" and largest <= 1:
        return Levels(np.round(numbers * 255).astype(np.uint8), largest, sure=True)
    if largest > 65535 or (values.dtype.kind == "f" and largest > 255):
        raise UnclearError(path, largest, "values outside 0..1, 0..255 and 16 bits")
    return Levels(np.round(numbers / (257 if largest > 255 else 1)).astype(np.uint8), largest)


def _shape_in_alpha(path: Path, pixels: NDArray[np.uint8]) -> Levels:
    """Pixels (H, W, 4) that are not all opaque."""
    colours, alpha = pixels[..., :3], pixels[..., 3]
    largest = float(alpha.max())
    shown = colours[alpha > 0]
    one_colour = not len(shown) or bool((shown == shown[0]).all())
    if alpha.min() == largest and not (largest == 0 and bool((colours == colours[0, 0]).all())):
        raise UnclearError(path, largest, "transparency that is the same everywhere")
    if not one_colour and len(np.unique(shown, axis=0)) <= 2 and not shown.any(axis=1).all():
        raise UnclearError(path, largest, "a mask in the colours and another in the transparency")
    return Levels(alpha.copy(), largest, sure=True)


def _indexed(path: Path, image: Image.Image) -> Levels:
    """A palette without transparency."""
    numbers = np.asarray(image)
    used = np.unique(numbers)
    table = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colours = np.stack([table[np.argmax(numbers.ravel() == number)] for number in used])
    if len(np.unique(colours, axis=0)) < len(used):
        return Levels(numbers.copy(), float(used.max()))
    if (colours == colours[:, :1]).all():
        grey = np.array(image.convert("L"))
        return Levels(grey, float(grey.max()))
    black = ~colours.any(axis=1)
    if (~black).sum() == 1 and (black.any() or used[0] != 0):
        return Levels(np.isin(numbers, used[~black]).astype(np.uint8) * np.uint8(255), 255, sure=True)
    raise UnclearError(path, float(used.max()), f"a palette of {len(used)} colours, which may be classes")


def _coloured(path: Path, pixels: NDArray[np.uint8]) -> Levels:
    """Pixels (H, W, 3)."""
    brightest = pixels.max(axis=2)
    largest = float(brightest.max())
    if ((brightest - pixels.min(axis=2)) > _GREY_SPREAD).mean() <= _ODD_PIXELS / 20:
        grey = np.array(Image.fromarray(pixels).convert("L"))
        return Levels(grey, largest)
    colour = pixels.reshape(-1, 3)[brightest.argmax()] / np.float32(largest)
    apart = np.abs(pixels - brightest[..., None] * colour).max(axis=2)
    if (apart > _COLOUR_SPREAD).mean() > _ODD_PIXELS:
        raise UnclearError(path, largest, "a picture of several colours, and no mask or map")
    levels = np.unique(brightest)
    if len(levels) <= 2 and (len(levels) == 1 or levels[0] == 0):
        return Levels((brightest > 0).astype(np.uint8) * np.uint8(255), largest, sure=True)
    if largest < _BRIGHT:
        raise UnclearError(path, largest, "dark shades of one colour")
    return Levels(brightest, largest, sure=True)
