"""Arrays on disk: their room, their checksum, what is noticed."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from act2sal.data.array_files import ArrayFileError, check, create_array, open_array, seal

VALUES = np.arange(30, dtype=np.uint8).reshape(2, 3, 5)


def sealed(path: Path) -> Path:
    array = create_array(path, np.uint8, VALUES.shape)
    array[:] = VALUES
    seal(array)
    return path


def test_what_was_written_is_read_by_us_and_by_numpy(tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.npy")
    check(path)
    for array in (open_array(path), np.load(path), np.load(path, mmap_mode="r")):
        np.testing.assert_array_equal(array, VALUES)


def test_its_room_is_taken_at_once(tmp_path: Path) -> None:
    array = create_array(tmp_path / "a.npy", np.float32, (1000, 1000))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        create_array(tmp_path / "a.npy", np.uint8, (9, 9))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a.npy"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bit", [0, 2, 6])
def test_a_byte_that_changed_is_noticed(bit: int, tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.npy")
    whole = path.read_bytes()
    assert len(whole) == 128 + VALUES.nbytes + 4
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(ArrayFileError, match=r"a\.npy is damaged"):
            check(path)


@pytest.mark.parametrize("lost", [1, 3, 5, 20, 40, 160, 162])
def test_a_file_that_is_cut_off_is_noticed(lost: int, tmp_path: Path) -> None:
    path = sealed(tmp_path / "a.npy")
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ArrayFileError, match=r"a\.npy is damaged"):
        check(path)


def test_a_file_without_a_checksum_passes_if_it_is_long_enough(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    check(tmp_path / "a.npy")


def test_a_file_that_is_missing_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "a.npy")
