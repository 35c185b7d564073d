"""What goes wrong on the way through a training: one line tells it, and nothing that was done is lost."""

import errno
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from act2sal.cli import main
from act2sal.data import images
from act2sal.runs.run_directory import RunDirectory
from act2sal.training.pipeline import train
from act2sal.training.stage1 import label_writing
from act2sal.training.stage2 import fit as stage2
from tiny import files_of, tiny_arguments, tiny_config

RESULTS = ("detector.safetensors", "stage1.safetensors")
MORE = "; what was written stays; the same command with --resume goes on"


class Command:
    """`act2sal train` on photos, into a run."""

    def __init__(
        self, photos: Path, run: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        self.photos, self.run, self.capsys, self.caplog = photos, run, capsys, caplog

    def __call__(self, *options: str) -> tuple[int, list[str]]:
        """Exit status, and what is told on stderr: warnings, then the reason why it ended."""
        self.caplog.clear()
        code = main(
            ["train", str(self.photos), "--out", str(self.run), *tiny_arguments(), "--quiet", *options]
        )
        return code, [*self.caplog.messages, *self.capsys.readouterr().err.splitlines()]

    def goes_on(self, wanted: Path) -> None:
        """Resumes, and ends with the same bytes as another run."""
        assert self("--resume") == (0, [])
        assert results(self.run) == results(wanted)


def results(run: Path) -> dict[str, bytes]:
    """Both models and all labels."""
    return {**files_of(run / "labels"), **{name: (run / name).read_bytes() for name in RESULTS}}


@pytest.fixture
def command(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Command:
    """On photos that may be changed."""
    photos = shutil.copytree(scenes / "photos", tmp_path / "photos")
    return Command(photos, tmp_path / "run", capsys, caplog)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_for(name: str) -> Iterator[None]:
    """The disk has no room for files of this name."""
    written, taken = images.written_whole, os.posix_fallocate

    def refuse(path: str) -> None:
        if path.endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def whole(path: Path) -> Iterator[Path]:
        with written(path) as temporary:
            refuse(str(path))
            yield temporary

    def take(descriptor: int, start: int, size: int) -> None:
        refuse(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        taken(descriptor, start, size)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "written_whole", whole)
        patched.setattr(os, "posix_fallocate", take)
        yield


def test_a_full_disk_again_and_again_is_one_line_each_and_costs_nothing(
    command: Command, trained: Path
) -> None:
    """In the order in which the files of a run are written."""
    limits = {
        60_000: "cache/photos-64/photos.u8",
        100_000: "checkpoints/stage1.pt",
        150_000: "checkpoints/round-1.pt",
        200_000: "stage1.safetensors",
        500_000: "checkpoints/stage2.pt",
    }
    for size, file in limits.items():
        with files_up_to(size):
            assert command("--resume") == (1, [f"act2sal: {command.run / file}: file too large{MORE}"])
    command.goes_on(trained)


def test_no_room_for_labels_log_and_arrays_is_one_line_each(command: Command, trained: Path) -> None:
    for file in (
        "log.jsonl",
        "cache/cues.npy",
        "cache/round-1/scene0002.png",
        "cache/round-1.partial",
        "labels/scene0003.png",
        "checkpoints/labels/labels.partial",
        "detector.safetensors",
        "report.html",
    ):
        with full_for(file):
            line = f"act2sal: {command.run / file}: no space left on device{MORE}"
            assert command("--resume") == (1, [line])
    command.goes_on(trained)


@pytest.fixture
def unfinished(trained: Path, command: Command) -> Command:
    """A run that lacks the end: its detector."""
    shutil.copytree(trained, command.run)
    (command.run / "detector.safetensors").unlink()
    return command


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "file"), [(cut, "checkpoints/stage2.pt"), (flip, "checkpoints/labels/labels_0003.npy")]
)
def test_a_damaged_checkpoint_costs_an_epoch_and_no_more(
    damage: Callable[[Path], None], file: str, unfinished: Command, trained: Path
) -> None:
    damage(unfinished.run / file)
    assert unfinished("--resume") == (0, [f"{unfinished.run / file} is damaged; going on from epoch 2"])
    assert results(unfinished.run) == results(trained)


def test_where_both_checkpoints_are_damaged_the_stage_begins_anew(unfinished: Command, trained: Path) -> None:
    files = [unfinished.run / "checkpoints" / name for name in ("stage2.pt", "stage2.previous.pt")]
    for file in files:
        cut(file)
    assert unfinished("--resume") == (0, [f"{file} is damaged; beginning anew" for file in files])
    assert results(unfinished.run) == results(trained)


