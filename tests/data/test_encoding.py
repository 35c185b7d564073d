"""Image files: pixels, colour profiles and EXIF, out and back."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base

from act2sal.data.encoding import LONGEST_EXIF_OF_JPG, Format, encoded, read_profile
from act2sal.data.images import read_photo
from act2sal.errors import InputError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS: list[Format] = ["png", "jpg", "webp", "tiff"]


def of_space(space: bytes) -> bytes:
    """The header of a profile for another colour space."""
    return SRGB[:16] + space + SRGB[20:]


def smooth(height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """A photo that lossy codecs keep."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 4, columns * 4, 255 - rows * 2 - columns * 2], axis=-1).astype(np.uint8)


def camera_exif() -> Image.Exif:
    """What a phone writes: sideways, with exposure, place and a maker's note."""
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Make] = "Maker"
    exif[Base.Copyright] = "Somebody"
    exif[Base.ImageWidth] = 48
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 200, Base.ExifImageWidth: 48, Base.MakerNote: b"preview" * 20}
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N"}
    return exif


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
        hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))),
    ),
    st.sampled_from(["png", "tiff"]),
)
def test_lossless_formats_give_every_pixel_back(pixels: NDArray[np.uint8], format: Format) -> None:
    np.testing.assert_array_equal(np.array(opened(encoded(pixels, format))), pixels)


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_lossy_formats_come_near(format: Format) -> None:
    image = opened(encoded(smooth(), format))
    assert image.format == {"jpg": "JPEG", "webp": "WEBP"}[format]
    assert np.abs(np.array(image).astype(int) - smooth()).mean() < 3


def test_webp_keeps_masks_and_alpha() -> None:
    mask = (np.random.default_rng(0).random((33, 47)) > 0.5).astype(np.uint8) * np.uint8(255)
    np.testing.assert_array_equal(np.array(opened(encoded(mask, "webp")).convert("L")), mask)
    rgba = np.dstack([smooth(33, 47), mask])
    np.testing.assert_array_equal(np.array(opened(encoded(rgba, "webp")))[..., 3], mask)


@pytest.mark.parametrize("format", ["png", "jpg", "tiff"])
def test_grey_stays_grey(format: Format) -> None:
    assert opened(encoded(smooth()[..., 0], format)).mode == "L"


def test_a_jpg_holds_no_alpha() -> None:
    with pytest.raises(InputError, match="jpg holds no transparency; possible: png, webp, tiff"):
        encoded(np.zeros((2, 2, 4), np.uint8), "jpg")


@pytest.mark.parametrize(("format", "side"), [("webp", 16_384), ("jpg", 65_536)])
def test_longer_than_the_format_allows(format: Format, side: int) -> None:
    with pytest.raises(
        InputError, match=f"{format} holds at most {side - 1} pixels along a side, not {side}"
    ):
        encoded(np.zeros((1, side), np.uint8), format)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_other_arrays(pixels: NDArray) -> None:
    with pytest.raises(ValueError, match="uint8, not"):
        encoded(pixels, "png")


@pytest.mark.parametrize("source", ["photo.jpg", "photo.png", "photo.webp", "photo.tif"])
@pytest.mark.parametrize("format", FORMATS)
def test_profile_and_exif_go_from_the_photo_to_its_outputs(
    tmp_path: Path, source: str, format: Format
) -> None:
    path = tmp_path / source
    Image.fromarray(smooth()).save(path, icc_profile=SRGB, exif=camera_exif().tobytes(), quality=95)
    profile = read_profile(path)
    assert profile.icc_profile == SRGB
    photo = read_photo(path)
    target = tmp_path / f"written.{format}"
    target.write_bytes(encoded(photo, format, icc_profile=profile.icc_profile, exif=profile.exif))

    assert np.abs(read_photo(target).astype(int) - photo).mean() < 4, "turned twice"
    with Image.open(target) as image:
        assert image.info["icc_profile"] == SRGB
        exif = image.getexif()
        assert exif[Base.Orientation] == 1
        assert (exif[Base.Make], exif[Base.Copyright]) == ("Maker", "Somebody")
        assert exif.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 200
        assert exif.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] == "N"
        assert not {Base.ExifImageWidth, Base.MakerNote} & set(exif.get_ifd(IFD.Exif))


