"""What a picture says of its own making, so that a result is never taken for a photo, and keeps its ‡."""

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
"""Encoders that were trained without any labels, or no encoders at all."""

UNKNOWN = "unknown"
"""Encoders of which it is not known what they were trained with."""

PROCESSING_SOFTWARE = Base.ProcessingSoftware
"""Tag of EXIF that names what worked on a picture; `Software` belongs to what made the photo."""

_TEXT = re.compile(r"act2sal (?P<version>\S+) (?P<what>[\w-]+)(?:; encoders saw: (?P<seen>.+))?")
_ATTRIBUTE = "user.act2sal"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = len(_PNG_SIGNATURE) + 25  # with the chunk IHDR, which comes first


@dataclass(frozen=True)
class Origin:
    """A picture that this package wrote.

    what: map, mask, cutout, ..., label, sample, sheet or plot; seen: the labels that the encoders behind it were
    trained with, such as "ImageNet labels", `LABEL_FREE`, or "" where it does not say.
    """

    what: str
    seen: str = ""

    @property
    def text(self) -> str:
        """What stands in the file."""
        told = f"; encoders saw: {self.seen}" if self.seen else ""
        return f"act2sal {__version__} {self.what}{told}"


def all_seen(parts: Iterable[str]) -> str:
    """What several encoders have seen together: each kind of labels once, `LABEL_FREE` where all are."""
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
    """Write a file whose content says its origin, and where the file system can, note it outside of the content too.

    So a file that may be a mask need not be opened to know that it is a result (`is_noted`). The note holds as long
    as the file has the same bytes and time: another one copied over it is not taken for ours.

    Raises OSError: it cannot be written; the error names `path`.
    """
    write_atomic(path, content)
    note(path)


def note(path: Path) -> None:
    """Note outside of its content that a file is a result, where that is possible; see `write_result`."""
    # Only Linux has the call, and not every file system the attribute.
    with suppress(OSError, AttributeError):
        os.setxattr(path, _ATTRIBUTE, _state(path))


def is_noted(path: Path) -> bool:
    """Whether a file was noted as a result, as far as is known without opening it."""
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
