"""The run directory: who may take it, what it refuses, its log."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from act2sal.config import TrainConfig
from act2sal.config_files import from_toml, to_toml
from act2sal.data.locks import FolderInUseError, lock
from act2sal.runs.run_directory import RunDirectory, RunError

CONFIG = TrainConfig(size=64)


def take(path: Path, config: TrainConfig = CONFIG, *, resume: bool = False, overwrite: bool = False) -> None:
    RunDirectory.open(path, config, resume=resume, overwrite=overwrite).close()


def begun(path: Path) -> Path:
    """A run that has logged something and written labels."""
    with RunDirectory.open(path, CONFIG, resume=False, overwrite=False) as run:
        run.log({"stage": "stage1", "epoch": 1, "loss": 2.0})
        run.labels.mkdir()
        (run.labels / "a.png").write_bytes(b"label")
    return path


def test_a_new_run_gets_its_config(tmp_path: Path) -> None:
    take(tmp_path / "deep" / "run")
    assert from_toml((tmp_path / "deep" / "run" / "config.toml").read_text(), TrainConfig()) == CONFIG


def test_an_empty_folder_can_be_taken(tmp_path: Path) -> None:
    take(tmp_path)
    assert (tmp_path / "config.toml").is_file()


def test_a_run_is_not_touched_without_a_flag(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RunError, match=rf"^{tmp_path} holds a run already; --resume .*--overwrite"):
        take(tmp_path)
    assert (tmp_path / "labels" / "a.png").is_file()


def test_a_run_that_never_got_anywhere_can_be_started_again(tmp_path: Path) -> None:
    take(tmp_path)
    take(tmp_path, TrainConfig(size=96))
    assert "size = 96" in (tmp_path / "config.toml").read_text()


def test_a_run_that_only_read_its_photos_can_be_started_again(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        run.log({"stage": "processes", "epoch": 0, "processes": 2})
        run.log({"stage": "photos at 64 pixels", "epoch": 0})
    take(tmp_path, TrainConfig(size=96))
    assert not (tmp_path / "log.jsonl").exists()
    (tmp_path / "log.jsonl").write_bytes(b"damaged")
    (tmp_path / "labels").mkdir()
    with pytest.raises(RunError, match="holds a run already"):
        take(tmp_path)


def test_resume_keeps_everything(tmp_path: Path) -> None:
    begun(tmp_path)
    take(tmp_path, resume=True)
    assert (tmp_path / "labels" / "a.png").read_bytes() == b"label"
    assert (tmp_path / "log.jsonl").is_file()


def test_resume_without_a_run_starts_one(tmp_path: Path) -> None:
    take(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "config.toml").is_file()


def test_overwrite_removes_what_the_run_wrote(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    take(tmp_path, TrainConfig(size=96), overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"config.toml", ".lock", "notes.txt"}
    assert "size = 96" in (tmp_path / "config.toml").read_text()


def test_resume_with_other_options_names_them(tmp_path: Path) -> None:
    begun(tmp_path)
    other = replace(CONFIG, stage2=replace(CONFIG.stage2, lr=0.5), limit=7)
    with pytest.raises(RunError) as refusal:
        take(tmp_path, other, resume=True)
    message = str(refusal.value)
    assert "limit" in message
    assert "stage2.lr" in message
    assert "0.5" in message
    assert "size" not in message
    assert "\n" not in message
    assert from_toml((tmp_path / "config.toml").read_text(), TrainConfig()) == CONFIG


def test_resume_may_change_the_machine(tmp_path: Path) -> None:
    begun(tmp_path)
    moved = replace(CONFIG, device="cpu", workers=3, keep_cache=True)
    take(tmp_path, moved, resume=True)
    assert from_toml((tmp_path / "config.toml").read_text(), TrainConfig()) == moved


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, flags: dict[str, bool]) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"photo")
    with pytest.raises(RunError, match=r"holds other files \(holiday\.jpg"):
        take(tmp_path, **flags)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_config_of_something_else_makes_no_run(tmp_path: Path, flags: dict[str, bool]) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 80\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.png").write_bytes(b"drawn by hand")
    with pytest.raises(RunError, match="holds other files"):
        take(tmp_path, **flags)
    assert (tmp_path / "labels" / "mine.png").read_bytes() == b"drawn by hand"
    assert (tmp_path / "config.toml").read_text().startswith("[server]")


def test_a_run_killed_before_its_config_was_written_can_be_started_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".tmp-1234-5678").write_bytes(b"size = ")
    take(tmp_path)
    assert (tmp_path / "config.toml").is_file()


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file"):
        take(tmp_path / "run")


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_opening_is_refused_until_the_first_is_closed(
    tmp_path: Path, flags: dict[str, bool]
) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        run.labels.mkdir()
        (run.labels / "a.png").write_bytes(b"label")
        with pytest.raises(FolderInUseError, match="another process is writing"):
            take(tmp_path, **flags)
        assert (run.labels / "a.png").is_file()
    take(tmp_path, resume=True)


def test_another_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = (
        "import fcntl, sys, time\nfile = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    take(tmp_path)
    command = [sys.executable, "-c", holder, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match="another process"):
            take(tmp_path, resume=True)
        process.kill()
        process.wait()
    take(tmp_path, resume=True)


def test_a_refused_opening_gives_the_lock_back(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RunError) as kept:
        take(tmp_path, TrainConfig(size=96), resume=True)
    take(tmp_path, resume=True)
    assert "size" in str(kept.value)


def test_log_rows_of_the_same_stage_and_epoch_are_replaced(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        run.log({"stage": "stage1", "epoch": 1, "loss": 3.0})
        run.log({"stage": "stage1", "epoch": 2, "loss": 2.0})
        run.log({"stage": "stage2", "epoch": 1, "loss": 9.0})
    with RunDirectory.open(tmp_path, CONFIG, resume=True, overwrite=False) as run:
        run.log({"stage": "stage1", "epoch": 2, "loss": 1.0})
        rows = run.rows()
    assert rows == [
        {"stage": "stage1", "epoch": 1, "loss": 3.0},
        {"stage": "stage1", "epoch": 2, "loss": 1.0},
        {"stage": "stage2", "epoch": 1, "loss": 9.0},
    ]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_a_log_that_was_cut_in_half_loses_a_row_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        for epoch in (1, 2):
            run.log({"stage": "stage2", "epoch": epoch})
        run.log_file.write_bytes(run.log_file.read_bytes()[:-9])
        run.log({"stage": "stage2", "epoch": 3})
        assert [row["epoch"] for row in run.rows()] == [1, 3]
    assert caplog.messages == [f"{tmp_path}/log.jsonl: line 2 is damaged and left out"]


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        run.log({"stage": "stage2", "epoch": 1, "loss": 0.5, "device": "cpu"})
        run.log({"stage": "stage2", "epoch": 2, "loss": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["stage2/loss"]
    assert [(event.step, event.value) for event in events.Scalars("stage2/loss")] == [(1, 0.5), (2, 0.25)]


def test_a_run_without_a_log_has_no_rows(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        assert run.rows() == []


def test_the_saved_config_is_the_resolved_one(tmp_path: Path) -> None:
    take(tmp_path)
    assert (tmp_path / "config.toml").read_text() == to_toml(CONFIG)


def test_events_that_find_no_room_are_an_error_that_names_their_file(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, CONFIG, resume=False, overwrite=False) as run:
        run.log({"stage": "stage2", "epoch": 1, "loss": 0.5})
        (events,) = (tmp_path / "tensorboard").iterdir()
        events.unlink()
        events.symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left on device") as caught:
            run.log({"stage": "stage2", "epoch": 2, "loss": 0.25})
    assert caught.value.filename == str(events)


def test_without_flock_another_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    begun(tmp_path / "run")
    held = lock(tmp_path / "run")
    with pytest.raises(FolderInUseError, match="another process is writing to"):
        take(tmp_path / "run", resume=True)
    held.close()
    take(tmp_path / "run", resume=True)


def test_without_flock_the_lock_of_a_process_that_was_killed_is_taken(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.modules['fcntl'] = None\nfrom pathlib import Path\n"
        "from act2sal.data.locks import lock\nheld = lock(Path(sys.argv[1]))\n"
    )
    for ending in ("os.kill(os.getpid(), 9)", "print('held')"):
        command = [sys.executable, "-c", code + ending, str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("held\n", "")
