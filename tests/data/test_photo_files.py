"""Finding photos, naming outputs, pairing, the photo bank."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from act2sal.data.photo_files import DatasetError, Photo, find_photos, label_path, pairs, png_paths


def names(photos: list[Photo]) -> list[str]:
    return [photo.relative.as_posix() for photo in photos]


def touch(root: Path, *relative: str) -> None:
    for name in relative:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# --- finding -----------------------------------------------------------------------------------------


def test_photos_are_found_in_nested_folders_and_sorted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.JPG",
        "a/z.png",
        "a/b/c.webp",
        "a.tiff",
        "c.Bmp",
        "d.jpeg",
        "e.tif",
        "f.gif",
        "g.heic",
        "h.avif",
    )
    touch(tmp_path, "notes.txt", ".hidden.jpg", ".cache/x.jpg", "a/.DS_Store", "jpg")
    found = find_photos(tmp_path)
    assert names(found) == [
        "a.tiff",
        "a/b/c.webp",
        "a/z.png",
        "b.JPG",
        "c.Bmp",
        "d.jpeg",
        "e.tif",
        "f.gif",
        "g.heic",
        "h.avif",
    ]
    assert all(photo.path == tmp_path / photo.relative for photo in found)


def test_the_limit_takes_the_first(tmp_path: Path) -> None:
    touch(tmp_path, "c.jpg", "a.jpg", "b.jpg")
    assert names(find_photos(tmp_path, 2)) == ["a.jpg", "b.jpg"]
    assert len(find_photos(tmp_path, 9)) == 3
    with pytest.raises(DatasetError, match="limit"):
        find_photos(tmp_path, 0)


def test_a_hidden_root_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/a.jpg")
    assert names(find_photos(tmp_path / ".photos")) == ["a.jpg"]


def test_a_file_is_one_photo(tmp_path: Path) -> None:
    touch(tmp_path, "a/photo.heic")
    assert find_photos(tmp_path / "a/photo.heic") == [Photo(tmp_path / "a/photo.heic", Path("photo.heic"))]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "far/b.jpg")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/other").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "in")
    assert names(find_photos(tmp_path / "in")) == ["a.jpg", "other/b.jpg"]


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(DatasetError, match=r"no photos in .*\.jpg"):
        find_photos(tmp_path)
    with pytest.raises(DatasetError, match="no such file or folder"):
        find_photos(tmp_path / "missing")


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    scan = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("os.scandir", guarded)
    assert names(find_photos(tmp_path)) == ["a.jpg"]
    assert "closed: Permission denied" in caplog.text


# --- naming and pairing ------------------------------------------------------------------------------


def photos_named(*relative: str) -> list[Photo]:
    return [Photo(Path("/in", name), Path(name)) for name in relative]


def test_outputs_mirror_the_tree() -> None:
    assert label_path(Path("out"), Path("a/b.jpg")) == Path("out/a/b.png")
    assert png_paths(photos_named("a/b.jpg", "b.jpg", "c.tar.webp"), Path("out")) == [
        Path("out/a/b.png"),
        Path("out/b.png"),
        Path("out/c.tar.png"),
    ]


def test_photos_of_one_stem_keep_their_suffix() -> None:
    paths = png_paths(photos_named("a/b.jpg", "a/b.png", "b.png", "B.tif"), Path("out"))
    assert [p.as_posix() for p in paths] == [
        "out/a/b.jpg.png",
        "out/a/b.png.png",
        "out/b.png.png",
        "out/B.tif.png",
    ]


def test_a_kept_suffix_that_meets_another_photo() -> None:
    paths = png_paths(photos_named("b.jpg", "b.jpg.jpg", "b.png"), Path("out"))
    assert [p.name for p in paths] == ["b.jpg.png", "b.jpg.jpg.png", "b.png.png"]


@given(st.lists(st.from_regex(r"[ab](\.(jpg|png)){1,3}", fullmatch=True), unique=True, max_size=12))
def test_no_two_photos_share_an_output(relative: list[str]) -> None:
    paths = png_paths(photos_named(*relative), Path("out"))
    assert len(set(paths)) == len(relative)
    assert all(path.suffix == ".png" for path in paths)


def test_pairs_by_relative_path_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "maps/a.png", "maps/x/b.jpg", "maps/b.png", "masks/a.bmp", "masks/x/b.png", "masks/c.png")
    pairing = pairs(tmp_path / "maps", tmp_path / "masks")
    assert pairing.pairs == [
        (tmp_path / "maps/a.png", tmp_path / "masks/a.bmp"),
        (tmp_path / "maps/x/b.jpg", tmp_path / "masks/x/b.png"),
    ]
    assert pairing.maps_alone == [tmp_path / "maps/b.png"]
    assert pairing.masks_alone == [tmp_path / "masks/c.png"]


def test_pairs_refuses_two_of_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "maps/a.png", "masks/a.bmp", "masks/a.png")
    with pytest.raises(DatasetError, match="same name"):
        pairs(tmp_path / "maps", tmp_path / "masks")


# --- the bank ----------------------------------------------------------------------------------------
