"""Sample pictures of a run: which photos, which files, at which size, and what they show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import write_gray_png
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_bank import PhotoBank, build_photo_bank
from act2sal.data.photo_files import find_photos
from act2sal.runs.samples import LONGEST_SIDE, Samples, colour_activation, picture_size, read_samples

SIDE = 32


def make_bank(folder: Path, count: int, size: tuple[int, int] = (60, 40)) -> PhotoBank:
    """`count` photos `p00.png`, ... of (height, width) = `size`; photo n is grey of level 10 n."""
    for number in range(count):
        path = folder / "photos" / f"p{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size[1], size[0]), (10 * number,) * 3).save(path)
    return build_photo_bank(find_photos(folder / "photos"), folder / "bank", size=SIDE, workers=1, quiet=True)


def left_logits(count: int) -> NDArray[np.float32]:
    """Foreground on the left half of an 8 x 8 grid."""
    logits = np.full((count, 8, 8), -2, np.float32)
    logits[:, :, :4] = 2
    return logits


def pixels(path: Path | None) -> NDArray[np.uint8]:
    assert path is not None
    return np.array(Image.open(path))


@pytest.mark.parametrize(
    ("photos", "count", "expected"),
    [(5, 12, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (2, 1, [0]), (10, 4, [0, 3, 6, 9])],
)
def test_samples_are_spread_over_the_bank(
    tmp_path: Path, photos: int, count: int, expected: list[int]
) -> None:
    assert Samples(tmp_path / "samples", make_bank(tmp_path, photos), count).indices == expected


def test_picture_keeps_the_proportions() -> None:
    assert picture_size((400, 300)) == (200, 150)
    assert picture_size((30, 60)) == (100, 200)
    assert picture_size((1, 5000)) == (1, LONGEST_SIDE)


def test_photos_and_names_come_back_in_order(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 12, (60, 40)), 12)
    samples.photos()
    read = read_samples(tmp_path / "samples")
    assert [sample.name for sample in read] == [f"p{number:02d}.png" for number in range(12)]
    for number, sample in enumerate(read):
        photo = pixels(sample.photo)
        assert photo.shape == (200, 133, 3)
        assert abs(float(photo.mean()) - 10 * number) < 2  # JPEG
    assert read[0].prediction is None
    assert read[0].rectified == {}


def test_no_samples_where_there_is_no_folder(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "none") == []


def test_activation_and_cue(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 2, (40, 40)))
    samples.activations(left_logits(2))
    sample = read_samples(tmp_path / "samples")[1]
    cue = pixels(sample.cue)
    assert cue.shape == (200, 200)
    assert cue[:, :95].min() == 255
    assert cue[:, 105:].max() == 0
    red, _, blue = pixels(sample.activation)[100, [20, 180]].astype(int).T
    assert red[0] > blue[0] + 50
    assert blue[1] > red[1] + 50


def test_cue_follows_the_threshold_of_the_labels(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 2, (40, 40)))
    ramp = np.tile(np.linspace(-6, 0, 8, dtype=np.float32), (2, 8, 1))
    shares = []
    for threshold in ("half", "median"):
        samples.activations(ramp, threshold=threshold)
        shares.append(float((pixels(read_samples(tmp_path / "samples")[0].cue) > 127).mean()))
    assert shares[0] < 0.25
    assert shares[1] == pytest.approx(0.5, abs=0.05)


def test_colour_activation_marks_the_boundary() -> None:
    logits = np.array([[-1, -1, 1, 1]], np.float32)
    coloured = colour_activation(logits)
    dark = coloured.astype(int).sum(-1) < 100
    assert dark.tolist() == [[False, True, False, False]]
    assert coloured[0, 3, 0] > coloured[0, 3, 2]
    assert coloured[0, 0, 2] > coloured[0, 0, 0]


def test_constant_activation_has_no_boundary() -> None:
    coloured = colour_activation(np.zeros((3, 5), np.float32))
    assert coloured.shape == (3, 5, 3)
    assert (coloured == coloured[0, 0]).all()


def test_labels_are_read_from_their_files(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 3, (60, 40)), 2)
    paths = [tmp_path / f"labels/{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write_gray_png(path, np.full((60, 40), 100 * number, np.uint8))
    samples.labels(paths)
    labels = [pixels(sample.label) for sample in read_samples(tmp_path / "samples")]
    assert [label.shape for label in labels] == [(200, 133)] * 2
    assert [np.unique(label).tolist() for label in labels] == [[0], [200]]


def test_rectified_labels_are_kept_by_epoch(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 2))
    bank = LabelBank.create(
        tmp_path / "labels", [np.full((SIDE, SIDE), v, np.uint8) for v in (0, 9)], count=2, size=SIDE
    )
    samples.rectified(2, bank)
    bank.write([0, 1], torch.full((2, 1, SIDE, SIDE), 77, dtype=torch.uint8))
    bank.finish()
    bank.commit()
    samples.rectified(10, bank)
    second = read_samples(tmp_path / "samples")[1].rectified
    assert list(second) == [2, 10]
    assert [np.unique(pixels(path)).tolist() for path in second.values()] == [[9], [77]]


def test_predictions(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples", make_bank(tmp_path, 4, (30, 60)), 2)
    seen: list[tuple[int, ...]] = []

    def predict(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(photos.shape)
        return photos[..., 0].astype(np.float32) / 255

    samples.predictions(predict)
    assert seen == [(2, SIDE, SIDE, 3)]
    maps = [pixels(sample.prediction) for sample in read_samples(tmp_path / "samples")]
    assert [prob.shape for prob in maps] == [(100, 200)] * 2
    assert [np.unique(prob).tolist() for prob in maps] == [[0], [30]]


def test_a_later_call_keeps_the_other_pictures(tmp_path: Path) -> None:
    bank = make_bank(tmp_path, 2)
    Samples(tmp_path / "samples", bank).photos()
    Samples(tmp_path / "samples", bank).activations(left_logits(2))
    sample = read_samples(tmp_path / "samples")[0]
    assert sample.photo is not None
    assert sample.cue is not None
    assert not list((tmp_path / "samples").rglob(".*"))
