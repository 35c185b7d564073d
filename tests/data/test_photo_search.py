"""Which files of a folder are photos: masks and results are left out, masks unopened, and that is said."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from act2sal.cli import main
from act2sal.data.images import gray_png, read_photo, write_gray_png
from act2sal.data.origin import Origin, is_noted, marked_png
from act2sal.data.photo_files import DatasetError
from act2sal.data.photo_search import Remarks, Search, UndecidedError, nearly_binary
from act2sal.training.labelling import label
from act2sal.training.pipeline import train
from tiny import files_of, tiny_config

CERTAIN = {
    "images-masks": ("images/{}.jpg", "masks/{}.png"),
    "imgs-gt-both-png": ("imgs/{}.png", "GT/{}.png"),
    "duts": ("DUTS-TR/DUTS-TR-Image/{}.jpg", "DUTS-TR/DUTS-TR-Mask/{}.png"),
    "ecssd": ("ECSSD/images/{}.jpg", "ECSSD/ground_truth_mask/{}.png"),
    "split": ("train/images/{}.jpg", "train/masks/{}_mask.png"),
    "mirrored": ("images/train/{}.jpg", "annotations/train/{}.png"),
    "masks-as-jpg": ("photos/{}.jpg", "gt/{}.jpg"),
    "below-the-photos": ("{}.jpg", "labels/{}.png"),
    "msra10k": ("{}.jpg", "{}.png"),
    "endings": ("{}.jpg", "{}_mask.png"),
    "endings-png": ("{}.png", "{}_gt_mask.png"),
    "endings-jpg": ("{}.jpg", "{}-GT.jpg"),
    "sides": ("a/{}.jpg", "b/{}.png"),
    "omron": ("DUT-OMRON-image/DUT-OMRON-image/{}.jpg", "pixelwiseGT-new-PNG/{}.png"),
    "thur": ("Butterfly/Src/{}.jpg", "Butterfly/GT/{}.png"),
}
UNDECIDED = {
    "both-png": ("a/{}.png", "b/{}.png", "b"),
    "bmp": ("a/{}.jpg", "b/{}.bmp", "b"),
    "both-jpg": ("one/{}.jpg", "two/{}.jpg", "two"),
    "both-png-of-like-size": ("left/{}.png", "right/{}.png", "right"),
    "no-names-at-all": ("pics-of-us/{}.jpg", "truths/{}0.png", "truths"),
    "no-names-both-png": ("pics-of-us/{}.png", "truths/{}0.png", "truths"),
    "other-names": ("pics-of-us/{}.jpg", "truth/mask/{}0.png", "mask"),
}
_OPENED: list[str] | None = None


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if _OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _OPENED.append(os.fsdecode(arguments[0]))


sys.addaudithook(note)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The files that Python opens during the test."""
    global _OPENED
    _OPENED = []
    yield _OPENED
    _OPENED = None


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "act2sal")


