"""Decoding, resizing and writing of pictures."""

import contextlib
import io
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from act2sal.data import images
from act2sal.data.encoding import read_profile
from act2sal.data.images import ImageError, read_photo, resize_map, resize_photo, write_atomic, write_gray_png

ORIENTATION, MAKE = 0x0112, 0x010F


def sample(height: int = 6, width: int = 9) -> NDArray[np.uint8]:
    """A photo in which every pixel differs from its neighbours and the three channels differ."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """A photo that lossy codecs keep."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 4, columns * 4, 255 - rows * 2 - columns * 2], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_a_tiff_file_on_its_side_is_turned_upright(
    mode: str, compression: str | None, orientation: int, tmp_path: Path
) -> None:
    """From a path, where Pillow may map the pixels into memory, as from bytes."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = Image.fromarray(sample()).convert(mode)
    picture.save(tmp_path / "a.tif", exif=exif, compression=compression)
    picture.save(tmp_path / "plain.tif")
    flat = read_photo(tmp_path / "plain.tif")
    if orientation in (2, 4, 5, 7):  # those that mirror
        flat = flat[:, ::-1]
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    expected = np.rot90(flat, turns)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif"), expected)
    np.testing.assert_array_equal(read_photo((tmp_path / "a.tif").read_bytes()), expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_lossless_formats_come_back_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(sample()).save(path)
    photo = read_photo(path)
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, sample())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(smooth()).save(path, quality=95)
    assert np.abs(read_photo(path).astype(int) - smooth()).mean() < 4


@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_pictures_of_telephones_are_read_upright_with_their_exif(tmp_path: Path, suffix: str) -> None:
    path, exif = tmp_path / f"photo{suffix}", Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "Maker"
    lying = Image.fromarray(np.rot90(smooth()).copy())
    if suffix == ".heic":
        pillow_heif.from_pillow(lying).save(path, quality=95, exif=exif.tobytes())
    else:
        lying.save(path, quality=95, exif=exif)
    assert np.abs(read_photo(path).astype(int) - smooth()).mean() < 4
    kept = Image.Exif()
    kept.load(read_profile(path).exif)
    assert kept[MAKE] == "Maker"
    assert kept[ORIENTATION] == 1


def test_heic_without_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r"photo\.heic: .*damaged"):
        read_photo(path)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r'photo\.heic: HEIC needs .*pip install "act2sal\[heic\]"'):
        read_photo(path)


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(sample()).save(path, format="PNG")
    np.testing.assert_array_equal(read_photo(path), sample())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int, upright) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(sample()).save(path, exif=exif)
    np.testing.assert_array_equal(read_photo(path), upright(sample()))


def test_orientation_of_a_jpeg(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth(32, 48)).save(path, exif=exif, quality=95)
    photo = read_photo(path)
    assert photo.shape == (48, 32, 3)
    assert np.abs(photo.astype(int) - np.rot90(smooth(32, 48), -1)).mean() < 4


def test_alpha_of_something_dark_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 100
    rgba[0, :, 3] = (255, 0, 51)  # 51 / 255 = 0.2
    path = tmp_path / "photo.png"
    Image.fromarray(rgba).save(path)
    expected = [[100, 0, 0], [255, 255, 255], [224, 204, 204]]  # 0.2 * 100 + 0.8 * 255 = 224
    np.testing.assert_array_equal(read_photo(path)[0], expected)


def test_gray_with_alpha(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), mode=None).save(path)
    np.testing.assert_array_equal(read_photo(path)[0], [[10] * 3, [255] * 3])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_palette_with_a_transparent_colour(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("L")
    palette = Image.new("P", image.size)
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.putdata([0, 1, 2])
    path = tmp_path / "photo.png"
    palette.save(path, transparency=transparency)
    np.testing.assert_array_equal(read_photo(path)[0], [[10, 20, 30], [255, 255, 255], [70, 80, 90]])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_gray_is_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(path)
    np.testing.assert_array_equal(read_photo(path)[0, :, 1], [0, 1, 128, 255])


def test_sixteen_bit_rgb_png_is_scaled(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0x0000)
    path = tmp_path / "photo.png"
    path.write_bytes(png_bytes(width=1, height=1, depth=16, colour=2, rows=row))
    np.testing.assert_array_equal(read_photo(path), [[[255, 128, 0]]])


def test_float_tiff_is_scaled_from_its_own_range(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    Image.fromarray(np.array([[-1.0, 0.0, np.nan, 3.0]], np.float32)).save(path)
    np.testing.assert_array_equal(read_photo(path)[0, :, 0], [0, 64, 64, 255])


def test_cmyk_gray_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(sample()[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "bits.png")
    assert np.abs(read_photo(tmp_path / "cmyk.jpg").astype(int) - smooth()).mean() < 6
    np.testing.assert_array_equal(read_photo(tmp_path / "gray.png"), np.repeat(sample()[..., :1], 3, axis=2))
    np.testing.assert_array_equal(read_photo(tmp_path / "bits.png")[..., 2], np.eye(8, dtype=np.uint8) * 255)


@pytest.mark.parametrize("name", ["film.png", "film.webp", "film.gif", "film.tif"])
def test_first_frame_of_an_animation(tmp_path: Path, name: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    first.save(tmp_path / name, save_all=True, append_images=[second])
    assert np.abs(read_photo(tmp_path / name).astype(int) - [250, 0, 0]).max() <= 6


def test_odd_metadata_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\x00garbage")
    assert read_photo(path).shape == (32, 48, 3)


def png_bytes(*, width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_bombs_are_refused_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(width=40_000, height=40_000, depth=8, colour=2, rows=b""))
    with pytest.raises(ImageError, match="--max-pixels"):
        read_photo(path)


def test_the_limit_holds_where_pillow_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(sample()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(images, "_largest", 53)
    with pytest.raises(ImageError, match="--max-pixels"):
        read_photo(path)


def test_a_large_photo_below_the_limit_gives_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(sample()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert read_photo(path).shape == (6, 9, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"photo{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError) as raised:
        read_photo(path)
    assert raised.value.path == path
    assert "\n" not in str(raised.value)
    assert str(raised.value) == f"{path}: {raised.value.reason}"


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a photo\n" * 9)
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in [
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "not an image"),
        ("folder.jpg", "is a directory"),
        ("missing.jpg", "no such file"),
    ]:
        with pytest.raises(ImageError, match=reason):
            read_photo(tmp_path / name)


@settings(max_examples=80, deadline=None)
@given(
    position=st.integers(0, 10_000), value=st.integers(0, 255), kind=st.sampled_from(["JPEG", "PNG", "TIFF"])
)
def test_damaged_bytes_raise_nothing_but_image_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, kind: str
) -> None:
    stream = io.BytesIO()
    Image.fromarray(sample()).save(stream, format=kind)
    content = bytearray(stream.getvalue())
    content[position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(ImageError):
        assert read_photo(path).ndim == 3


def test_image_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Path("a.jpg"), "damaged")))
    assert (error.path, error.reason, str(error)) == (Path("a.jpg"), "damaged", "a.jpg: damaged")


def test_shrinking_averages_and_does_not_alias() -> None:
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    narrow = resize_photo(stripes, (8, 8))
    assert narrow.shape == (8, 8, 3)
    assert np.abs(narrow.astype(int) - 127).max() <= 8


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), value=st.integers(0, 255), size=st.integers(1, 30)
)
def test_a_flat_photo_stays_flat(height: int, width: int, value: int, size: int) -> None:
    photo = np.full((height, width, 3), value, np.uint8)
    resized = resize_photo(photo, (size, 7))
    assert resized.shape == (size, 7, 3)
    assert (resized == value).all()


def test_resizing_to_the_same_size_gives_a_copy() -> None:
    photo = sample()
    same = resize_photo(photo, (6, 9))
    np.testing.assert_array_equal(same, photo)
    assert not np.shares_memory(same, photo)


@settings(deadline=None)
@given(
    prob=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1, width=32)
    ),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
)
def test_resize_map_equals_torch(prob: NDArray[np.float32], height: int, width: int) -> None:
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(prob)[None, None], (height, width), mode="bilinear", align_corners=False
    )[0, 0]
    resized = resize_map(prob, (height, width))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected.numpy(), atol=1e-5)


def test_gray_png_round_trip_in_new_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "map.png"
    pixels = sample()[..., 0]
    write_gray_png(path, pixels)
    with Image.open(path) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["map.png"]


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32)])
def test_gray_png_refuses_other_arrays(tmp_path: Path, pixels: NDArray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_gray_png(tmp_path / "map.png", pixels)


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_names_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_atomic(path, b"content")
    assert path.read_bytes() == b"content"
