"""Data sets of the field in the layouts that people have, and what `act2sal data check` says of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from act2sal.cli import main
from act2sal.data.images import write_gray_png
from act2sal.data.photo_files import DatasetError
from act2sal.data.set_check import fingerprint
from act2sal.data.sod_pairs import sets_below

NAMES = [f"0_{number}" for number in range(6)]
SPLIT_OF = dict(zip(NAMES, ("train", "train", "train", "val", "test", "test"), strict=True))


def write_pair(photo: Path, mask: Path, *, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(photo)
    shape = np.zeros((12, 16), np.uint8)
    shape[3:8, 4:9] = 255
    write_gray_png(mask, shape)


def write_lists(folder: Path, kind: str) -> None:
    by_split = {
        split: [name for name in NAMES if SPLIT_OF[name] == split] for split in ("train", "val", "test")
    }
    for split, names in by_split.items():
        if kind == "txt":
            file = folder / f"{'valid' if split == 'val' else split}_cvpr2013.txt"
            file.write_text("".join(f"{name}.png\n" for name in names))
            (folder / f"{split}_cvpr2013_debug.txt").write_text("nobody.png\n")
        else:
            cells = np.array([[f"{name}.jpg"] for name in names], dtype=object)
            savemat(folder / f"{split}ImgSet.mat", {f"{split}ImgSet": cells})


def lay_out(root: Path, layout: str) -> Path:
    """MSRA-B with six photos."""
    folder = root / "MSRA-B"
    for number, name in enumerate(NAMES):
        split = SPLIT_OF[name]
        photos, masks = {
            "dss": (folder / "image", folder / "annotation"),
            "mat": (folder / "imgs", folder / "gt"),
            "mixed": (folder, folder),
            "splits": (folder / split / "images", folder / split / "masks"),
            "mixed splits": (folder / split, folder / split),
        }[layout]
        write_pair(photos / f"{name}.jpg", masks / f"{name}.png", seed=number)
    if layout in ("dss", "mixed"):
        write_lists(folder, "txt")
    if layout == "mat":
        write_lists(folder, "mat")
    return folder


@pytest.mark.parametrize("layout", ["dss", "mat", "mixed", "splits", "mixed splits"])
def test_msra_b_in_every_layout(tmp_path: Path, layout: str) -> None:
    lay_out(tmp_path, layout)
    (found,) = sets_below(tmp_path)
    assert {pair.name: pair.split for pair in found.pairs} == SPLIT_OF
    assert all(pair.photo.suffix == ".jpg" and pair.mask.suffix == ".png" for pair in found.pairs)
    assert [pair.name for pair in found.of("train", "val")] == NAMES[:4]
    assert not found.photos_alone
    assert not found.masks_alone
    assert not found.unsplit


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "dss")
    (folder / "annotation" / "0_0.png").unlink()
    (folder / "image" / "0_5.jpg").unlink()
    (found,) = sets_below(tmp_path)
    assert [path.name for path in found.photos_alone] == ["0_0.jpg"]
    assert [path.name for path in found.masks_alone] == ["0_5.png"]
    assert found.unsplit == ("0_5",)


def test_png_photos_and_the_folders_of_duts(tmp_path: Path) -> None:
    write_pair(
        tmp_path / "DUTS-TE" / "DUTS-TE-Image" / "a.jpg", tmp_path / "DUTS-TE" / "DUTS-TE-Mask" / "a.png"
    )
    write_pair(tmp_path / "HKU-IS" / "imgs" / "b.png", tmp_path / "HKU-IS" / "gt" / "b.png")
    assert [(one.sod_set.name, len(one.pairs)) for one in sets_below(tmp_path)] == [
        ("DUTS-TE", 1),
        ("HKU-IS", 1),
    ]


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "mat")
    (folder / "trainImgSet.mat").write_bytes(b"MATLAB")
    with pytest.raises(DatasetError, match=r"trainImgSet\.mat: is no list of names"):
        sets_below(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        sets_below(tmp_path / "nowhere")


def test_the_fingerprint_is_that_of_the_names() -> None:
    assert fingerprint(["b", "a"]) == fingerprint(["a", "b"])
    assert fingerprint(["a", "b"]) != fingerprint(["a", "c"])
    assert fingerprint([]) == "e3b0c44298fc1c14"  # SHA-256 of nothing


def test_check_says_what_is_there_what_is_missing_and_what_is_odd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lay_out(tmp_path, "dss")
    write_gray_png(folder / "annotation" / "0_1.png", np.zeros((12, 16), np.uint8))
    write_gray_png(folder / "annotation" / "0_2.png", np.eye(24, 32, dtype=np.uint8) * 255)
    (folder / "annotation" / "0_3.png").write_bytes(b"no picture")
    graded = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (12, 1))
    write_gray_png(folder / "annotation" / "0_4.png", graded)
    (folder / "annotation" / "0_5.png").unlink()
    assert main(["data", "check", str(tmp_path), "--quiet"]) == 1
    shown = capsys.readouterr().out
    assert f"5 of 5000 pairs in {folder}" in shown
    assert "splits: train 3, val 1, test 1" in shown
    for line in (
        "1 photos without a mask: 0_5.jpg",
        "split train has 3 photos, not 2500",
        "1 masks without foreground: 0_1",
        "1 masks of another size than their photo: 0_2",
        "1 photos or masks that cannot be read: 0_3",
        "1 graded masks: 0_4",
    ):
        assert f"  odd: {line}\n" in shown
    assert "ECSSD is not there (1000 photos, test); offered at http" in shown


def test_check_of_a_set_with_nothing_odd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / "ecssd" / "images" / "a.jpg", tmp_path / "ecssd" / "masks" / "a.png")
    assert main(["data", "check", str(tmp_path), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1000 pairs" in shown
    assert "odd:" not in shown


def test_check_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path), "--quiet"]) == 1
    assert capsys.readouterr().out.count("is not there") == 8
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "look", str(tmp_path)]) == 2
