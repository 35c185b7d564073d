"""Results cropped to their object: where the part lies, that it is a part, and what cannot be cropped."""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from act2sal.cli import main
from act2sal.cli.parsing import with_values
from act2sal.config import Format
from act2sal.errors import InputError
from act2sal.predict import job as prediction
from act2sal.predict.cropping import around_all, crop_around, cropped
from act2sal.predict.detector import Detector
from act2sal.predict.job import Job, rendering_of
from act2sal.predict.maps import Decoded, Found
from act2sal.predict.regions import Box
from act2sal.predict.selection import Selection


@dataclass(frozen=True)
class Red:
    """A map maker: what is red is salient."""

    side: None = None
    seen: str = "none"
    device: str = ""

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        return [Found(one.photo[..., 0].astype(np.float32) / 255, 0.5) for one in batch]


def photo(path: Path, *boxes: tuple[int, int, int, int]) -> Path:
    """Red boxes (left, top, width, height) on something green, 60 x 80; lossless."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[..., 1] = np.arange(80)
    for left, top, width, height in boxes:
        pixels[top : top + height, left : left + width, 0] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def found(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((60, 80), np.bool_)
    for left, top, width, height in boxes:
        mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize(
    ("boxes", "margin", "crop"),
    [
        ([(20, 10, 20, 10)], 0.0, (20, 10, 20, 10)),
        ([(20, 10, 20, 10)], 0.1, (18, 8, 24, 14)),  # 0.1 * 20 = 2 on each side
        ([(20, 10, 10, 20)], 0.1, (18, 8, 14, 24)),
        ([(20, 10, 20, 10)], 0.05, (19, 9, 22, 12)),
        ([(1, 2, 20, 10)], 0.2, (0, 0, 25, 16)),  # the photo ends on two sides
        ([(70, 55, 10, 5)], 0.2, (68, 53, 12, 7)),
        ([(5, 5, 2, 2), (50, 40, 10, 4)], 0.0, (5, 5, 55, 39)),
        ([(20, 10, 20, 10)], 10.0, (0, 0, 80, 60)),
        ([], 0.1, None),
    ],
)
def test_by_hand(boxes: list, margin: float, crop: tuple | None) -> None:
    assert crop_around(found(*boxes), margin) == crop


@settings(deadline=None, max_examples=100)
@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    st.floats(0, 10),
)
def test_a_crop_holds_the_object_and_lies_in_the_photo(mask: NDArray[np.bool_], margin: float) -> None:
    crop = crop_around(mask, margin)
    if crop is None:
        assert not mask.any()
        return
    assert cropped(mask, crop).shape == (crop.height, crop.width)
    assert cropped(mask, crop).sum() == mask.sum()
    tight = crop_around(mask, 0)
    assert tight is not None
    rows, columns = np.nonzero(mask)
    assert tight == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)


def test_around_several() -> None:
    assert around_all([None, Box(5, 6, 10, 2), None, Box(2, 7, 4, 10)]) == Box(2, 6, 13, 11)
    assert around_all([None, None]) is None
    assert around_all([]) is None


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_a_cropped_result_is_a_part_of_the_whole_one(format: Format, tmp_path: Path) -> None:
    """Of every kind; the record says which part, and its boxes stay those of the photo."""
    kinds = ["map", "mask", "overlay", "blur", "color:#0000ff"] if format == "webp" else []
    kinds = kinds or ["map", "mask", "cutout", "overlay", "blur", "color:#0000ff"]
    source = photo(tmp_path / "in" / "a.png", (20, 10, 20, 10))
    for name, crop in (("whole", None), ("part", 0.1)):
        rendering = rendering_of(kinds, tmp_path / name, format=format, crop=crop)
        job = Job(Red(), rendering, tmp_path / name, quiet=True)
        job.run([str(source)])
    (record,) = job.records
    assert record.as_json()["crop"] == [18, 8, 24, 14]
    assert record.as_json()["boxes"] == [[20, 10, 20, 10]]
    assert record.as_json()["area"] == round(200 / 4800, 4)
    for text in kinds:
        kind = text.partition(":")[0]
        whole = opened(tmp_path / "whole" / f"a.{kind}.{format}")
        part = opened(tmp_path / "part" / f"a.{kind}.{format}").astype(int)
        assert part.shape[:2] == (14, 24)
        lossy = 40 if format == "webp" and kind not in ("map", "mask") else 0
        assert np.abs(part - whole[8:22, 18:42]).max() <= lossy, kind


def test_the_threshold_and_growing_move_the_edge(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:40, 10:50, 0] = 100  # 0.39
    pixels[20:30, 20:30, 0] = 200
    Image.fromarray(pixels).save(source)
    sizes = []
    for selection in (Selection(), Selection(0.3), Selection(grow=3), Selection(0.3, grow=-2)):
        rendering = rendering_of(["map"], tmp_path / "o.png", crop=0.0, selection=selection)
        Job(Red(), rendering, tmp_path / "o.png", overwrite=True, quiet=True).run([str(source)])
        sizes.append(opened(tmp_path / "o.png").shape)
    assert sizes == [(10, 10), (30, 40), (16, 16), (26, 36)]


def test_where_nothing_is_found_all_is_kept_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo(tmp_path / "in" / "empty.png")
    photo(tmp_path / "in" / "full.png", (20, 10, 20, 10))
    job = Job(Red(), rendering_of(["map"], tmp_path / "out", crop=0.1), tmp_path / "out", quiet=True)
    outcome = job.run([str(tmp_path / "in")])
    assert (outcome.written, outcome.failures) == (2, [])
    assert opened(tmp_path / "out" / "empty.png").shape == (60, 80)
    assert opened(tmp_path / "out" / "full.png").shape == (14, 24)
    line = f"{tmp_path / 'in' / 'empty.png'}: nothing was found to crop to, so all of it is kept"
    assert [record.getMessage() for record in caplog.records] == [line]
    assert ["crop" in record.as_json() for record in job.records] == [False, True]


@pytest.mark.parametrize("format", ["png", "gif", "webp"])
def test_an_animation_is_cropped_to_the_objects_of_all_frames(format: Format, tmp_path: Path) -> None:
    frames = []
    for left in (10, 30, 50):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[20:30, left : left + 10, 0] = 250
        frames.append(Image.fromarray(pixels))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50, loop=0)
    out = tmp_path / f"o.{format}"
    job = Job(Red(), rendering_of(["mask"], out, crop=0.1), out, quiet=True, json=tmp_path / "r.json")
    job.run([str(tmp_path / "a.gif")])
    with Image.open(out) as image:
        shown = [np.array(frame.convert("L")) for frame in ImageSequence.Iterator(image)]
    assert [frame.shape for frame in shown] == [(12, 52)] * 3  # 10 to 60 and one more on each side
    for frame, left in zip(shown, (10, 30, 50), strict=True):
        expected = np.zeros((12, 52), np.uint8)
        expected[1:11, left - 9 : left + 1] = 255
        assert np.abs(frame.astype(int) - expected).max() <= 2
    job.save()
    (record,) = json.loads((tmp_path / "r.json").read_text())
    assert record["crop"] == [9, 19, 52, 12]
    assert record["frames"][1]["boxes"] == [[30, 20, 10, 10]]


def test_a_video_is_not_cropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "in" / "a.png", (20, 10, 20, 10))
    (tmp_path / "in" / "clip.mp4").write_bytes(b"not opened")
    out = str(tmp_path / "out")
    assert main(["predict", str(tmp_path / "in"), "--out", out, "--crop", "--method", "mc", "--quiet"]) == 2
    clip = tmp_path / "in" / "clip.mp4"
    said = capsys.readouterr().err
    assert said == f"act2sal: --crop is for photos and animations, and {clip} is a video\n"
    assert not list((tmp_path / "out").glob("*"))
    assert main(["predict", str(clip), "--out", out, "--crop"]) == 2
    assert capsys.readouterr().err == "act2sal: --crop has no effect beside a video\n"
    command = ["predict", str(tmp_path / "in"), "--out", out, "--crop", "--exclude", "*.mp4"]
    assert main([*command, "--method", "mc", "--quiet"]) == 0


def test_a_video_that_arrives_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clip.mp4").write_bytes(b"not opened")
    job = Job(Red(), rendering_of(["map"], tmp_path / "out", crop=0.1), tmp_path / "out", quiet=True)

    def once(plan):  # type: ignore[no-untyped-def]
        yield plan()
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "arrivals", once)
    outcome = replace(job, skip_existing=True).watch([str(tmp_path / "in")])
    clip = tmp_path / "in" / "clip.mp4"
    assert outcome.failures == [f"{clip}: --crop is for photos and animations"]


def test_a_pipe_is_cropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = photo(tmp_path / "a.png", (20, 10, 20, 10))
    monkeypatch.setattr(prediction, "maker_of", lambda *words, **more: Red())
    for content, shape in ((source, (14, 24)), (photo(tmp_path / "b.png"), (60, 80))):
        with content.open(encoding="latin-1") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stream)
            out = str(tmp_path / "o.png")
            assert main(["predict", "-", "--crop", "0.1", "--out", out, "--overwrite"]) == 0
        assert opened(tmp_path / "o.png").shape == shape
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["standard input"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.png --crop", "a.png --crop 0.05"),
        ("--crop a.png", "--crop 0.05 a.png"),
        ("--crop --quiet", "--crop 0.05 --quiet"),
        ("--crop 0.2 a.png", "--crop 0.2 a.png"),
        ("--crop -1", "--crop -1"),
        ("--crop=0.2 a.png", "--crop=0.2 a.png"),
        ("a.png", "a.png"),
    ],
)
def test_a_margin_may_be_left_out(words: str, expected: str) -> None:
    assert with_values(words.split()) == expected.split()


@pytest.mark.parametrize("margin", ["-0.1", "nan", "11"])
def test_a_margin_that_is_none(margin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photo(tmp_path / "a.png")
    assert main(["predict", str(source), "--crop", margin, "--out", str(tmp_path / "o.png")]) == 2
    assert capsys.readouterr().err == f"act2sal: --crop is in 0..10, not {margin}\n"
    with pytest.raises(InputError):
        rendering_of(["map"], tmp_path, crop=-1.0)


class Reddish:
    """A network: what is red is salient."""

    size, rates = 80, False

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return squares[..., 0].astype(np.float32) / 255


def test_a_cutout_in_python(tmp_path: Path) -> None:
    """The same options, with the same meaning as of the command."""
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[20:40, 30:50, 0] = 255
    detector = Detector(Reddish())  # type: ignore[arg-type]
    assert detector.cutout(pixels).size == (80, 80)
    assert detector.cutout(pixels, crop=0.1).size == (24, 24)
    assert detector.cutout(pixels, crop=0.0, grow=5).size == (30, 30)
    alpha = np.array(detector.cutout(pixels, ground=True))[..., 3]
    assert (alpha == 0).sum() == 400
    assert (alpha == 255).sum() == 6000
    soft = np.array(detector.cutout(pixels, feather=2.0))[..., 3]
    assert 0 < soft[30, 29] < 128 <= soft[30, 30] < 255
    empty = np.zeros((80, 80, 3), np.uint8)
    assert detector.cutout(empty, crop=0.1).size == (80, 80)
