"""Photos whose numbers a profile explains, and photos with transparency in other forms than RGBA."""

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from act2sal.data.encoding import read_profile
from act2sal.data.images import read_photo, read_with_opacity
from profiles import cmyk_profile, grey_profile

INKS = {
    (0, 0, 0, 0): (100.0, 0.0, 0.0),
    (1, 0, 0, 0): (60.0, -30.0, -40.0),
    (0, 1, 0, 0): (50.0, 65.0, 0.0),
    (0, 0, 1, 0): (90.0, -5.0, 80.0),
    (0, 0, 0, 1): (20.0, 0.0, 0.0),
}
"""Lab of paper and of single inks."""


def srgb_of(lab: tuple[float, float, float]) -> NDArray[np.float64]:
    """CIE Lab of D50 in sRGB, (3,) in [0, 255]; by CIE 15 and IEC 61966-2-1, adapted to D65 as Bradford does."""
    middle = (lab[0] + 16) / 116
    parts = np.array([middle + lab[1] / 500, middle, middle - lab[2] / 200])
    xyz = np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29)) * (0.9642, 1, 0.8249)
    to_srgb = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = np.clip(to_srgb @ xyz, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(255 * coded)


def test_the_formulas() -> None:
    np.testing.assert_allclose(srgb_of((100, 0, 0)), 255, atol=1)
    np.testing.assert_allclose(srgb_of((54.29, 80.81, 69.89)), (255, 0, 0), atol=2)


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
@pytest.mark.parametrize("inks", list(INKS))
def test_cmyk_becomes_what_its_profile_says(
    inks: tuple[int, int, int, int], suffix: str, tmp_path: Path
) -> None:
    """Whole inks, whose Lab is in the profile; without it, cyan would be (0, 255, 255)."""
    path = tmp_path / f"a{suffix}"
    pixel = tuple(255 * ink for ink in inks)
    options = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    Image.new("CMYK", (16, 16), pixel).save(path, icc_profile=cmyk_profile(INKS), **options)
    np.testing.assert_allclose(read_photo(path)[8, 8], srgb_of(INKS[inks]), atol=4)
    np.testing.assert_array_equal(read_photo(path.read_bytes()), read_photo(path))
    assert read_profile(path).icc_profile is None  # it does not describe what was read


@pytest.mark.parametrize("lab", [(54, 81, 70), (80, -40, 30), (30, 10, -45), (100, 0, 0), (50, 0, 0)])
def test_lab_becomes_srgb(lab: tuple[int, int, int], tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert profile[16:20] == b"Lab "
    pixel = (round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128)
    Image.new("LAB", (4, 4), pixel).save(tmp_path / "a.tif", icc_profile=profile)
    np.testing.assert_allclose(read_photo(tmp_path / "a.tif")[0, 0], srgb_of(lab), atol=2)
    assert read_profile(tmp_path / "a.tif").icc_profile is None


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_a_profile_of_its_own_becomes_srgb(bits: int, tmp_path: Path) -> None:
    """Numbers that are proportional to light: half of it is 188 in sRGB, of 8 bits and of 16, also in the shadows."""
    levels = np.array([[0, 128, 255, 3]], np.uint8)
    values = levels if bits == 8 else levels.astype(np.uint16) * 257
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=grey_profile(gamma=1.0))
    light = levels[0] / 255
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    read = read_photo(tmp_path / "a.png")
    np.testing.assert_allclose(read[0, :, 0], expected, atol=1)
    assert (np.ptp(read, axis=-1) == 0).all()


def test_sixteen_bits_of_grey_lie_between_those_of_eight(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 5000).astype(np.uint16)[None]
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=grey_profile(gamma=1.8))
    read = read_photo(tmp_path / "a.png")[0, :, 0].astype(int)
    assert (np.diff(read) >= 0).all()
    assert len(np.unique(read)) > 250  # 8 bits, converted one by one, have gaps in the shadows
    Image.fromarray(values).save(tmp_path / "plain.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "plain.png")[0, :, 0], np.round(values[0] / 257))


def tiff_of(pixels: NDArray[np.unsignedinteger], extra: int | None = None, icc_profile: bytes = b"") -> bytes:
    """An uncompressed TIFF file of (H, W, C) uint8 or uint16; extra: what the last channel is (TIFF 6.0, 18)."""
    height, width, channels = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits = struct.pack(f"<{channels}H", *[8 * pixels.itemsize] * channels)
    tags = {256: (4, 1, width), 257: (4, 1, height), 259: (3, 1, 1), 262: (3, 1, 2), 277: (3, 1, channels)}
    tags |= {278: (4, 1, height), 279: (4, 1, len(data)), 284: (3, 1, 1)}
    if extra is not None:
        tags[338] = (3, 1, extra)
    start = 8 + 2 + 12 * (len(tags) + 2 + bool(icc_profile)) + 4
    tags |= {258: (3, channels, start), 273: (4, 1, start + len(bits) + len(icc_profile))}
    if icc_profile:
        tags[34675] = (7, len(icc_profile), start + len(bits))
    directory = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)
    return head + bits + icc_profile + data


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_that_is_multiplied_into_the_colours(kind: type[np.unsignedinteger], tmp_path: Path) -> None:
    """TIFF calls it associated; the colours come out as they are, and lie on a ground as if they were not."""
    unit = np.iinfo(kind).max // 255
    pixels = (
        np.array([[[100, 50, 0, 128], [90, 80, 70, 255], [0, 0, 0, 0], [20, 10, 4, 51]]]) * unit
    ).astype(kind)
    (tmp_path / "associated.tif").write_bytes(tiff_of(pixels, extra=1))
    (tmp_path / "plain.tif").write_bytes(tiff_of(pixels, extra=2))
    photo, opacity = read_with_opacity(tmp_path / "associated.tif")
    assert opacity is not None
    assert opacity.alpha.tolist() == [[128, 255, 0, 51]]
    # 100 / (128 / 255) = 199; 20 / 0.2 = 100
    assert opacity.colours[0].tolist() == [[199, 99, 0], [90, 80, 70], [255, 255, 255], [100, 50, 20]]
    np.testing.assert_allclose(photo[0, 0], [100 + 127, 50 + 127, 127], atol=1)
    plain = read_with_opacity(tmp_path / "plain.tif")[1]
    assert plain is not None
    assert plain.colours[0].tolist() == [[100, 50, 0], [90, 80, 70], [255, 255, 255], [20, 10, 4]]


def test_sixteen_bits_with_a_profile_keep_it(tmp_path: Path) -> None:
    """Numbers of an RGB profile stay as they are, as the results carry the profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    levels = np.array([[[0, 128, 255], [10, 20, 30]]], np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff_of(levels * 257, icc_profile=profile))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif"), levels)
    assert read_profile(tmp_path / "a.tif").icc_profile == profile


@pytest.mark.parametrize(
    "broken", [b"", b"x" * 200, grey_profile(1.0)[:140], cmyk_profile(INKS)[:300], cmyk_profile({})[:-800]]
)
def test_a_damaged_profile_changes_nothing(broken: bytes, tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", icc_profile=broken)
    Image.new("L", (4, 4), 128).save(tmp_path / "b.png", icc_profile=broken)
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "c.png", icc_profile=broken)
    assert read_photo(tmp_path / "a.jpg")[0, 0, 0] > 200
    assert read_photo(tmp_path / "b.png")[0, 0, 0] == 128
    assert read_photo(tmp_path / "c.png")[0, 0, 0] == 128
