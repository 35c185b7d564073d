"""Pictures as people hold them: every kind gives the pixels that the file would give, or one line."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageOps

from act2sal.data.image_inputs import rgb_of
from act2sal.data.images import ImageError, read_photo

PHOTO: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
"""Five rows and seven columns: no two sides are alike, none is a number of channels."""


def encoded(image: Image.Image, *, orientation: int | None = None) -> io.BytesIO:
    stream = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(stream, format="PNG", exif=exif)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_path(tmp_path: Path, as_path: type) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    np.testing.assert_array_equal(rgb_of(as_path(path)), PHOTO)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.jpg: no such file"):
        rgb_of(tmp_path / "missing.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_upright_like_its_file(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(PHOTO), orientation=orientation).getvalue())
    with Image.open(path) as image:
        np.testing.assert_array_equal(rgb_of(image), read_photo(path))
        np.testing.assert_array_equal(rgb_of(image), np.array(ImageOps.exif_transpose(image)))


def test_a_pillow_image_that_its_owner_turned_is_not_turned_again() -> None:
    with Image.open(encoded(Image.fromarray(PHOTO), orientation=6)) as image:
        upright = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(rgb_of(upright), np.rot90(PHOTO, -1))


def test_the_image_of_the_owner_stays_as_it_was() -> None:
    with Image.open(encoded(Image.fromarray(PHOTO), orientation=6)) as image:
        rgb_of(image)
        assert image.size == (7, 5)
        assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
def test_opaque_modes_of_pillow(mode: str) -> None:
    image = Image.fromarray(PHOTO).convert("RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    np.testing.assert_array_equal(rgb_of(image), np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa"])
def test_alpha_of_something_dark_in_pillow_is_laid_on_white(mode: str) -> None:
    rgba = Image.fromarray(np.array([[[100, 100, 100, 255], [100, 100, 100, 0]]], np.uint8))
    np.testing.assert_array_equal(rgb_of(rgba.convert(mode))[0], [[100] * 3, [255] * 3])


def test_a_palette_with_a_transparent_colour() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.putdata([0, 1, 2])
    stream = io.BytesIO()
    palette.save(stream, format="PNG", transparency=1)
    with Image.open(stream) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(rgb_of(image)[0], [[10, 20, 30], [255, 255, 255], [70, 80, 90]])


def test_sixteen_bit_images_of_pillow_are_scaled() -> None:
    deep = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    np.testing.assert_array_equal(rgb_of(deep)[0, :, 2], [0, 1, 128, 255])
    with Image.open(encoded(deep)) as image:
        np.testing.assert_array_equal(rgb_of(image)[0, :, 2], [0, 1, 128, 255])


def test_a_pillow_image_without_pixels() -> None:
    with pytest.raises(ValueError, match="0 x 5"):
        rgb_of(Image.new("RGB", (0, 5)))


def test_a_truncated_pillow_image() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    half = encoded(Image.fromarray(noise)).getvalue()[:6000]
    with Image.open(io.BytesIO(half)) as image, pytest.raises(ValueError, match="cannot be used: ") as raised:
        rgb_of(image)
    assert "\n" not in str(raised.value)


GREY = PHOTO[..., 0]
GREY_TWICE = np.repeat(GREY[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PHOTO, PHOTO),
        (PHOTO.transpose(2, 0, 1), PHOTO),
        (PHOTO[:, ::-1], PHOTO[:, ::-1]),
        (PHOTO / 255, PHOTO),
        ((PHOTO / 255).astype(np.float16), PHOTO),
        (PHOTO.astype(np.uint16) * 257, PHOTO),
        (GREY, GREY_TWICE),
        (GREY[..., None], GREY_TWICE),
        (GREY[None], GREY_TWICE),
        (GREY > 100, (GREY_TWICE > 100) * 255),
        (PHOTO[:3, :3], PHOTO[:3, :3]),
        (PHOTO[:1, :1], PHOTO[:1, :1]),
    ],
)
def test_arrays(array: NDArray, expected: NDArray[np.uint8]) -> None:
    rgb = rgb_of(array)
    assert (rgb.dtype, rgb.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(rgb, expected)


@pytest.mark.parametrize("scale", [1, 255])
def test_alpha_of_something_dark_in_an_array_is_laid_on_white(scale: int) -> None:
    rgba = np.array([[[100, 0, 0, 255], [100, 0, 0, 0], [100, 0, 0, 51]]], np.uint8)
    array = rgba if scale == 1 else rgba / 255
    np.testing.assert_array_equal(rgb_of(array)[0], [[100, 0, 0], [255, 255, 255], [224, 204, 204]])


def test_alpha_with_the_channels_in_front() -> None:
    rgba = np.dstack([PHOTO, np.full((5, 7), 128, np.uint8)])
    np.testing.assert_array_equal(rgb_of(rgba.transpose(2, 0, 1)), rgb_of(rgba))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(PHOTO.transpose(2, 0, 1).copy()),
        torch.from_numpy(PHOTO),
        torch.from_numpy(PHOTO).float().div(255),
        torch.from_numpy(PHOTO).double().div(255).requires_grad_(),
        torch.from_numpy(PHOTO).permute(2, 0, 1).float().div(255),
    ],
)
def test_tensors(tensor: torch.Tensor) -> None:
    np.testing.assert_array_equal(rgb_of(tensor), PHOTO)


def test_half_precision_tensors() -> None:
    tensor = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.bfloat16)
    np.testing.assert_array_equal(rgb_of(tensor)[0, :, 0], [0, 128, 255])


def test_channels_that_could_lie_at_either_end() -> None:
    ambiguous = PHOTO[:3, :4].transpose(0, 2, 1).copy()  # 3 x 3 x 4
    np.testing.assert_array_equal(rgb_of(torch.from_numpy(ambiguous)), ambiguous.transpose(1, 2, 0))
    rows = PHOTO[:3]  # 3 x 7 x 3
    np.testing.assert_array_equal(rgb_of(rows), rows)
    np.testing.assert_array_equal(rgb_of(torch.from_numpy(rows)[..., :3].permute(2, 0, 1)), rows)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 7, 2), np.uint8), r"not \(5, 7, 2\)"),
        (np.zeros((1, 5, 7, 3), np.uint8), r"not \(1, 5, 7, 3\)"),
        (np.zeros(9, np.uint8), r"not \(9,\)"),
        (np.zeros((0, 7, 3), np.uint8), r"not \(0, 7, 3\)"),
        (np.zeros((0, 7)), r"not \(0, 7\)"),
        (np.zeros((5, 7, 3), np.int64), "not int64"),
        (np.full((5, 7, 3), 200.0), r"not in \[200, 200\]"),
        (np.full((5, 7, 3), -0.5), r"not in \[-0.5, -0.5\]"),
        (np.full((5, 7, 3), np.nan), "not finite"),
    ],
)
def test_arrays_that_are_no_picture(array: NDArray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rgb_of(array)
    with pytest.raises(ValueError, match=words):
        rgb_of(torch.from_numpy(array))


@pytest.mark.parametrize("thing", [None, 3, b"\x89PNG", [[1, 2], [3, 4]], io.TextIOWrapper(io.BytesIO(b"x"))])
def test_things_that_are_no_picture(thing: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(thing).__name__}"):
        rgb_of(thing)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
        elements=st.floats(0, 1, width=32),
    )
)
def test_floats_are_rounded_to_the_nearest_level(values: NDArray[np.float32]) -> None:
    rgb = rgb_of(values)
    assert rgb.shape == (*values.shape[:2], 3)
    assert np.abs(rgb / 255 - values).max() <= 0.5 / 255 + 1e-6
