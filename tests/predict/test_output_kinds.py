"""The words for what is written, and the pixels they give."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.encoding import Format
from act2sal.errors import InputError
from act2sal.predict.output_kinds import Kind, parse_kind, refuse_kinds, rendered, suffix_of
from act2sal.predict.selection import Selection
from act2sal.predict.thresholds import Threshold

PHOTO = np.array([[[200, 100, 0], [100, 100, 100], [0, 50, 250]]], np.uint8)
PROB = np.array([[0.0, 0.4, 1.0]], np.float32)


@pytest.fixture
def background(tmp_path: Path) -> Path:
    """A picture of one colour, 4 x 2."""
    path = tmp_path / "behind: it.png"
    Image.new("RGB", (4, 2), (10, 20, 30)).save(path)
    return path


@pytest.mark.parametrize("name", ["map", "mask", "cutout", "overlay", "blur"])
def test_plain_words(name: str) -> None:
    assert parse_kind(name) == Kind(name)  # type: ignore[arg-type]


def test_colours() -> None:
    assert parse_kind("color:#0080ff") == Kind("color", color=(0, 128, 255))
    assert parse_kind("color:white").color == (255, 255, 255)


def test_a_picture_is_read_once(background: Path) -> None:
    kind = parse_kind(f"image:{background}")
    assert kind == Kind("image", file=background)
    assert kind.picture is not None
    assert kind.picture.shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an output is map, mask"),
        ("Map", "not 'Map'"),
        ("alpha", "not 'alpha'"),
        ("mask:0.5", "not 'mask:0.5'"),
        ("map:", "not 'map:'"),
        ("color", "color:#rrggbb"),
        ("color:", "color:#rrggbb"),
        ("color:00ff00", "not color:00ff00"),
        ("color:#00ff0080", "not color:#00ff0080"),
        ("image", "image:FILE"),
        ("image:missing.jpg", r"the background cannot be read: missing\.jpg: no such file"),
    ],
)
def test_other_words_give_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        parse_kind(text)
    assert "\n" not in str(raised.value)


def test_a_background_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(InputError, match=r"notes\.txt: not an image"):
        parse_kind(f"image:{tmp_path / 'notes.txt'}")


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_suffixes(format: Format) -> None:
    assert suffix_of(Kind("mask"), False, format) == f".{format}"
    assert suffix_of(Kind("color", color=(1, 2, 3)), True, format) == f".color.{format}"


def test_a_cutout_needs_a_format_with_transparency() -> None:
    kinds = [Kind("map"), Kind("cutout")]
    refuse_kinds(kinds, "png")
    with pytest.raises(
        InputError, match="jpg holds no transparency, which cutout needs; possible: png, webp"
    ):
        refuse_kinds(kinds, "jpg")


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two outputs of the kind color"):
        refuse_kinds([parse_kind("color:#000000"), parse_kind("map"), parse_kind("color:#ffffff")], "png")


@pytest.mark.parametrize(
    ("text", "threshold", "expected"),
    [
        ("map", None, [0, 102, 255]),
        ("map", 0.3, [0, 102, 255]),
        ("mask", None, [0, 0, 255]),
        ("mask", 0.3, [0, 255, 255]),
        ("mask", "adaptive", [0, 0, 255]),  # 2 * 1.4 / 3 = 0.93
        # The middle lies at an edge and takes 1 - 0.4^2 of the object's colour: 0.16 * 100 + 0.84 * (0, 50, 250)
        ("cutout", None, [[0, 0, 0, 0], [16, 58, 226, 102], [0, 50, 250, 255]]),
        ("cutout", 0.5, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 50, 250, 255]]),
        ("overlay", None, [[200, 100, 0], [137, 76, 76], [153, 20, 100]]),  # 0.76 * 100 + 0.24 * 255 = 137.2
        ("overlay", 0.5, [[200, 100, 0], [100, 100, 100], [153, 20, 100]]),
        ("color:#0000ff", 0.3, [[0, 0, 255], [100, 100, 100], [0, 50, 250]]),
    ],
)
def test_pixels_by_hand(text: str, threshold: Threshold | None, expected: list) -> None:
    pixels = rendered(parse_kind(text), PHOTO, PROB, Selection(threshold))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[0], expected)


def test_another_picture(background: Path) -> None:
    pixels = rendered(parse_kind(f"image:{background}"), PHOTO, PROB, Selection(0.5))
    np.testing.assert_array_equal(pixels[0], [[10, 20, 30], [10, 20, 30], [0, 50, 250]])


def test_a_blurred_background_keeps_the_object() -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    prob = np.zeros((60, 90), np.float32)
    prob[20:40, 30:60] = 1
    pixels = rendered(parse_kind("blur"), photo, prob)
    np.testing.assert_array_equal(pixels[20:40, 30:60], photo[20:40, 30:60])
    assert pixels[:15].std() < 0.4 * photo[:15].std()


def test_a_photo_and_the_map_of_another() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        rendered(Kind("map"), PHOTO, PROB.T)


def test_which_kinds_show_the_photo() -> None:
    shown = [name for name in ("map", "mask", "cutout", "overlay", "blur") if parse_kind(name).shows_photo]
    assert shown == ["cutout", "overlay", "blur"]
    assert Kind("color").shows_photo
    assert Kind("image").shows_photo


@st.composite
def photos_with_maps(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    photo = draw(hnp.arrays(np.uint8, (height, width, 3)))
    return photo, draw(hnp.arrays(np.float32, (height, width), elements=st.floats(0, 1, width=32)))


@settings(deadline=None, max_examples=80)
@given(
    photos_with_maps(),
    st.sampled_from(["map", "mask", "cutout", "overlay", "blur", "color:#123456"]),
    st.one_of(st.none(), st.floats(0, 1), st.sampled_from(["otsu", "adaptive"])),
)
def test_every_kind_at_every_threshold(
    drawn: tuple[NDArray[np.uint8], NDArray[np.float32]], text: str, threshold: Threshold | None
) -> None:
    photo, prob = drawn
    before = photo.copy(), prob.copy()
    pixels = rendered(parse_kind(text), photo, prob, Selection(threshold))
    channels = {"map": (), "mask": (), "cutout": (4,)}.get(text, (3,))
    assert (pixels.shape, pixels.dtype) == ((*prob.shape, *channels), np.uint8)
    if text == "mask" or (text == "cutout" and threshold is not None):
        assert set(np.unique(pixels[..., -1] if text == "cutout" else pixels)) <= {0, 255}
    if text not in ("map", "mask", "overlay"):
        np.testing.assert_array_equal(
            pixels[prob == 1][:, :3], photo[prob == 1]
        ) if threshold is None else None
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(prob, before[1])
