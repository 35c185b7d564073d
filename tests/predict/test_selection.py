"""The object or the ground, cut, grown and feathered: by hand, by brute force, and through the command."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.data.transparency import Opacity
from act2sal.errors import InputError
from act2sal.predict.output_kinds import parse_kind, rendered
from act2sal.predict.selection import Selection, feathered, grown

MAPS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1, width=32)
)


def within(alpha: NDArray[np.float32], radius: int, choose) -> NDArray[np.float32]:  # type: ignore[no-untyped-def]
    """The largest or the smallest value within a distance, pixel by pixel."""
    height, width = alpha.shape
    result = np.empty_like(alpha)
    for y in range(height):
        for x in range(width):
            near = [
                alpha[v, u]
                for v in range(height)
                for u in range(width)
                if (u - x) ** 2 + (v - y) ** 2 <= radius**2
            ]
            result[y, x] = choose(near)
    return result


@settings(deadline=None, max_examples=60)
@given(MAPS, st.integers(-6, 6))
def test_growing_is_the_largest_and_shrinking_the_smallest_within_a_disk(
    alpha: NDArray[np.float32], pixels: int
) -> None:
    before = alpha.copy()
    result = grown(alpha, pixels)
    np.testing.assert_array_equal(result, within(alpha, abs(pixels), max if pixels >= 0 else min))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(alpha, before)


def test_a_dot_becomes_a_disk_and_goes() -> None:
    dot = np.zeros((7, 7), np.float32)
    dot[3, 3] = 1
    disk = [
        "0000000",
        "0001000",
        "0011100",
        "0111110",
        "0011100",
        "0001000",
        "0000000",
    ]
    np.testing.assert_array_equal(grown(dot, 2), [[int(sign) for sign in row] for row in disk])
    np.testing.assert_array_equal(grown(grown(dot, 2), -2), dot)
    assert not grown(dot, -1).any()


def test_an_object_that_the_border_cuts_does_not_shrink_there() -> None:
    alpha = np.zeros((6, 6), np.float32)
    alpha[:4] = 1
    expected = np.zeros((6, 6), np.float32)
    expected[:3] = 1
    np.testing.assert_array_equal(grown(alpha, -1), expected)


def test_a_feathered_edge_is_the_gaussian_one() -> None:
    alpha = np.zeros((5, 40), np.float32)
    alpha[:, 20:] = 1
    sigma = 2.0
    weights = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-8, 9)]
    total = sum(weights)
    expected = [
        sum(w for w, x in zip(weights, range(-8, 9), strict=True) if u + x >= 20) / total for u in range(40)
    ]
    np.testing.assert_allclose(feathered(alpha, sigma), np.tile(expected, (5, 1)), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(MAPS, st.floats(0.1, 5))
def test_feathering_stays_between_the_extremes(alpha: NDArray[np.float32], sigma: float) -> None:
    soft = feathered(alpha, sigma)
    assert soft.min() >= max(alpha.min() - 1e-6, 0)
    assert soft.max() <= min(alpha.max() + 1e-6, 1)


PROB = np.array([[0.0, 0.2, 0.6, 1.0, 0.4]], np.float32)


@pytest.mark.parametrize(
    ("selection", "levels", "mask", "alpha"),
    [
        (Selection(), [0, 0.2, 0.6, 1, 0.4], [0, 0, 1, 1, 0], [0, 0.2, 0.6, 1, 0.4]),
        (Selection(0.3), [0, 0.2, 0.6, 1, 0.4], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]),
        (Selection(grow=1), [0, 0.2, 0.6, 1, 0.4], [0, 1, 1, 1, 1], [0.2, 0.6, 1, 1, 1]),
        (Selection(grow=-1), [0, 0.2, 0.6, 1, 0.4], [0, 0, 0, 0, 0], [0, 0, 0.2, 0.4, 0.4]),
        (Selection(ground=True), [1, 0.8, 0.4, 0, 0.6], [1, 1, 0, 0, 1], [1, 0.8, 0.4, 0, 0.6]),
        (Selection(0.3, grow=1, ground=True), [1, 0.8, 0.4, 0, 0.6], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]),
    ],
)
def test_by_hand(selection: Selection, levels: list, mask: list, alpha: list) -> None:
    """The object is cut, then it grows, and then the ground is what it is not."""
    np.testing.assert_allclose(selection.levels_of(PROB)[0], levels, atol=1e-6)
    np.testing.assert_allclose(selection.mask_of(PROB)[0], mask, atol=1e-6)
    np.testing.assert_allclose(selection.alpha_of(PROB)[0], alpha, atol=1e-6)


def test_the_object_is_the_same_whatever_is_shown_of_it() -> None:
    for selection in (Selection(0.3, 1), Selection(0.3, 1, 2.0), Selection(0.3, 1, 2.0, ground=True)):
        np.testing.assert_array_equal(selection.object_of(PROB)[0], [False, True, True, True, True])


@pytest.mark.parametrize("text", ["map", "mask", "cutout", "overlay", "blur", "color:#102030"])
@pytest.mark.parametrize("selection", [Selection(), Selection(0.5, 1), Selection(feather=1.0)])
def test_the_ground_of_a_map_is_the_object_of_its_opposite(text: str, selection: Selection) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    prob = np.zeros((20, 30), np.float32)
    prob[5:15, 8:20] = 1
    ground = Selection(selection.threshold, selection.grow, selection.feather, ground=True)
    opposite = Selection(selection.threshold, -selection.grow, selection.feather)
    np.testing.assert_allclose(
        rendered(parse_kind(text), photo, prob, ground).astype(int),
        rendered(parse_kind(text), photo, 1 - prob, opposite),
        atol=1,
    )


@pytest.mark.parametrize("text", ["map", "mask", "cutout"])
def test_what_is_transparent_is_neither_object_nor_ground(text: str) -> None:
    photo = np.full((4, 6, 3), 90, np.uint8)
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[:, :2] = 0
    prob = np.zeros((4, 6), np.float32)
    pixels = rendered(
        parse_kind(text), photo, prob, Selection(grow=1, ground=True), opacity=Opacity(photo, alpha)
    )
    shown = pixels[..., 3] if text == "cutout" else pixels
    np.testing.assert_array_equal(shown, alpha)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--grow 201", "--grow is in -200..200 pixels, not 201"),
        ("--grow -201", "--grow is in -200..200 pixels, not -201"),
        ("--feather -1", "--feather is in 0..100 pixels, not -1"),
        ("--feather 100.5", "--feather is in 0..100 pixels, not 100.5"),
        ("--feather nan", "--feather is in 0..100 pixels, not nan"),
    ],
)
def test_numbers_out_of_range(
    words: str, line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    command = ["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "o.png"), "--kind", "mask"]
    assert main([*command, *words.split()]) == 2
    assert capsys.readouterr().err == f"act2sal: {line}\n"
    with pytest.raises(InputError):
        Selection(grow=1000)


def test_a_mask_grows_through_the_command(tmp_path: Path) -> None:
    """A grown mask is the plain one with its own disk around it, and the ground is what is left."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 30:50] = (250, 20, 20)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def mask(*words: str) -> NDArray[np.uint8]:
        out = str(tmp_path / "m.png")
        command = [
            "predict",
            str(tmp_path / "a.png"),
            "--out",
            out,
            "--overwrite",
            "--method",
            "mc",
            "--quiet",
        ]
        assert main([*command, "--kind", "mask", *words]) == 0
        with Image.open(out) as image:
            return np.array(image)

    plain = mask()
    assert 0 < plain.mean() < 255
    larger = grown((plain / 255).astype(np.float32), 4) * 255
    np.testing.assert_array_equal(mask("--grow", "4"), larger)
    np.testing.assert_array_equal(mask("--grow", "4", "--ground"), 255 - larger)
    soft = mask("--grow", "4", "--feather", "2")
    assert set(np.unique(soft)) - {0, 255}
    np.testing.assert_allclose(soft, feathered((larger / 255).astype(np.float32), 2) * 255, atol=1)