def copied(source: Path, target: Path) -> None:
    """A copy of a picture, in the format of the target's suffix."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == target.suffix:
        shutil.copy(source, target)
    else:
        with Image.open(source) as image:
            image.save(target)


def lay_out(scenes: Path, root: Path, photos: str, masks: str) -> tuple[list[str], list[str]]:
    """A data set made of the scenes; the paths of its photos and of its masks, below its root."""
    names: tuple[list[str], list[str]] = [], []
    for photo in sorted((scenes / "photos").iterdir()):
        mask = scenes / "masks" / f"{photo.stem}.png"
        for source, pattern, of_kind in ((photo, photos, names[0]), (mask, masks, names[1])):
            of_kind.append(pattern.format(photo.stem))
            copied(source, root / of_kind[-1])
    return names


def noise(path: Path, *, seed: int = 0, size: tuple[int, int] = (24, 32), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def found(root: Path, **options: Any) -> list[str]:
    return [photo.relative.as_posix() for photo in Search(**options).photos([root])]


# --- masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", CERTAIN)
def test_label_opens_no_mask_of_a_data_set(
    layout: str,
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    opened: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos, masks = lay_out(scenes, tmp_path / "data", *CERTAIN[layout])
    opened.clear()
    outcome = label(tmp_path / "data", tmp_path / "out", tiny_config(), run=trained, quiet=True)
    assert (outcome.photos, outcome.failures) == (6, [])
    below = {Path(path) for path in opened if Path(path).is_relative_to(tmp_path / "data")}
    assert below == {tmp_path / "data" / name for name in photos}
    assert not below & {tmp_path / "data" / name for name in masks}
    assert caplog.text.count("6 masks of the photos in") == 1
    assert set(files_of(tmp_path / "out")) == {Path(name).with_suffix(".png").as_posix() for name in photos}
    assert found(tmp_path / "data") == sorted(photos)  # where a few are looked at


@pytest.mark.parametrize("layout", ["images-masks", "msra10k"])
def test_train_opens_no_mask_of_a_data_set(
    layout: str, scenes: Path, trained: Path, tmp_path: Path, opened: list[str]
) -> None:
    photos, _ = lay_out(scenes, tmp_path / "data", *CERTAIN[layout])
    opened.clear()
    assert train(tmp_path / "data", tmp_path / "run", tiny_config(), quiet=True).photos == 6
    below = {path for path in opened if Path(path).is_relative_to(tmp_path / "data")}
    assert below == {str(tmp_path / "data" / name) for name in photos}
    theirs = [content for name, content in files_of(trained / "labels").items()]
    assert [content for name, content in files_of(tmp_path / "run" / "labels").items()] == theirs


@pytest.mark.parametrize("layout", UNDECIDED)
def test_where_it_cannot_be_known_both_folders_and_the_option_are_named(
    layout: str,
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, masks = lay_out(scenes, tmp_path / "data", *UNDECIDED[layout][:2])
    if "like-size" in layout:
        for name in (*photos, *masks):
            (tmp_path / "data" / name).write_bytes(bytes(1000 - name.startswith("right")))
    data, pattern = tmp_path / "data", UNDECIDED[layout][2]
    opened.clear()
    command = ["label", str(data), "--out", str(tmp_path / "out"), "--run", str(trained), "--quiet"]
    assert main(command) == 2
    assert not [path for path in opened if Path(path).is_relative_to(data)]
    (line,) = capsys.readouterr().err.splitlines()
    for place in (Path(photos[0]).parent, Path(masks[0]).parent):
        assert str(data / place) in line or str((data / place).parent) in line
    assert f"--exclude '{pattern}' leaves them out, --exclude none takes both" in line
    assert found(data, exclude=pattern, careful=True) == sorted(photos)
    assert len(found(data, exclude="none", careful=True)) == 12
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["images-masks", "below-the-photos", "ecssd"])
def test_a_folder_of_masks_is_not_learnt_from(
    layout: str, scenes: Path, tmp_path: Path, opened: list[str]
) -> None:
    photos, masks = lay_out(scenes, tmp_path, *CERTAIN[layout])
    root, beside = (tmp_path / Path(names[0]).parent for names in (masks, photos))
    opened.clear()
    with pytest.raises(UndecidedError, match=f"{root} seems to hold the masks of {beside}; .*--exclude none"):
        found(root, careful=True)
    assert not [path for path in opened if Path(path).is_relative_to(tmp_path)]
    assert len(found(root, careful=True, exclude="none")) == 6
    assert len(found(root)) == 6  # predict and compare do what they are told


def test_patterns_are_left_out_besides_and_have_to_match(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, _ = lay_out(scenes, tmp_path, *CERTAIN["images-masks"])
    for name in ("drafts/a.jpg", "drafts/more/b.jpg", "c.bmp"):
        noise(tmp_path / name)
    assert found(tmp_path, careful=True, exclude="drafts, *.bmp") == sorted(photos)
    assert "3 files left out (drafts, *.bmp)" in caplog.text
    assert len(found(tmp_path, careful=True, exclude="none,drafts")) == 13
    assert len(found(tmp_path, careful=True, exclude="drafts/more/")) == 8
    with pytest.raises(UndecidedError, match=f"--exclude draft: nothing in {tmp_path} has this name"):
        found(tmp_path, careful=True, exclude="draft")


def test_photos_that_lie_like_data_sets_stay_photos(tmp_path: Path) -> None:
    """Exports, holidays, cameras that count alike, classes, and a folder called gt that has no partner."""
    for number in range(4):
        for name in (
            "exports/{}.jpg",
            "exports/{}.png",
            "2019/IMG_{}.jpg",
            "2020/IMG_{}.jpg",
            "cars/gt/{}9.jpg",
            "shots/s{}.png",
        ):
            noise(tmp_path / name.format(number), seed=number)
    everything = found(tmp_path, careful=True)
    assert len(everything) == 24
    assert found(tmp_path) == everything


def test_copies_that_are_no_masks_are_predicted(tmp_path: Path) -> None:
    """A drawing is smaller as PNG than as JPEG; where pictures may be opened, they are looked at."""
    for number in range(2):
        flat = Image.new("RGB", (90, 60), (70, 140, 80))
        flat.paste((200, 40 * number, 30), (20, 20, 60, 50))
        for suffix in ("jpg", "png"):
            flat.save(tmp_path / f"{number}.{suffix}")
    assert found(tmp_path) == ["0.jpg", "0.png", "1.jpg", "1.png"]
    assert not nearly_binary(read_photo(tmp_path / "0.png"))


def test_graded_masks_are_left_out_of_what_is_predicted(tmp_path: Path) -> None:
    for number in range(2):
        noise(tmp_path / "images" / f"{number}.jpg", seed=number, size=(60, 80))
        graded = np.linspace(0, 255, 60 * 80).astype(np.uint8).reshape(60, 80)
        write_gray_png(tmp_path / "gt" / f"{number}.png", graded)
    assert found(tmp_path) == ["images/0.jpg", "images/1.jpg"]


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (255, 255), (0, 0)])
def test_masks_are_nearly_binary(tmp_path: Path, values: tuple[int, int]) -> None:
    mask = np.full((30, 40), values[0], np.uint8)
    mask[5:20, 5:20] = values[1]
    assert nearly_binary(np.repeat(mask[..., None], 3, axis=2))
    palette = Image.fromarray(np.minimum(mask, 1)).convert("P")
    palette.putpalette([0, 0, 0, 255, 255, 255] if values == (255, 255) else [0, 0, 0, 128, 0, 0])
    palette.save(tmp_path / "b.png")
    assert nearly_binary(read_photo(tmp_path / "b.png"))
    assert not nearly_binary(read_photo(noise(tmp_path / "c.png")))


# --- results -----------------------------------------------------------------------------------------


def test_what_this_package_wrote_is_left_out_and_counted_once(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise(tmp_path / "in" / "a.jpg")
    shutil.copytree(trained, tmp_path / "in" / "RUN")
    shutil.copytree(trained / "labels", tmp_path / "in" / "old")
    shutil.copytree(trained / "samples", tmp_path / "in" / "some")
    (tmp_path / "in" / "map.png").write_bytes(marked_png(gray_png(np.zeros((4, 4), np.uint8)), Origin("map")))
    remarks = Remarks()
    for _ in range(2):
        assert found(tmp_path / "in", remarks=remarks) == ["a.jpg"]
    results = 1 + sum(path.suffix in (".png", ".jpg") for path in (trained / "samples").rglob("*")) + 6
    assert caplog.text.count("1 run of act2sal left out") == 1
    assert caplog.text.count(f"{results} results of act2sal left out") == 1
    assert remarks.undone == []
    assert len(found(tmp_path / "in", exclude="none")) > results
    assert found(tmp_path / "in" / "map.png") == ["map.png"]  # named, and so it is meant
    with pytest.raises(DatasetError, match="no photos in"):
        found(trained)


@pytest.mark.parametrize("format", ["jpg", "webp", "tiff", "png"])
def test_results_beside_the_photos_leave_no_doubt(
    format: str, scenes: Path, trained: Path, tmp_path: Path
) -> None:
    """Where bytes alone could not tell them from masks: known by a note in the file system, unopened."""
    shutil.copytree(scenes / "photos", tmp_path / "in")
    for kind in ("map", "cutout" if format != "jpg" else "blur"):
        out = ["--out", str(tmp_path / "in" / kind), "--kind", kind, "--format", format, "--quiet"]
        assert main(["predict", str(scenes / "photos"), "--method", "rbd", *out]) == 0
    shutil.copytree(trained / "labels", tmp_path / "in" / "old")
    if not is_noted(next((tmp_path / "in" / "map").iterdir())):
        pytest.skip("this file system keeps no attributes")
    assert found(tmp_path / "in", careful=True) == [f"scene000{n}.jpg" for n in range(6)]


@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
@pytest.mark.parametrize("kinds", [["map"], ["mask", "cutout", "color:white"]])
def test_predict_into_its_own_folder_twice(flag: str, kinds: list[str], tmp_path: Path) -> None:
    noise(tmp_path / "a.jpg")
    noise(tmp_path / "sub" / "b.jpg", seed=1)
    words = ["predict", str(tmp_path), "--out", str(tmp_path), "--quiet", "--method", "rbd", "--kind", *kinds]
    assert main(words) == 0
    first = files_of(tmp_path)
    assert len(first) == 2 + 2 * len(kinds)
    assert main(words) == 2  # says that they exist already
    assert main([*words, flag]) == 0
    assert files_of(tmp_path) == first
    next(tmp_path.glob("a.*png")).unlink()
    assert main([*words, "--skip-existing"]) == 0
    assert files_of(tmp_path) == first


def test_a_pattern_that_also_meets_the_results_of_its_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "a.png")
    words = ["predict", "*.png", "--out", ".", "--quiet", "--method", "rbd", "--kind", "mask", "cutout"]
    assert main(words) == 0
    names = set(files_of(tmp_path))
    assert main([*words, "--skip-existing"]) == 0
    assert set(files_of(tmp_path)) == names == {"a.png", "a.mask.png", "a.cutout.png"}
    assert "2 results of act2sal left out" in caplog.text
    assert main(["predict", "a.cutout.png", "--out", "b.png", "--quiet", "--method", "rbd"]) == 0


def test_label_and_compare_into_their_own_folder_twice(trained: Path, scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "photos", tmp_path / "in")
    for _ in range(2):
        assert label(tmp_path / "in", tmp_path / "in", tiny_config(), run=trained, quiet=True).photos == 6
        sheet = ["compare", str(tmp_path / "in"), "--out", str(tmp_path / "in" / "sheet.png"), "--overwrite"]
        assert main([*sheet, "--methods", "rbd", "--quiet"]) == 0
    assert len(files_of(tmp_path / "in")) == 13
    assert found(tmp_path / "in") == [f"scene000{n}.jpg" for n in range(6)]


# --- what is left out, and what cannot be had ----------------------------------------------------------


def test_other_pictures_and_videos_are_counted_by_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise(tmp_path / "a.jpg")
    for name in ("b.jxl", "c.JXL", "d.cr2", "e.mpg", "f.txt"):
        (tmp_path / name).touch()
    assert found(tmp_path) == ["a.jpg"]
    assert "2 files left out (.jxl: not read)" in caplog.text
    assert "1 file left out (.cr2: not read)" in caplog.text
    assert "1 file left out (.mpg: videos)" in caplog.text
    assert "txt" not in caplog.text


def test_heic_without_its_package_is_left_out_with_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noise(tmp_path / "a.jpg")
    (tmp_path / "b.heic").touch()
    monkeypatch.setattr("act2sal.data.photo_search.find_spec", lambda name: None)
    assert found(tmp_path) == ["a.jpg"]
    assert '1 file left out (.heic: need pip install "act2sal[heic]")' in caplog.text


@pytest.mark.parametrize("name", ["film.gif", "pages.tif", "film.webp", "film.png"])
def test_of_several_pictures_in_a_file_the_first_is_taken_and_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    noise(tmp_path / "one.gif")
    for root in (tmp_path, tmp_path / name):
        caplog.clear()
        assert name in found(root)
        assert caplog.text.count("1 file with several pictures, of which the first is taken") == 1
        assert name in caplog.text


def test_a_photo_given_twice_is_done_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise(tmp_path / "in" / "a.jpg")
    again = [tmp_path / "in", tmp_path / "in" / "a.jpg", tmp_path / "in" / ".." / "in" / "a.jpg"]
    assert len(Search().photos(again)) == 1
    assert "2 files given more than once, done once" in caplog.text


def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may list the folder, not even root."""
    scan = os.scandir

    def guarded(path: str | int) -> object:
        if not isinstance(path, int) and Path(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("os.scandir", guarded)


@pytest.mark.parametrize("command", ["predict", "compare", "compare-masks", "label", "export"])
def test_a_folder_that_may_not_be_entered_gives_status_1(
    command: str,
    trained: Path,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(scenes / ("masks" if command == "compare-masks" else "photos"), tmp_path / "in")
    (tmp_path / "in" / "closed").mkdir()
    closed(tmp_path / "in" / "closed", monkeypatch)
    how = {
        "predict": ["--out", str(tmp_path / "out"), "--method", "rbd"],
        "compare": ["--out", str(tmp_path / "out.png"), "--methods", "rbd"],
        "compare-masks": [
            *("--masks", str(tmp_path / "in"), "--out", str(tmp_path / "out.png"), "--methods", "rbd"),
        ],
        "export": [
            "--photos",
            str(tmp_path / "in"),
            "--model",
            str(trained),
            "--out",
            str(tmp_path / "m.onnx"),
        ],
        "label": ["--out", str(tmp_path / "out"), "--run", str(trained)],
    }
    inputs = {"export": [], "compare-masks": [str(scenes / "photos"), "--quiet"]}
    words = inputs.get(command, [str(tmp_path / "in"), "--quiet"])
    assert main([command.partition("-")[0], *words, *how[command]]) == 1
    assert caplog.text.count("closed: permission denied") == 1


def test_of_several_inputs_one_that_is_missing_is_named_and_the_rest_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise(tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()
    wrong = [str(tmp_path / name) for name in ("missing.jpg", "empty", "none*.jpg")]
    out = ["--out", str(tmp_path / "out"), "--quiet", "--method", "rbd"]
    assert main(["predict", str(tmp_path / "a.jpg"), *wrong, *out]) == 1
    assert set(files_of(tmp_path / "out")) == {"a.png"}
    for line in ("no such file or folder", "no photos and no videos in", "nothing matches"):
        assert caplog.text.count(line) == 1
    for words in ([wrong[0]], [], [""]):
        assert main(["predict", *words, *out]) == 2
    assert main(["predict", *wrong, *out]) == 2


def test_the_limit_counts_photos_alone(scenes: Path, tmp_path: Path) -> None:
    photos, _ = lay_out(scenes, tmp_path, *CERTAIN["msra10k"])
    assert found(tmp_path, careful=True, limit=2) == photos[:2]
    with pytest.raises(DatasetError, match="limit"):
        found(tmp_path, limit=0)
