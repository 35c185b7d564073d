"""The labels of a run on disk: epochs, kills, damage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from act2sal.data.array_files import ArrayFileError
from act2sal.data.label_bank import LabelBank, LabelBankError


def labels(count: int = 5, size: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def bank_of(folder: Path, array: NDArray[np.uint8]) -> LabelBank:
    return LabelBank.create(folder, iter(array), count=len(array), size=array.shape[1])


def everything(bank: LabelBank) -> list[object]:
    return bank.read(range(len(bank))).tolist()


def test_bank_keeps_what_it_was_given(tmp_path: Path) -> None:
    array = labels()
    bank = bank_of(tmp_path, array)
    assert (len(bank), bank.shape, bank.epoch) == (5, (5, 4, 4), 0)
    read = bank.read([3, 0])
    assert read.dtype == torch.uint8
    assert read.shape == (2, 1, 4, 4)
    np.testing.assert_array_equal(read[:, 0].numpy(), array[[3, 0]])


def run_epoch(bank: LabelBank) -> None:
    for index in range(len(bank)):
        bank.write([index], bank.read([index]) // 2)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_epoch_reads_old_labels_while_it_writes_new_ones(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, labels())
    before = everything(bank)
    bank.write([1, 4], torch.full((2, 1, 4, 4), 9, dtype=torch.uint8))
    assert everything(bank) == before
    bank.finish()
    assert everything(bank) == before
    bank.commit()
    assert bank.epoch == 1
    assert bank.read([1, 4]).unique().tolist() == [9]
    assert everything(bank)[0] == before[0]
    assert names(tmp_path) == ["labels_0000.npy", "labels_0001.npy"]


def test_the_epoch_before_stays_and_older_ones_go(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, labels())
    contents = []
    for written in (True, False, True, True):
        contents.append(everything(bank))
        if written:
            run_epoch(bank)
        bank.finish()
        bank.commit()
        assert everything(LabelBank(tmp_path, epoch=bank.epoch)) == everything(bank)
    assert names(tmp_path) == ["labels_0003.npy", "labels_0004.npy"]
    assert everything(LabelBank(tmp_path, epoch=3)) == contents[3]
    assert names(tmp_path) == ["labels_0003.npy"]


def test_a_byte_that_changed_is_noticed(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, labels())
    run_epoch(bank)
    bank.finish()
    bank.commit()
    LabelBank.check(tmp_path, 1)
    file = tmp_path / "labels_0001.npy"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArrayFileError, match=r"labels_0001\.npy is damaged"):
        LabelBank.check(tmp_path, 1)
    LabelBank.check(tmp_path, 0)
    with pytest.raises(LabelBankError, match="holds no labels for epoch 0"):
        LabelBank.check(tmp_path / "nowhere", 0)


def test_an_epoch_without_writes_keeps_the_file(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, labels())
    before, inode = everything(bank), (tmp_path / "labels_0000.npy").stat().st_ino
    bank.finish()
    bank.commit()
    assert everything(bank) == before
    assert [path.stat().st_ino for path in tmp_path.iterdir()] == [inode]
    assert everything(LabelBank(tmp_path, epoch=1)) == before


def test_written_labels_need_finish_before_commit(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, labels())
    bank.write([0], torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(LabelBankError, match="commit before finish"):
        bank.commit()


@pytest.mark.parametrize("point", ["writing", "finished", "committed"])
def test_reopening_at_the_saved_epoch_is_exact(tmp_path: Path, point: str) -> None:
    """Whatever had happened to the bank, the epoch that the checkpoint names begins with the same labels."""
    bank = bank_of(tmp_path, labels())
    run_epoch(bank)
    bank.finish()
    bank.commit()
    second = everything(bank)
    run_epoch(bank)
    if point != "writing":
        bank.finish()
    if point == "committed":
        third = everything(LabelBank(tmp_path, epoch=2))
        assert third == (torch.tensor(second) // 2).tolist()
        return
    again = LabelBank(tmp_path, epoch=1)
    assert everything(again) == second
    assert names(tmp_path) == ["labels_0000.npy", "labels_0001.npy"]


KILLED = """
import sys
from pathlib import Path
from act2sal.data.label_bank import LabelBank
bank = LabelBank(Path(sys.argv[1]), epoch=1)
step = 0
while True:
    for index in range(len(bank)):
        bank.write([index], bank.read([index]) // 2)
    bank.finish()
    Path(sys.argv[1], "checkpoint.tmp").write_text(str(bank.epoch + 1))
    Path(sys.argv[1], "checkpoint.tmp").replace(Path(sys.argv[1], "checkpoint"))
    bank.commit()
    print("epoch", flush=True)
"""


def test_killed_without_warning(tmp_path: Path) -> None:
    array = labels(count=40, size=64)
    bank = bank_of(tmp_path, array)
    bank.finish()
    bank.commit()
    (tmp_path / "checkpoint").write_text("1")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    epoch = int((tmp_path / "checkpoint").read_text())
    assert epoch >= 3
    expected = array >> (epoch - 1) if epoch <= 8 else array * 0
    np.testing.assert_array_equal(LabelBank(tmp_path, epoch=epoch).read(range(40))[:, 0].numpy(), expected)


def test_bank_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(LabelBankError, match="holds no labels for epoch 0"):
        LabelBank(tmp_path)
    (tmp_path / "labels_0003.npy").write_bytes(b"no array")
    with pytest.raises(LabelBankError, match="holds no labels for epoch 2"):
        LabelBank(tmp_path, epoch=2)
    with pytest.raises(ArrayFileError, match=r"labels_0003.npy is damaged"):
        LabelBank(tmp_path, epoch=3)


def test_create_replaces_an_older_bank_and_checks_its_labels(tmp_path: Path) -> None:
    (tmp_path / "labels_0007.npy").write_bytes(b"old")
    array = labels(2)
    assert everything(bank_of(tmp_path, array)) == array[:, None].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["labels_0000.npy"]
    with pytest.raises(ValueError, match="side 5"):
        LabelBank.create(tmp_path, iter(array), count=2, size=5)
    with pytest.raises(ValueError, match="zip"):
        LabelBank.create(tmp_path, iter(array), count=3, size=4)
