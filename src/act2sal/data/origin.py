"""Marks results with their origin, so that they are never taken for photos and keep the mark ‡."""

import os
import re
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from act2sal.data.images import open_image, without_warnings, write_atomic
from act2sal.version import __version__

LABEL_FREE = "none"
"""Value of `Origin.seen` for encoders trained without labels, and for methods without an encoder."""

MASKS = "masks"
"""Value of `Origin.seen` for detectors that were trained on masks of their photos."""

UNKNOWN = "unknown"
"""Value of `Origin.seen` for encoders of unknown training."""

PROCESSING_SOFTWARE = Base.ProcessingSoftware
"""EXIF tag that names the program that processed a picture; `Software` is left to the camera."""

_TEXT = re.compile(r"act2sal (?P<version>\S+) (?P<what>[\w-]+)(?:; encoders saw: (?P<seen>.+))?")
_ATTRIBUTE = "user.act2sal"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = len(_PNG_SIGNATURE) + 25  # with the chunk IHDR, which comes first


@dataclass(frozen=True)
class Origin:
    """Origin of a picture that this package wrote.

    Attributes:
        what: map, mask, cutout, ..., label, sample, sheet or plot.
        seen: labels that the networks behind it were trained with, such as "ImageNet labels" or `MASKS`;
            `LABEL_FREE`, or "" where nothing is said.
    """

    what: str
    seen: str = ""

    @property
    def text(self) -> str:
        """The text that is stored in the file."""
        told = f"; encoders saw: {self.seen}" if self.seen else ""
        return f"act2sal {__version__} {self.what}{told}"


def all_seen(parts: Iterable[str]) -> str:
    """Join what several encoders have seen: each kind of labels once; `LABEL_FREE` if none saw labels."""
    labels = dict.fromkeys(part for part in parts if part != LABEL_FREE)
    return ", ".join(labels) or LABEL_FREE


def marked_png(content: bytes, origin: Origin) -> bytes:
    """A PNG file with its origin as the text `Software`."""
    if not content.startswith(_PNG_SIGNATURE):
        raise ValueError("this is no PNG file")
    chunk = b"tEXt" + b"Software\0" + origin.text.encode("latin-1", "replace")
    length, checksum = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    return content[:_PNG_HEADER] + length + chunk + checksum + content[_PNG_HEADER:]


def write_result(path: Path, content: bytes) -> None:
    """Write a file whose content holds its origin, and note the origin in its extended attributes where possible.

    With the note, a file that may be a mask need not be opened to know that it is a result (`is_noted`). The note is
    valid for the size and modification time that it names: a file copied over ours is not taken for ours.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    write_atomic(path, content)
    note(path)


def note(path: Path) -> None:
    """Note in the extended attributes of a file that it is a result, where possible; see `write_result`."""
    # Only Linux has the call, and not every file system the attribute.
    with suppress(OSError, AttributeError):
        os.setxattr(path, _ATTRIBUTE, _state(path))


def is_noted(path: Path) -> bool:
    """Whether the extended attributes of a file say that it is a result; the file is not opened."""
    try:
        return os.getxattr(path, _ATTRIBUTE) == _state(path)
    except (OSError, AttributeError):
        return False


def _state(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def origin_of(path: Path) -> Origin | None:
    """The origin of a picture that this package wrote; None for others, and for what cannot be read.

    The pixels are not decoded.
    """
    try:
        with open_image(path) as image:
            return image_origin(image)
    except Exception:  # Pillow raises errors of many types; `read_photo` is who says what is wrong
        return None


def video_comment(comment: str, origin: Origin) -> str:
    """The tag `comment` of a video, with its origin as the last line."""
    return f"{comment}\n{origin.text}" if comment else origin.text


def video_origin(path: Path) -> Origin | None:
    """The origin of a video that this package wrote; None for others, and where videos cannot be read."""
    try:
        import av

        with av.open(str(path)) as reader:
            tags = {key.lower(): value for key, value in reader.metadata.items()}
    except Exception:  # there is no such package, or FFmpeg raises errors of many types
        return None
    lines = tags.get("comment", "").splitlines()
    return _parsed(lines[-1]) if lines else None


def image_origin(image: Image.Image) -> Origin | None:
    """`origin_of` a Pillow image that was opened from a file."""
    said = [image.info.get("Software"), image.info.get("comment")]
    if image.format in ("WEBP", "TIFF"):
        with without_warnings():
            exif = image.getexif()
        said += [exif.get(PROCESSING_SOFTWARE), exif.get(Base.Software)]
    for value in said:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        origin = _parsed(text) if isinstance(text, str) else None
        if origin is not None:
            return origin
    return None


def _parsed(text: str) -> Origin | None:
    found = _TEXT.fullmatch(text)
    return Origin(found["what"], found["seen"] or "") if found else None
