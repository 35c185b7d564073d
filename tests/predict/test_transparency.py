"""What a photo brings along, its transparency and its colour profile, in what is made of it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from act2sal.config import Format
from act2sal.data.encoding import read_profile
from act2sal.data.image_inputs import ImageInput
from act2sal.predict.animation import Animation
from act2sal.predict.detector import Detector
from act2sal.predict.maps import Outcome, predict_by
from act2sal.predict.output_kinds import parse_kind
from act2sal.predict.rendering import Rendering

RED, GREEN = (200, 30, 30), (0, 160, 0)


def everything(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ones(photo.shape[:2], np.float32)


def nothing(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.zeros(photo.shape[:2], np.float32)


def done(
    photo: Path,
    out: Path,
    kind: str,
    method=everything,
    format: Format = "png",  # type: ignore[no-untyped-def]
) -> NDArray[np.int64]:
    outcome = predict_by([photo], out, method, Rendering((parse_kind(kind),), format), workers=1, quiet=True)
    assert outcome == Outcome(1, [])
    return np.asarray(Image.open(out)).astype(int)


def glass() -> Image.Image:
    """Red, of alpha 0, 128 and 255 from left to right; green where nothing is seen."""
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, :10] = (*GREEN, 0)
    pixels[:, 10:20] = (*RED, 128)
    pixels[:, 20:] = (*RED, 255)
    return Image.fromarray(pixels)


def indexed(path: Path) -> None:
    numbers = np.zeros((20, 30), np.uint8)
    numbers[:, 10:20], numbers[:, 20:] = 1, 2
    image = Image.frombytes("P", (30, 20), numbers.tobytes())
    image.putpalette([*GREEN, *RED, *RED])
    image.save(path, transparency=bytes([0, 128, 255]))


def test_a_cutout_is_nowhere_more_opaque_than_its_photo_and_has_its_colours(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.webp"):
        glass().save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    indexed(tmp_path / "indexed.png")
    for photo in sorted(tmp_path.iterdir()):
        pixels = done(photo, tmp_path / "o" / f"{photo.name}.png", "cutout")
        assert pixels[10, [5, 15, 25], 3].tolist() == [0, 128, 255], photo
        assert pixels[10, [5, 15, 25], :3].tolist() == [[0, 0, 0], list(RED), list(RED)], photo


def test_grey_with_alpha_and_a_transparent_colour_are_transparent(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([np.full((9, 9), 90, np.uint8), np.full((9, 9), 40, np.uint8)]), "LA").save(
        tmp_path / "la.png"
    )
    colours = np.zeros((9, 9, 3), np.uint8)
    colours[:, 4:] = RED
    Image.fromarray(colours).save(tmp_path / "trns.png", transparency=(0, 0, 0))
    assert done(tmp_path / "la.png", tmp_path / "1.png", "cutout")[4, 4].tolist() == [90, 90, 90, 40]
    assert done(tmp_path / "trns.png", tmp_path / "2.png", "cutout")[4, ::8].tolist() == [
        [0] * 4,
        [*RED, 255],
    ]


def test_what_is_transparent_is_neither_salient_nor_seen(tmp_path: Path) -> None:
    glass().save(tmp_path / "a.png")
    seen: list[NDArray[np.uint8]] = []

    def look(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(photo)
        return everything(photo)

    assert done(tmp_path / "a.png", tmp_path / "map.png", "map", look)[10, [5, 15]].tolist() == [0, 255]
    assert seen[0][10, 5].tolist() == [255, 255, 255]
    pixels = done(tmp_path / "a.png", tmp_path / "jpg.jpg", "color:#00a000", format="jpg")
    half = (np.array(RED) + GREEN) / 2
    assert np.abs(pixels[10, [5, 15, 25]] - [GREEN, half, RED]).max() <= 6


def logo(*halves: tuple[int, int, int]) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A ring on nothing, of one colour or of two beside each other, and where it is."""
    rows, columns = np.mgrid[:180, :240]
    distance = np.hypot(rows - 90, columns - 120)
    ring = (distance > 30) & (distance < 70)
    pixels = np.zeros((180, 240, 4), np.uint8)
    pixels[:, :120, :3], pixels[:, 120:, :3] = halves[0], halves[-1]
    pixels[ring, 3] = 255
    return Image.fromarray(pixels), ring


WHITE, GREY, BLACK = (255, 255, 255), (128, 128, 128), (0, 0, 0)


