"""Which photos `predict` does, and where their results go."""

from pathlib import Path

import numpy as np
import pytest

from act2sal.data.images import write_gray_png
from act2sal.data.photo_files import DatasetError
from act2sal.predict.plan import expanded, planned, planned_with_videos


def write(*paths: Path) -> None:
    for path in paths:
        write_gray_png(path, np.zeros((4, 4), np.uint8))


def targets(tasks: list, root: Path) -> list[list[str]]:
    return [[target.relative_to(root).as_posix() for target in task.targets] for task in tasks]


def test_a_pattern_is_what_it_matches(tmp_path: Path) -> None:
    write(tmp_path / "a1.png", tmp_path / "a2.png", tmp_path / "b.png", tmp_path / "c" / "a3.png")
    assert expanded([tmp_path / "a*.png"]) == [tmp_path / "a1.png", tmp_path / "a2.png"]
    assert expanded([f"{tmp_path}/**/a3.png"]) == [tmp_path / "c" / "a3.png"]
    with pytest.raises(DatasetError, match=r"nothing matches .*z\*"):
        expanded([tmp_path / "z*"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "photo[1].png", tmp_path / "photo1.png")
    assert expanded([tmp_path / "photo[1].png"]) == [tmp_path / "photo[1].png"]


def test_every_kind_has_a_file_in_the_mirrored_tree(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "b.png", tmp_path / "in" / "c.d.png")
    tasks = planned([tmp_path / "in"], tmp_path / "out", (".mask.png", ".cutout.webp"))
    assert targets(tasks, tmp_path / "out") == [
        ["a/b.mask.png", "a/b.cutout.webp"],
        ["c.d.mask.png", "c.d.cutout.webp"],
    ]


def test_photos_of_one_stem_keep_their_endings(tmp_path: Path) -> None:
    write(tmp_path / "in" / "b.png", tmp_path / "in" / "b.bmp")
    assert targets(planned([tmp_path / "in"], tmp_path / "out"), tmp_path / "out") == [
        ["b.bmp.png"],
        ["b.png.png"],
    ]


def test_one_photo_can_go_to_one_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png", tmp_path / "b.png")
    assert targets(planned([tmp_path / "a.png"], tmp_path / "x.webp"), tmp_path) == [["x.webp"]]
    with pytest.raises(DatasetError, match=r"x\.webp is one file: it takes one photo and one kind of output"):
        planned([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "x.webp")
    with pytest.raises(DatasetError, match="is one file"):
        planned([tmp_path / "a.png"], tmp_path / "x.webp", (".a.png", ".b.png"))
    with pytest.raises(DatasetError, match=r"a\.png is an input and would be replaced"):
        planned([tmp_path / "a.png"], tmp_path / "a.png", overwrite=True)


def test_what_is_there_is_refused_replaced_or_skipped(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png", tmp_path / "out" / "a.mask.png")
    inputs, suffixes = [tmp_path / "in"], (".mask.png", ".map.png")
    with pytest.raises(FileExistsError, match=r"a\.mask\.png exists already; --overwrite replaces it"):
        planned(inputs, tmp_path / "out", suffixes)
    assert len(planned(inputs, tmp_path / "out", suffixes, overwrite=True)) == 2
    # Half of the results are no results.
    assert len(planned(inputs, tmp_path / "out", suffixes, skip_existing=True)) == 2
    write(tmp_path / "out" / "a.map.png")
    assert targets(planned(inputs, tmp_path / "out", suffixes, skip_existing=True), tmp_path / "out") == [
        ["b.mask.png", "b.map.png"]
    ]


def test_videos_have_files_in_the_mirrored_tree_too(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "b.png")
    for name in ("a/c.mp4", "a/d.MOV", "a/old.avi", "e.mkv", "e.webm", ".hidden.mp4", "out/done.mp4"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    inputs, out = [tmp_path / "in"], tmp_path / "in" / "out"
    tasks = planned_with_videos(inputs, out, (".mask.png", ".color.png"))
    assert [task.is_video for task in tasks] == [False, *[True] * 5]
    assert targets(tasks, out) == [
        ["a/b.mask.png", "a/b.color.png"],
        ["a/c.mask.mp4", "a/c.color.mp4"],
        ["a/d.mask.mov", "a/d.color.mov"],
        ["a/old.mask.mp4", "a/old.color.mp4"],
        ["e.mkv.mask.mkv", "e.mkv.color.mkv"],
        ["e.webm.mask.webm", "e.webm.color.webm"],
    ]
    assert targets(planned_with_videos(inputs, out), out)[1] == ["a/c.mp4"]


def test_what_is_there_of_videos_is_refused_or_skipped(tmp_path: Path) -> None:
    for name in ("in/a.mp4", "in/b.mp4", "out/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs, out = [tmp_path / "in"], tmp_path / "out"
    with pytest.raises(FileExistsError, match=r"out/a\.mp4 exists already"):
        planned_with_videos(inputs, out)
    assert targets(planned_with_videos(inputs, out, skip_existing=True), out) == [["b.mp4"]]
    with pytest.raises(DatasetError, match=r"in/a\.mp4 is an input and would be replaced"):
        planned_with_videos(inputs, tmp_path / "in", overwrite=True)


def test_one_file_is_for_one_photo_or_one_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    write(tmp_path / "c.png")
    (tmp_path / "empty").mkdir()
    video, both = [tmp_path / "a.mp4"], [tmp_path / "a.mp4", tmp_path / "c.png"]
    assert targets(planned_with_videos(video, tmp_path / "x.webm"), tmp_path) == [["x.webm"]]
    for inputs, name, words in [
        (both, "x.webm", "is one video, and there are photos"),
        (both, "x.png", "is one picture, and there are videos"),
        (video, "x.png", "is one picture, and there are videos"),
        ([*video, tmp_path / "b.mp4"], "x.webm", "takes one video and one kind"),
        ([tmp_path / "empty"], "out", "no photos and no videos in .*empty"),
    ]:
        with pytest.raises(DatasetError, match=words):
            planned_with_videos(inputs, tmp_path / name)
