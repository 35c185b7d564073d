"""The alpha of soft edges: known compositions are recovered, sure parts stay, and the command says what it needs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from act2sal.cli import main
from act2sal.config import Matting
from act2sal.data.images import read_photo
from act2sal.predict import matting as module
from act2sal.predict.detector import Detector
from act2sal.predict.matting import BAND, matted, trimap_of
from act2sal.predict.output_kinds import parse_kind, rendered
from act2sal.predict.selection import Selection

METHODS: tuple[Matting, ...] = ("closed-form", "knn")


def soft_disk(size: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An orange disk with a soft edge of 5 pixels on blue, and its alpha."""
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - size / 2, columns - size / 2)
    alpha = np.clip((size / 3 - distance) / 5 + 0.5, 0, 1).astype(np.float32)
    colours = alpha[..., None] * [230, 140, 30] + (1 - alpha[..., None]) * [20, 50, 160]
    return np.round(colours).astype(np.uint8), alpha


@pytest.mark.parametrize("method", METHODS)
def test_a_composition_of_two_colours_is_taken_apart(method: Matting) -> None:
    photo, alpha = soft_disk()
    found = matted(photo, alpha > 0.5, method)
    hard = np.abs((alpha > 0.5) - alpha).mean()
    assert found.dtype == np.float32
    assert np.abs(found - alpha).mean() < 0.25 * hard
    assert found[48, 48] == 1
    assert found[0].max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_large_photo_is_solved_small_and_enlarged(method: Matting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIDE", 80)
    photo, alpha = soft_disk(200)
    found = matted(photo, alpha > 0.5, method)
    assert found.shape == alpha.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - alpha).mean() < np.abs((alpha > 0.5) - alpha).mean()


def test_a_shape_without_inside_or_outside_stays() -> None:
    photo = soft_disk()[0]
    for shape in (np.zeros((96, 96), bool), np.ones((96, 96), bool)):
        assert np.array_equal(matted(photo, shape, "closed-form"), shape)
    speck = np.zeros((96, 96), bool)
    speck[40, 40] = True  # its band has no inside
    assert np.array_equal(matted(photo, speck, "closed-form"), speck)


def test_the_band_by_hand() -> None:
    shape = np.zeros((100, 100), bool)
    shape[25:75, 25:75] = True
    trimap = trimap_of(shape)
    radius = round(BAND * 50)
    assert radius == 3
    row = trimap[50]
    assert (row[:22] == 0).all()
    assert (row[22:28] == 0.5).all()
    assert (row[28:72] == 1).all()


def test_the_ground_is_the_rest_and_maps_stay() -> None:
    photo, alpha = soft_disk()
    cutout = parse_kind("cutout")
    whole = rendered(cutout, photo, alpha, Selection(), matting="closed-form")[..., 3].astype(int)
    ground = rendered(cutout, photo, alpha, Selection(ground=True), matting="closed-form")[..., 3].astype(int)
    assert np.abs(whole + ground - 255).max() <= 1
    kind = parse_kind("map")
    assert np.array_equal(rendered(kind, photo, alpha), rendered(kind, photo, alpha, matting="closed-form"))


def test_it_is_an_option_of_predict_and_of_the_detector(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = next(iter(sorted((scenes / "photos").iterdir())))
    words = ["predict", str(photo), "--out", str(tmp_path / "a.png"), "--quiet", "--matting", "closed-form"]
    assert main(words) == 2
    assert "--matting has no effect beside --kind map" in capsys.readouterr().err
    assert main([*words, "--kind", "cutout"]) == 0
    written = np.array(Image.open(tmp_path / "a.png"))
    plain = np.array(Detector.load(device="cpu").cutout(read_photo(photo)))
    solved = np.array(Detector.load(device="cpu").cutout(read_photo(photo), matting="closed-form"))
    assert np.array_equal(written, solved)
    assert not np.array_equal(solved, plain)


def test_without_pymatting_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert (
        main(["predict", "a.png", "--kind", "cutout", "--matting", "knn", "--out", str(tmp_path / "b.png")])
        == 2
    )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert 'pip install "act2sal[matting]"' in line