def test_damaged_checkpoints_and_labels_of_stage_1_are_made_again(command: Command, trained: Path) -> None:
    run = command.run
    with full_for("labels.partial"):
        command()
    (run / "checkpoints" / "labels.done").unlink()
    shutil.rmtree(run / "labels")
    checkpoints = [run / "checkpoints" / name for name in ("stage1.pt", "round-1.pt")]
    for path in (*checkpoints, run / "cache" / "round-1.npy"):
        flip(path)
    assert command("--resume") == (
        0,
        [
            f"{checkpoints[0]} is damaged; going on from epoch 1",
            f"{run / 'cache' / 'round-1.npy'} is damaged; its labels are made anew",
            f"{checkpoints[1]} is damaged; going on from epoch 1",
        ],
    )
    assert results(run) == results(trained)


def test_a_damaged_label_is_written_again(unfinished: Command, trained: Path) -> None:
    for path in (unfinished.run / "checkpoints").glob("stage2*"):
        path.unlink()
    label = unfinished.run / "labels" / "scene0004.png"
    cut(label)
    code, (line,) = unfinished("--resume")
    assert (code, line.startswith(f"act2sal: {label}: ")) == (1, True)
    unfinished.goes_on(trained)


def test_a_loss_that_is_not_a_number_leaves_the_last_good_checkpoint(
    unfinished: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = unfinished.run / "checkpoints"
    for path in checkpoints.glob("stage2*"):
        path.unlink()
    steps = 0
    loss = stage2.detector_loss

    def broken(*arguments: Any, **options: Any) -> Tensor:
        nonlocal steps
        steps += 1
        return loss(*arguments, **options) * (1 if steps < 4 else math.nan)

    with monkeypatch.context() as patched:
        patched.setattr(stage2, "detector_loss", broken)
        line = "act2sal: the loss of stage 2 is nan in epoch 2; a lower stage2.lr may help"
        assert unfinished("--resume") == (1, [line])
    assert torch.load(checkpoints / "stage2.pt", weights_only=True)["epoch"] == 1
    unfinished.goes_on(trained)


def without_labels(command: Command) -> None:
    """The run as it was before its last labels were written."""
    (command.run / "checkpoints" / "labels.done").unlink()
    shutil.rmtree(command.run / "labels")
    shutil.rmtree(command.run / "checkpoints" / "labels")
    for path in (command.run / "checkpoints").glob("stage2*"):
        path.unlink()


@pytest.mark.parametrize("what", ["vanishes", "changes"])
def test_a_photo_that_vanishes_or_changes_on_the_way_can_be_put_back(
    what: str, unfinished: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_labels(unfinished)
    photo, aside = unfinished.photos / "scene0003.jpg", tmp_path / "aside.jpg"
    write = label_writing.write_labels

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        photo.rename(aside)
        if what == "changes":
            shutil.copy(unfinished.photos / "scene0000.jpg", photo)
        return write(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(label_writing, "write_labels", meanwhile)
        code, lines = unfinished("--resume")
    reason = "vanished or changed while it was in use; put back as it was, the work can go on"
    assert (code, lines[-1]) == (1, f"act2sal: {photo}: {reason}")
    assert lines[:-1] == ([f"{photo}: no such file or directory"] if what == "vanishes" else [])
    assert not (unfinished.run / "labels" / "scene0003.png").exists()
    code, lines = unfinished("--resume")
    assert (code, len(lines)) == (2, 1)
    assert "scene0003.jpg is new, missing or changed, 1 in all; put back what changed" in lines[0]
    aside.replace(photo)
    unfinished.goes_on(trained)


def test_a_second_process_on_one_run_is_refused_in_one_line(unfinished: Command) -> None:
    before = files_of(unfinished.run)
    with RunDirectory(unfinished.run):
        for option in ("--resume", "--overwrite"):
            line = f"act2sal: another process is writing to {unfinished.run}"
            assert unfinished(option) == (2, [line])
    assert files_of(unfinished.run) == before


def test_what_killed_processes_left_is_cleared_away(scenes: Path, tmp_path: Path) -> None:
    left = tmp_path / "run" / "checkpoints" / ".tmp-123-456.pt"
    train(scenes / "photos", tmp_path / "run", tiny_config(stage2={"epochs": 0}), quiet=True)
    left.write_bytes(b"half a checkpoint")
    train(scenes / "photos", tmp_path / "run", tiny_config(stage2={"epochs": 0}), resume=True, quiet=True)
    assert not left.exists()
