"""Photos decoded once and kept as squares."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from act2sal.data import photo_bank
from act2sal.data.images import read_photo, resize_photo
from act2sal.data.photo_bank import PhotoBank, build_photo_bank
from act2sal.data.photo_files import DatasetError, Photo, find_photos, png_paths


def put_photo(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="PNG")
    return path


def names(photos: list[Photo]) -> list[str]:
    return [photo.relative.as_posix() for photo in photos]


def touch(root: Path, *relative: str) -> None:
    for name in relative:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven photos of different sizes, the fourth of them damaged."""
    for i in range(7):
        put_photo(tmp_path / "photos" / "deep" / f"{i}.png", seed=i, size=(20 + i, 30 - i))
    (tmp_path / "photos" / "deep" / "3.png").write_bytes(b"damaged")
    return tmp_path / "photos"


def bank_of(folder: Path, *, size: int = 16, workers: int = 2) -> PhotoBank:
    return build_photo_bank(
        find_photos(folder), folder.parent / "bank", size=size, workers=workers, quiet=True
    )


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(photo_bank, "read_photo", refuse)


def check(bank: PhotoBank, size: int = 16) -> None:
    readable = [i for i in range(7) if i != 3]
    assert [photo.path.stem for photo in bank.photos] == [str(i) for i in readable]
    assert bank.original_sizes == [(20 + i, 30 - i) for i in readable]
    assert [failure.photo.path.stem for failure in bank.failures] == ["3"]
    assert "not an image" in bank.failures[0].reason
    assert len(bank) == 6
    for square, photo in zip(bank, bank.photos, strict=True):
        assert square.dtype == np.uint8
        np.testing.assert_array_equal(square, resize_photo(read_photo(photo.path), (size, size)))


@pytest.mark.parametrize("workers", [1, 3])
def test_bank_holds_the_readable_photos_in_order(
    folder: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="act2sal"):
        check(bank_of(folder, workers=workers))
    assert len(caplog.records) == 1
    assert "3.png" in caplog.text


def test_squares_are_copies(folder: Path) -> None:
    bank = bank_of(folder)
    square = bank[0]
    square[:] = 0
    assert bank[0].any()
    np.testing.assert_array_equal(bank[-1], bank[5])


def test_an_unchanged_bank_is_opened_without_decoding(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bank_of(folder)
    caplog.clear()
    with monkeypatch.context() as patched:
        forbid_decoding(patched)
        bank = bank_of(folder)
    check(bank)
    assert not caplog.records


def test_a_changed_photo_size_or_list_is_noticed(folder: Path) -> None:
    bank_of(folder)
    put_photo(folder / "deep/1.png", seed=77, size=(21, 29))
    os.utime(folder / "deep/1.png", ns=(1, 1))
    check(bank_of(folder))
    check(bank_of(folder, size=8), size=8)
    put_photo(folder / "new.png")
    assert len(bank_of(folder)) == 7


def test_an_interrupted_bank_is_completed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_bank, "_WINDOW", 2)
    decoded: list[str] = []

    def read_until(stop: str):
        def read(path: Path):
            if path.stem == stop:
                raise KeyboardInterrupt
            decoded.append(path.stem)
            return read_photo(path)

        return read

    monkeypatch.setattr(photo_bank, "read_photo", read_until("5"))
    with pytest.raises(KeyboardInterrupt):
        bank_of(folder, workers=1)
    assert decoded == ["0", "1", "2", "3", "4"]
    with (folder.parent / "bank/photos.u8").open("ab") as pixels:
        pixels.write(b"rest of a square")
    decoded.clear()
    monkeypatch.setattr(photo_bank, "read_photo", read_until("none"))
    check(bank_of(folder, workers=1))
    assert decoded == ["4", "5", "6"]  # "4" belonged to the window that was cut short


@pytest.mark.parametrize("damage", ["shorter", "missing", "index"])
def test_a_damaged_bank_is_made_anew(folder: Path, damage: str) -> None:
    bank_of(folder)
    pixels = folder.parent / "bank/photos.u8"
    if damage == "shorter":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "missing":
        pixels.unlink()
    else:
        (folder.parent / "bank/index.json").write_text("{")
    check(bank_of(folder))


def test_the_index_names_what_the_bank_was_made_of(folder: Path) -> None:
    bank_of(folder)
    index = json.loads((folder.parent / "bank/index.json").read_text())
    status = (folder / "deep/0.png").stat()
    assert index["size"] == 16
    assert index["entries"][0] == ["deep/0.png", status.st_size, status.st_mtime_ns]
    assert index["outcomes"][0] == [20, 30]


def test_broken_links_are_failures(tmp_path: Path) -> None:
    put_photo(tmp_path / "photos/a.png")
    put_photo(tmp_path / "photos/b.png")
    (tmp_path / "photos/c.png").symlink_to(tmp_path / "gone.png")
    assert [f.reason for f in bank_of(tmp_path / "photos").failures] == ["no such file or directory"]


def test_fewer_than_two_readable_photos_are_an_error(tmp_path: Path) -> None:
    put_photo(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.png").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"at least 2 .* 1 of 2 can be read \(b\.png: not an image"):
        bank_of(tmp_path / "photos")


@pytest.mark.real_data
def test_bank_of_real_photos(data_dir: Path, tmp_path: Path) -> None:
    photos = find_photos(data_dir / "duts_tr_3000" / "images", limit=12)
    bank = build_photo_bank(photos, tmp_path, size=64, workers=2, quiet=True)
    assert len(bank) == 12
    assert bank.failures == []
    assert len(bank) == 12
    assert 20 < np.stack(list(bank)).mean() < 230


def test_parts_of_a_bank_share_its_squares_and_the_names_of_its_outputs(tmp_path: Path) -> None:
    """Two photos of one stem keep their suffix, also where each is in another part."""
    for seed, name in enumerate(("a.jpg", "a.png", "b.png")):
        put_photo(tmp_path / "photos" / name, seed)
    bank = build_photo_bank(find_photos(tmp_path / "photos"), tmp_path / "bank", size=16, quiet=True)
    assert bank.outputs(tmp_path) == png_paths(bank.photos, tmp_path)
    for first in range(2):
        part = bank.part(first, 2)
        assert part.outputs(tmp_path) == bank.outputs(tmp_path)[first::2]
        assert (part.photos, part.states) == (bank.photos[first::2], bank.states[first::2])
        assert all((ours == theirs).all() for ours, theirs in zip(part, list(bank)[first::2], strict=True))
