"""The kinds of output of `predict`: maps, masks, cut-outs, tints, other backgrounds."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from act2sal.config import Matting
from act2sal.data.color_profiles import from_srgb, in_srgb
from act2sal.data.encoding import HOLDS_ALPHA, Format, read_profile
from act2sal.data.images import ImageError, read_photo
from act2sal.data.transparency import WHITE, Opacity
from act2sal.errors import InputError
from act2sal.predict import compositing
from act2sal.predict.matting import matted
from act2sal.predict.selection import Selection

KindName = Literal["map", "mask", "cutout", "overlay", "blur", "color", "image"]

OBJECT = Selection()
"""The default selection: the object, as soft as its map."""


@dataclass(frozen=True)
class Kind:
    """One kind of output.

    map: saliency as grey levels. mask: 0 and 255. cutout: RGBA, saliency as alpha. overlay: saliency tinted over
    the photo. blur: background blurred. color, image: the object before a colour or another picture.

    Args:
        name: which.
        color: sRGB in [0, 255], of the kind color.
        file: the picture of the kind image.
        picture: its pixels, (h, w, 3) uint8 sRGB.
    """

    name: KindName
    color: tuple[int, int, int] | None = None
    file: Path | None = None
    picture: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @property
    def shows_photo(self) -> bool:
        """Whether pixels of the photo are in it, so that the photo's colour profile and EXIF belong to it."""
        return self.name not in ("map", "mask")

    @property
    def is_composed(self) -> bool:
        """Whether it shows the object without its own background."""
        return self.name in ("cutout", "blur", "color", "image")

    @property
    def has_alpha(self) -> bool:
        """Whether it is RGBA."""
        return self.name == "cutout"


def parse_kind(text: str) -> Kind:
    """`map`, `mask`, `cutout`, `overlay`, `blur`, `color:#rrggbb` (or a CSS name of a colour) or `image:FILE`.

    Raises:
        InputError: another kind, no colour, or a picture that cannot be read.
    """
    name, colon, parameter = text.partition(":")
    if name == "color":
        return Kind("color", color=_color(parameter))
    if name == "image":
        return _image_kind(parameter)
    for plain in get_args(KindName):
        if plain == name and not colon:
            return Kind(plain)
    close = difflib.get_close_matches(name, get_args(KindName), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(
        "an output is map, mask, cutout, overlay, blur, color:#rrggbb or image:FILE, not " + repr(text) + hint
    )


def is_kind(text: str) -> bool:
    """Whether `text` is meant as a kind, and no file; its colour or picture may yet be none."""
    name, colon, _ = text.partition(":")
    return name in get_args(KindName) and bool(colon) == (name in ("color", "image"))


def refuse_kinds(kinds: Sequence[Kind], format: Format) -> None:
    """Refuse kinds that a format cannot hold, or two that would have the same file name.

    Raises:
        InputError: one line that names the kind.
    """
    for number, kind in enumerate(kinds):
        if kind.has_alpha and format not in HOLDS_ALPHA:
            raise InputError(
                f"{format} holds no transparency, which {kind.name} needs; possible: {', '.join(HOLDS_ALPHA)}"
            )
        if kind.name in [other.name for other in kinds[:number]]:
            raise InputError(f"two outputs of the kind {kind.name} would have the same file name")


def suffix_of(kind: Kind, several: bool, format: Format) -> str:
    """What the file name has behind the photo's stem: `.png`; `.mask.png` where `several` kinds are written."""
    return f".{kind.name}.{format}" if several else f".{format}"


def rendered(
    kind: Kind,
    photo: NDArray[np.uint8],
    prob: NDArray[np.float32],
    selection: Selection = OBJECT,
    *,
    matting: Matting | None = None,
    opacity: Opacity | None = None,
    icc_profile: bytes | None = None,
) -> NDArray[np.uint8]:
    """Make the pixels of one output.

    Args:
        kind: what.
        photo: (H, W, 3) uint8 RGB.
        prob: its saliency, (H, W) float32 in [0, 1].
        selection: what of it is shown.
        matting: solves for the alpha of a cut-out or of an object before another background; None: the saliency is
            the alpha.
        opacity: of a photo with transparency: nothing is more opaque in a cut-out, or covers more of a background,
            and what is wholly transparent is neither object nor ground; it is shown on white.
        icc_profile: the photo's colour space, into which colours and backgrounds are brought; None: sRGB.

    Returns:
        uint8: (H, W) for map and mask, (H, W, 4) for cutout, else (H, W, 3).

    Raises:
        ValueError: photo and saliency differ in size.
        MissingPackageError: `matting` without pymatting.
    """
    if photo.shape != (*prob.shape, 3):
        raise ValueError(f"a photo {photo.shape} and a map {prob.shape} do not belong together")
    select = {"map": selection.levels_of, "mask": selection.mask_of}.get(kind.name, selection.alpha_of)
    if matting is not None and kind.is_composed:
        solved = matted(photo, selection.object_of(prob), matting)
        alpha = _seen(selection.edged(solved), opacity)
    else:
        alpha = _seen(select(prob), opacity)
    if kind.name in ("map", "mask"):
        return np.round(alpha * 255).astype(np.uint8)
    colours, cover = photo, None
    if opacity is not None:  # what the photo was laid on for a network is not shown
        photo, colours, cover = opacity.laid_on(WHITE), opacity.colours, opacity.alpha
    if kind.name == "overlay":
        return compositing.overlay(photo, alpha, tint=_color_in(compositing.TINT, icc_profile))
    if kind.name == "cutout":
        return compositing.cutout(colours, alpha, cover)
    background = _background(kind, photo, alpha, icc_profile)
    return compositing.on_background(colours, alpha, background, cover)


def _seen(alpha: NDArray[np.float32], opacity: Opacity | None) -> NDArray[np.float32]:
    """Set alpha to 0 where the photo is wholly transparent."""
    return alpha if opacity is None else np.where(opacity.alpha == 0, np.float32(0), alpha)


def _color_in(color: tuple[int, int, int], icc_profile: bytes | None) -> NDArray[np.uint8]:
    """Convert a colour from sRGB to the photo's colour space: (3,) uint8."""
    return from_srgb(np.array([[color]], np.uint8), icc_profile)[0, 0]


def _background(
    kind: Kind, photo: NDArray[np.uint8], alpha: NDArray[np.float32], icc_profile: bytes | None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    if kind.color is not None:
        return _color_in(kind.color, icc_profile)
    if kind.picture is not None:
        return from_srgb(compositing.cover(kind.picture, (photo.shape[0], photo.shape[1])), icc_profile)
    return compositing.blurred_ground(photo, alpha)


def _color(text: str) -> tuple[int, int, int]:
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = None
    if color is None or len(color) == 4:
        raise InputError(f"a colour is written color:#rrggbb, such as color:#00ff00, not color:{text}")
    return color


def _image_kind(text: str) -> Kind:
    if not text:
        raise InputError("a background is written image:FILE")
    file = Path(text)
    try:
        return Kind("image", file=file, picture=in_srgb(read_photo(file), read_profile(file).icc_profile))
    except ImageError as error:
        raise InputError(f"the background cannot be read: {error}") from error
