"""The photos of a reproduction: which are chosen, how they are laid out, and what is said where sets are missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from act2sal.data.images import write_gray_png
from act2sal.data.photo_files import DatasetError
from act2sal.reproduce.material import PAPER_TESTS, material_of, missing_sets
from act2sal.reproduce.scale import SCALES


def write_set(root: Path, name: str, count: int, *, splits: bool = False) -> None:
    for number in range(count):
        photo, mask = (
            root / name / "image" / f"{number:02d}.jpg",
            root / name / "annotation" / f"{number:02d}.png",
        )
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 9, 3), np.uint8)).save(photo)
        write_gray_png(mask, np.eye(8, 9, dtype=np.uint8) * 255)
    if splits:
        for split, numbers in (("train", range(count - 4)), ("valid", range(count - 4, count - 2))):
            lines = "".join(f"{number:02d}.png\n" for number in numbers)
            (root / name / f"{split}_cvpr2013.txt").write_text(lines)
        (root / name / "test_cvpr2013.txt").write_text(f"{count - 2:02d}.png\n{count - 1:02d}.png\n")


def test_the_paper_trains_on_the_training_and_validation_photos_of_msra_b(tmp_path: Path) -> None:
    write_set(tmp_path, "MSRA-B", 10, splits=True)
    write_set(tmp_path, "DUTS-TR", 5)
    material = material_of(tmp_path, tmp_path / "out", "gpu", SCALES["gpu"], None, None)
    assert material.training.names == tuple(f"{number:02d}" for number in range(8))
    (test,) = material.tests
    assert (test.name, test.names) == ("MSRA-B", ("08", "09"))


def test_photos_are_spread_evenly_and_laid_out_alone(tmp_path: Path) -> None:
    write_set(tmp_path, "duts_tr_3000", 9)
    write_set(tmp_path, "ecssd_dev", 5)
    material = material_of(tmp_path, tmp_path / "out", "cpu", SCALES["cpu"], 3, 2)
    assert material.training.names == ("00", "04", "08")
    assert [path.name for path in sorted(material.training.photos.iterdir())] == [
        "00.jpg",
        "04.jpg",
        "08.jpg",
    ]
    assert material.tests[0].names == ("00", "04")
    assert material.watched.names == tuple(f"{number:02d}" for number in range(5))
    lacking = missing_sets(tmp_path, "cpu")
    assert len(lacking) == 5
    assert all("is offered at http" in line for line in lacking)


def test_another_choice_of_photos_replaces_the_one_before(tmp_path: Path) -> None:
    write_set(tmp_path, "DUTS-TR", 9)
    write_set(tmp_path, "ECSSD", 2)
    folder = tmp_path / "out"
    three = material_of(tmp_path, folder, "cpu", SCALES["cpu"], 3, None)
    again = material_of(tmp_path, folder, "cpu", SCALES["cpu"], 3, None)
    assert three == again
    four = material_of(tmp_path, folder, "cpu", SCALES["cpu"], 4, None)
    assert four.training.fingerprint != three.training.fingerprint
    assert len(list(four.training.photos.iterdir())) == 4


def test_what_is_missing_ends_it_before_any_work(tmp_path: Path) -> None:
    scale = SCALES["cpu"]
    with pytest.raises(DatasetError, match="needs --data DIR"):
        material_of(None, tmp_path / "out", "cpu", scale, None, None)
    write_set(tmp_path, "ECSSD", 2)
    with pytest.raises(DatasetError, match="no set to train on: MSRA-B or DUTS-TR"):
        material_of(tmp_path, tmp_path / "out", "cpu", scale, None, None)
    write_set(tmp_path, "MSRA-B", 4)
    with pytest.raises(DatasetError, match=r"no lists of its splits.*trainImgSet\.mat"):
        material_of(tmp_path, tmp_path / "out", "cpu", scale, None, None)


def test_the_full_scale_names_every_set_that_it_lacks(tmp_path: Path) -> None:
    write_set(tmp_path, "ECSSD", 2)
    lacking = missing_sets(tmp_path, "full")
    assert [line.partition(" (")[0] for line in lacking] == [
        "MSRA-B",
        "DUT-OMRON",
        "PASCAL-S",
        "DUTS-TE",
        "HKU-IS",
    ]
    with pytest.raises(DatasetError, match=r"MSRA-B \(5000 photos.*HKU-IS"):
        material_of(tmp_path, tmp_path / "out", "full", SCALES["full"], None, None)
    for name in PAPER_TESTS:
        write_set(tmp_path, name, 6, splits=name == "MSRA-B")
    assert missing_sets(tmp_path, "full") == ()
    material = material_of(tmp_path, tmp_path / "out", "full", SCALES["full"], None, None)
    assert [test.name for test in material.tests] == list(PAPER_TESTS)
    assert len(material.training.names) == 4