@pytest.mark.parametrize(
    "colours",
    [
        [WHITE],
        [BLACK],
        [GREY],
        [(70, 70, 70)],
        [(220, 220, 220)],
        [(235, 235, 235)],
        [(200, 30, 30)],
        [BLACK, WHITE],
    ],
)
def test_a_logo_of_any_colour_is_found_by_the_detector(
    colours: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    """Its map is that before anything transparent is taken out of it."""
    picture, ring = logo(*colours)
    picture.save(tmp_path / "logo.png")
    detector = Detector.load()
    prob = detector(tmp_path / "logo.png")
    left = np.arange(240)[None] < 120
    for half in (ring & left, ring & ~left):
        assert prob[half].mean() > 0.9 > 0.2 > prob[~ring].mean()
    assert detector.confidence(tmp_path / "logo.png") > 0.8
    np.testing.assert_array_equal(detector(np.array(picture)), prob)


@pytest.mark.parametrize("kind", ["overlay", "blur"])
def test_what_a_network_sees_behind_a_logo_is_not_shown(kind: str, tmp_path: Path) -> None:
    picture, ring = logo(WHITE)
    picture.save(tmp_path / "logo.png")
    seen: list[NDArray[np.uint8]] = []

    def look(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(photo)
        return ring.astype(np.float32)

    pixels = done(tmp_path / "logo.png", tmp_path / "o.png", kind, look)
    assert seen[0][0, 0].tolist() == [0, 0, 0]
    assert pixels[~ring].min() == 255


def test_all_frames_of_an_animation_have_the_same_behind_them(tmp_path: Path) -> None:
    """What the first frame that shows anything stands out from: here it is white, and so black, also behind black."""
    frames = [Image.new("RGBA", (240, 180)), logo(WHITE)[0], logo((40, 40, 40))[0], logo(GREY)[0]]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=100)
    seen = [frame.pixels[0, 0].tolist() for frame in Animation.open(tmp_path / "a.png").frames()]
    assert seen == [[255] * 3, [0] * 3, [0] * 3, [0] * 3]


@cache
def swapped_profile() -> bytes:
    """A profile whose red is the blue of sRGB and the other way round; made once, as it holds the second of that."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(swapped)


def photo_of(path: Path, profile: bytes) -> None:
    Image.new("RGB", (16, 12), (250, 10, 20)).save(path, icc_profile=profile)


def test_backgrounds_and_tints_are_brought_into_the_colours_of_the_photo(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo_of(photo, swapped_profile())
    Image.new("RGB", (5, 5), (200, 100, 0)).save(tmp_path / "plain.png")
    photo_of(tmp_path / "same.png", swapped_profile())
    for kind, right in (
        ("color:#c86400", [0, 100, 200]),
        (f"image:{tmp_path / 'plain.png'}", [0, 100, 200]),
        (f"image:{tmp_path / 'same.png'}", [250, 10, 20]),
    ):
        pixels = done(photo, tmp_path / f"{kind[:2]}{right[0]}.png", kind, nothing)
        assert np.abs(pixels[5, 5] - right).max() <= 2, kind
    assert read_profile(tmp_path / "co0.png").icc_profile == swapped_profile()
    tinted = done(photo, tmp_path / "tint.png", "overlay")[5, 5]
    assert tinted[2] > 150 > tinted[0]


@pytest.mark.parametrize("held", ["path", "pillow", "array", "tensor"])
def test_a_cutout_in_python_is_no_more_opaque_than_the_picture(held: str, tmp_path: Path) -> None:
    """Whatever the picture is held in; where it shows through, its own colours and not white come out."""
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[...] = (200, 40, 30, 255)
    pixels[:, 20:40, 3] = 128
    pixels[:, 40:, 3] = 0
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "glass.png")
    inputs: dict[str, ImageInput] = {
        "path": tmp_path / "glass.png",
        "pillow": picture,
        "array": pixels,
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
    }

    class Everything:
        size, rates = 32, False

        def __call__(self, squares: np.ndarray) -> np.ndarray:
            return np.ones(squares.shape[:3], np.float32)

    result = np.array(Detector(Everything()).cutout(inputs[held]))  # type: ignore[arg-type]
    assert np.array_equal(result[..., 3], pixels[..., 3])
    assert np.abs(result[:, :40, :3].astype(int) - (200, 40, 30)).max() <= 1