def test_the_preview_of_the_photo_is_left_out(tmp_path: Path) -> None:
    preview = io.BytesIO()
    Image.fromarray(smooth(8, 8)).save(preview, format="JPEG")
    exif = camera_exif()
    whole = exif.tobytes()
    # A second directory (IFD1) behind the first, as cameras write it
    body = whole[6:]
    order = "little" if body[:2] == b"II" else "big"
    first = int.from_bytes(body[4:8], order)
    count = int.from_bytes(body[first : first + 2], order)
    link = first + 2 + 12 * count
    start = len(body)
    entries = [(0x0201, start + 2 + 24 + 4), (0x0202, len(preview.getvalue()))]
    second = (2).to_bytes(2, order)
    for tag, value in entries:
        second += (
            tag.to_bytes(2, order)
            + (4).to_bytes(2, order)
            + (1).to_bytes(4, order)
            + value.to_bytes(4, order)
        )
    second += bytes(4) + preview.getvalue()
    body = body[:link] + start.to_bytes(4, order) + body[link + 4 :] + second
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).save(path, exif=b"Exif\0\0" + body)
    with Image.open(path) as image:
        assert image.getexif().get_ifd(IFD.IFD1)[0x0202] == len(preview.getvalue())

    kept = read_profile(path).exif
    assert kept is not None
    assert preview.getvalue()[:20] not in kept
    assert len(kept) < len(whole) + 100


def test_a_tiff_gives_none_of_its_structure(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    Image.fromarray(smooth()).save(path, exif=camera_exif().tobytes())
    exif = Image.Exif()
    exif.load(read_profile(path).exif or b"")
    assert Base.StripOffsets not in exif
    assert Base.ImageWidth not in exif


def test_a_photo_without_either_has_neither(tmp_path: Path) -> None:
    for name in ("photo.png", "photo.jpg", "photo.webp", "photo.tif", "photo.bmp", "photo.gif"):
        Image.fromarray(smooth()).save(tmp_path / name)
        assert read_profile(tmp_path / name) == (None, None), name


def test_orientation_alone_is_nothing_to_keep(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    Image.fromarray(smooth()).save(tmp_path / "photo.jpg", exif=exif)
    assert read_profile(tmp_path / "photo.jpg").exif is None


@pytest.mark.parametrize("profile", [of_space(b"CMYK"), SRGB])
def test_a_cmyk_photo_gives_no_profile(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).convert("CMYK").save(path, icc_profile=profile)
    assert read_photo(path).shape == (32, 48, 3)
    assert read_profile(path).icc_profile is None


def test_a_profile_of_grey_does_not_belong_to_rgb(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(smooth()[..., 0]).save(path, icc_profile=of_space(b"GRAY"))
    assert read_profile(path).icc_profile is None


def test_palettes_and_deep_photos_keep_theirs(tmp_path: Path) -> None:
    Image.fromarray(smooth()).convert("P").save(tmp_path / "palette.png", icc_profile=SRGB)
    assert read_profile(tmp_path / "palette.png").icc_profile == SRGB
    deep = Image.fromarray(np.full((3, 5), 40_000, np.uint16))
    deep.save(tmp_path / "deep.png", icc_profile=of_space(b"GRAY"))
    assert read_profile(tmp_path / "deep.png") == (None, None)


@pytest.mark.parametrize(
    "profile", [b"", b"short", bytes(200), SRGB[:100]], ids=["empty", "short", "zeros", "cut"]
)
def test_a_damaged_profile_is_left_out(tmp_path: Path, profile: bytes) -> None:
    Image.fromarray(smooth()).save(tmp_path / "photo.png", icc_profile=profile, exif=camera_exif())
    found = read_profile(tmp_path / "photo.png")
    assert found.icc_profile is None
    assert found.exif is not None


def test_damaged_exif_takes_nothing_else_along(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).save(path, icc_profile=SRGB, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\x00garbage")
    assert read_profile(path).icc_profile == SRGB


@settings(deadline=None, max_examples=80)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_whatever_is_found_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    content = bytearray(camera_exif().tobytes())
    content[6 + position % (len(content) - 6)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    Image.fromarray(smooth()).save(path, exif=bytes(content))
    exif = read_profile(path).exif
    for format in FORMATS:
        assert opened(encoded(smooth(), format, exif=exif)).size == (48, 32)


def test_a_file_that_is_no_photo_has_neither(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a photo")
    assert read_profile(tmp_path / "notes.jpg") == (None, None)
    assert read_profile(tmp_path / "missing.jpg") == (None, None)


def test_exif_without_room_is_left_out_of_a_jpg() -> None:
    exif = Image.Exif()
    exif[Base.ImageDescription] = "x" * LONGEST_EXIF_OF_JPG
    assert not opened(encoded(smooth(), "jpg", exif=exif.tobytes())).getexif()
    assert opened(encoded(smooth(), "png", exif=exif.tobytes())).getexif()
