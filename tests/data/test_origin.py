"""What a picture says of its own making."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from act2sal.config import Format
from act2sal.data.encoding import HOLDS_ALPHA, encoded
from act2sal.data.images import gray_png
from act2sal.data.origin import Origin, all_seen, is_noted, marked_png, origin_of, write_result
from act2sal.version import __version__

FORMATS: tuple[Format, ...] = ("png", "jpg", "webp", "tiff", "gif")


def pixels(channels: int) -> NDArray[np.uint8]:
    drawn = np.random.default_rng(0).integers(0, 256, (12, 20, channels), dtype=np.uint8)
    return drawn[..., 0] if channels == 1 else drawn


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[Base.Software] = "camera 1"
    exif[IFD.GPSInfo] = {1: "N"}
    return exif.tobytes()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("exif", [None, camera_exif()], ids=["plain", "exif"])
def test_every_format_keeps_it(tmp_path: Path, format: Format, channels: int, exif: bytes | None) -> None:
    if channels == 4 and format not in HOLDS_ALPHA:
        return
    file, origin = tmp_path / f"a.{format}", Origin("cutout", "ImageNet labels")
    file.write_bytes(encoded(pixels(channels), format, exif=exif, origin=origin))
    assert origin_of(file) == origin
    plain = tmp_path / f"plain.{format}"
    plain.write_bytes(encoded(pixels(channels), format, exif=exif))
    assert origin_of(plain) is None
    with Image.open(file) as marked, Image.open(plain) as unmarked:
        np.testing.assert_array_equal(np.asarray(marked), np.asarray(unmarked))
        if exif is not None and format != "gif":  # which has no room for it
            assert marked.getexif()[Base.Software] == "camera 1"
            assert marked.getexif().get_ifd(IFD.GPSInfo)[1] == "N"


def test_the_words_are_those_that_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(marked_png(gray_png(pixels(1)), Origin("map")))
    with Image.open(file) as image:
        assert image.info["Software"] == f"act2sal {__version__} map"
    assert origin_of(file) == Origin("map")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken", b"text"])
def test_other_files_have_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert origin_of(tmp_path / "a.png") is None
    assert origin_of(tmp_path / "missing.png") is None


def test_a_note_outside_of_the_content_holds_for_the_same_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    write_result(file, marked_png(gray_png(pixels(1)), Origin("map")))
    try:
        os.getxattr(file, "user.act2sal")
    except (OSError, AttributeError):
        pytest.skip("this file system keeps no attributes")
    assert is_noted(file)
    shutil.copy2(file, tmp_path / "copied.png")
    assert is_noted(tmp_path / "copied.png")
    file.write_bytes(gray_png(pixels(1)))  # another picture under the same name
    assert not is_noted(file)
    assert not is_noted(tmp_path / "missing.png")


def test_others_that_speak_of_us_are_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    Image.fromarray(pixels(3)).save(file, comment="not by act2sal 1.0 map")
    assert origin_of(file) is None


def test_what_several_encoders_saw() -> None:
    assert all_seen(["none", "none"]) == "none"
    assert all_seen(["none", "ImageNet labels", "ImageNet labels"]) == "ImageNet labels"
    assert all_seen(["unknown", "ImageNet labels"]) == "unknown, ImageNet labels"
