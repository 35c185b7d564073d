"""The command line: options that arrive, exit statuses, one line for every error, going on after Ctrl-C and kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act2sal.cli import COMMANDS, main
from act2sal.config import TrainConfig
from act2sal.config_files import load_toml, to_toml
from act2sal.data.images import read_photo, write_gray_png
from act2sal.presets import PRESETS
from act2sal.training import labelling, pipeline
from act2sal.training.photos import PhotosUsed
from act2sal.version import __version__
from tiny import files_of, tiny_arguments, tiny_config


class Called:
    """Stands for a function: keeps what it was called with, returns or raises what it is told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.arguments: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.arguments, self.options = arguments, options
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Called:
    """In place of the training."""
    called = Called(PhotosUsed(6, []))
    monkeypatch.setattr(pipeline, "train", called)
    return called


def status(*arguments: str | Path) -> int:
    """Exit status of a command."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr, which has to be a single line."""
    text = capsys.readouterr().err
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text.strip()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--version") == 0
    assert capsys.readouterr().out == f"act2sal {__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert status() == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"act2sal {command}" in shown
    assert "default:" in shown


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("trian", "photos") == 2
    assert only_line(capsys) == "act2sal: there is no command 'trian'; did you mean train?"


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos"],
        ["--out", "run"],
        ["photos", "--out", "run", "--sise", "3"],
        ["p", "--out", "r", "--size", "x"],
    ],
)
def test_missing_and_unknown_options_are_wrong_usage(arguments: Sequence[str], train: Called) -> None:
    assert status("train", *arguments) == 2
    assert train.arguments == ()


def test_every_option_arrives(train: Called) -> None:
    assert status("train", "photos", "--out", "run", *tiny_arguments(), "--quiet") == 0
    assert train.arguments == (Path("photos"), Path("run"), tiny_config())
    assert train.options == {"resume": False, "overwrite": False, "quiet": True, "profile": False}


def test_without_options_it_is_the_default_preset(train: Called) -> None:
    assert status("train", "photos", "--out", "run") == 0
    assert train.arguments[2] == TrainConfig()


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(
    train: Called, tmp_path: Path
) -> None:
    file = tmp_path / "options.toml"
    file.write_text("size = 256\nseed = 5\n[stage1]\nlr = 0.5\nflip = false\n")
    wrong_order = ["--stage1.lr", "0.25", "--config", str(file), "--preset", "paper", "--limit", "9"]
    assert status("train", *wrong_order, "--out", "run", "photos") == 0
    paper = PRESETS["paper"]
    stage1 = replace(paper.stage1, lr=0.25, flip=False)
    assert train.arguments[2] == replace(paper, size=256, seed=5, limit=9, stage1=stage1)


@pytest.mark.parametrize(
    ("content", "message"),
    [("sise = 3", "unknown option sise"), ("size = 'x'", "size = 'x'; needs int"), (None, "No such file")],
)
def test_a_wrong_file_is_named_in_one_line(
    content: str | None, message: str, train: Called, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "options.toml"
    if content is not None:
        file.write_text(content)
    assert status("train", "photos", "--out", "run", "--config", file) == 2
    line = only_line(capsys)
    assert line.startswith(f"act2sal: {file}: ")
    assert message in line
    assert train.arguments == ()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--stage1.batch-size", "1", "stage1.batch_size must be at least 2, not 1"),
        ("--labels.gt-prob", "0.4", "labels.gt_prob must be between 0.5 and 1, not 0.4"),
        ("--limit", "0", "limit must be at least 2, not 0"),
    ],
)
@pytest.mark.parametrize("command", ["train", "label"])
def test_an_impossible_value_is_named_in_one_line(
    command: str, option: str, value: str, message: str, train: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(command, "photos", "--out", "run", option, value) == 2
    assert only_line(capsys) == f"act2sal: {message}"
    assert train.arguments == ()


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (FloatingPointError("the loss of stage 2 is nan"), 1, "act2sal: the loss of stage 2 is nan"),
        (
            OSError(28, "No space left on device"),
            1,
            "act2sal: no space left on device; what was written stays",
        ),
        (OSError(13, "Permission denied", "run/log.jsonl"), 1, "act2sal: run/log.jsonl: permission denied"),
        (KeyboardInterrupt(), 1, "the same command with --resume goes on"),
    ],
)
def test_what_breaks_a_training_off_is_one_line(
    error: BaseException, expected: int, message: str, train: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    train.result = error
    assert status("train", "photos", "--out", "run") == expected
    assert message in only_line(capsys)


def saved_run(folder: Path, config: TrainConfig) -> Path:
    """A run that has begun."""
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / "config.toml").write_text(to_toml(config))
    (folder / "log.jsonl").write_text('{"stage": "features", "epoch": 0}\n')
    return folder


def test_resume_takes_the_options_of_the_run(train: Called, tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run", tiny_config())
    assert status("train", "photos", "--out", run, "--resume") == 0
    assert train.arguments[2] == tiny_config()
    assert train.options["resume"]
    assert status("train", "photos", "--out", run, "--resume", "--seed", "3") == 0
    assert train.arguments[2] == replace(tiny_config(), seed=3)


def test_resume_with_a_preset_means_that_preset(train: Called, tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run", tiny_config())
    assert status("train", "photos", "--out", run, "--resume", "--preset", "paper") == 0
    assert train.arguments[2] == PRESETS["paper"]


def test_a_run_is_refused_without_a_flag_and_with_other_options(
    scenes: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(trained)
    command = ["train", scenes / "photos", "--out", trained, *tiny_arguments()]
    assert status(*command) == 2
    assert "holds a run already; --resume goes on with it, --overwrite replaces it" in only_line(capsys)
    assert status(*command, "--resume", "--stage2.lr", "0.5") == 2
    line = only_line(capsys)
    assert "stage2.lr = 0.001, now 0.5" in line
    assert files_of(trained) == before


def test_photos_that_cannot_be_used_are_wrong_usage(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--out", tmp_path / "run", *tiny_arguments(), "--quiet"]
    assert status("train", tmp_path / "none", *command) == 2
    assert "no such file or folder" in only_line(capsys)
    photos = tmp_path / "photos"
    photos.mkdir()
    assert status("train", photos, *command) == 2
    assert "no photos in" in only_line(capsys)
    shutil.copy(scenes / "photos" / "scene0000.jpg", photos)
    (photos / "bad.jpg").write_bytes(b"no photo")
    assert status("train", photos, *command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("act2sal: at least 2 readable photos are needed, 1 of 2 can be read (bad.jpg: ")
    # What failed at its start can be started again
    shutil.copy(scenes / "photos" / "scene0001.jpg", photos)
    assert status("train", photos, *command, "--stage1.rounds", "0", "--stage2.epochs", "1") == 1
    assert "1 photo could not be read; it is named in the report" in capsys.readouterr().err
    assert (tmp_path / "run" / "detector.safetensors").is_file()


def test_a_loss_that_is_not_finite_ends_with_status_1(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--stage1.rounds", "0", "--stage2.lr", "1e30", "--quiet"]
    command = ["train", scenes / "photos", "--out", tmp_path / "run", *tiny_arguments(), *options]
    assert status(*command) == 1
    line = only_line(capsys)
    assert line.startswith("act2sal: the loss of stage 2 is nan in epoch ")
    assert line.endswith("a lower stage2.lr may help")
    assert not (tmp_path / "run" / "detector.safetensors").exists()


def test_label_hands_its_options_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label = Called(PhotosUsed(6, ["a.jpg: damaged"]))
    monkeypatch.setattr(labelling, "label", label)
    options = ["--encoder", "resnet50", "--stage1.lr", "0.5", "--labels.median", "3", "--overwrite"]
    assert status("label", "photos", "--out", "labels", *options) == 1
    default = TrainConfig()
    config = replace(
        default,
        encoder="resnet50",
        stage1=replace(default.stage1, lr=0.5),
        labels=replace(default.labels, median=3),
    )
    assert label.arguments == (Path("photos"), Path("labels"), config)
    assert "1 photo could not be read; it is named above" in capsys.readouterr().err
    assert label.options == {"run": None, "overwrite": True, "quiet": False}
    assert status("label", "photos", "--out", "labels", "--run", "R") == 1
    assert label.options == {"run": Path("R"), "overwrite": False, "quiet": False}


def test_predict_by_a_run_or_a_file(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copy(trained / "detector.safetensors", tmp_path / "m.safetensors")
    for name, source in (("by_run", trained), ("by_file", model)):
        command = ["predict", scenes / "photos", "--out", tmp_path / name, "--model", source]
        assert status(*command, "--device", "cpu", "--quiet") == 0
        assert status(*command, "--device", "cpu", "--quiet") == 2
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    assert files_of(tmp_path / "by_run") == files_of(tmp_path / "by_file")
    assert len(files_of(tmp_path / "by_run")) == 6


def test_predict_without_a_model_of_that_name_is_wrong_usage(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "predict",
        scenes / "photos",
        "--out",
        tmp_path / "maps",
        "--model",
        tmp_path / "m.safetensors",
    ]
    assert status(*command) == 2
    assert only_line(capsys) == f"act2sal: there is no model file {tmp_path / 'm.safetensors'}"


def test_a_classical_method_takes_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gray_png(tmp_path / "photos" / "a.png", np.zeros((20, 20), np.uint8))
    command = ["predict", tmp_path / "photos", "--out", tmp_path / "maps", "--method", "rbd", "--quiet"]
    assert status(*command, "--model", tmp_path) == 2
    assert "--model has no effect beside --method other than a2s" in only_line(capsys)
    assert status(*command) == 0
    assert (tmp_path / "maps" / "a.png").is_file()


def test_compare_writes_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 255
    for name in ("a", "b"):
        write_gray_png(tmp_path / "photos" / f"{name}.png", 255 - mask)
    write_gray_png(tmp_path / "masks" / "a.png", mask)
    (tmp_path / "photos" / "c.jpg").write_bytes(b"no photo")
    sheet = tmp_path / "sheet.png"
    command = ["compare", tmp_path / "photos", "--out", sheet, "--masks", tmp_path / "masks", "--quiet"]
    assert status(*command, "--methods", "rbd,other") == 2
    assert "--methods rbd,other: needs some of a2s,dsr,mc,rbd,hs, each once" in only_line(capsys)
    assert status(*command, "--methods", "rbd,a2s", "--device", "cpu") == 1
    assert "1 photo could not be read" in capsys.readouterr().err
    picture = read_photo(sheet)
    assert picture.shape[1] > 4 * 220  # photo, mask, two methods
    assert status(*command, "--methods", "rbd") == 2
    assert "exists already; --overwrite replaces it" in only_line(capsys)
    assert status(*command, "--methods", "rbd", "--overwrite", "--limit", "1") == 0
    assert read_photo(sheet).shape[1] < picture.shape[1]
    assert read_photo(sheet).shape[0] < picture.shape[0]


def test_evaluate_writes_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    for folder in ("maps", "masks"):
        write_gray_png(tmp_path / folder / "a.png", mask)
    write_gray_png(tmp_path / "masks" / "b.png", mask)
    command = ["evaluate", tmp_path / "maps", tmp_path / "masks", "--json", tmp_path / "s.json", "--quiet"]
    assert status(*command, "--workers", "1") == 1  # b.png has no map
    assert json.loads((tmp_path / "s.json").read_text())["scores"]["mae"] == pytest.approx(0, abs=1e-6)
    write_gray_png(tmp_path / "maps" / "b.png", mask)
    assert status(*command, "--workers", "1") == 0


def command_line(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "act2sal.cli", *map(str, arguments)]


def stopped_in(stage: str, how: signal.Signals, command: list[str], log: Path) -> tuple[int, str]:
    """Start `command`, send the signal once the log has a row of `stage`; exit status and stderr."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (log.is_file() and f'"{stage}"' in log.read_text()) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(how)
        return process.wait(), process.communicate()[1]


def test_stopped_by_ctrl_c_then_killed_it_ends_as_if_never_stopped(scenes: Path, tmp_path: Path) -> None:
    config = tiny_config(stage1={"epochs": 60}, stage2={"epochs": 60})
    long = [*tiny_arguments(), "--stage1.epochs", "60", "--stage2.epochs", "60"]
    run, log = tmp_path / "run", tmp_path / "run" / "log.jsonl"
    start = command_line("train", scenes / "photos", "--out", run, *long)
    resume = command_line("train", scenes / "photos", "--out", run, "--resume", "--quiet")
    code, errors = stopped_in("stage1", signal.SIGINT, start, log)
    assert code == 1
    assert errors.splitlines()[-1] == (
        "act2sal: interrupted; what was written stays; the same command with --resume goes on"
    )
    assert "Traceback" not in errors
    assert "stage 1, epoch 1/60: " in errors  # plain lines, as stderr is no terminal
    code, _ = stopped_in("stage2", signal.SIGKILL, resume, log)
    assert code == -signal.SIGKILL
    assert load_toml(run / "config.toml", TrainConfig()) == config

    assert status("train", scenes / "photos", "--out", run, "--resume", "--quiet") == 0
    pipeline.train(scenes / "photos", tmp_path / "whole", config, quiet=True)
    assert files_of(run / "labels") == files_of(tmp_path / "whole" / "labels")
    for name in ("detector.safetensors", "stage1.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_photo_is_named_on_stderr_and_the_others_are_done(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(scenes / "photos", tmp_path / "photos")
    (photos / "scene0004.jpg").write_bytes(b"no photo")
    arguments = [
        "predict",
        photos,
        "--out",
        tmp_path / "maps",
        "--model",
        trained,
        "--device",
        "cpu",
        "--quiet",
    ]
    done = subprocess.run(command_line(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("scene0004.jpg") == 1
    assert done.stdout.startswith("5 done, in ")
    assert {path.stem for path in (tmp_path / "maps").iterdir()} == {f"scene000{n}" for n in (0, 1, 2, 3, 5)}
    assert read_photo(tmp_path / "maps" / "scene0000.png").shape == (72, 96, 3)


def test_names_that_are_no_utf8_and_escape_codes_in_names(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    try:
        for number, name in enumerate((b"bad\xff.jpg", b"red\x1b[31m.jpg", b"two\nlines.jpg")):
            shutil.copy(scenes / "photos" / f"scene000{number}.jpg", photos / os.fsdecode(name))
    except OSError:
        pytest.skip("this system has no such names")
    (photos / "broken\x1b[2J.jpg").write_bytes(b"x")
    few = ["--stage1.rounds", "0", "--stage2.epochs", "1", "--quiet"]
    assert status("train", photos, "--out", tmp_path / "run", *tiny_arguments(), *few) == 1
    assert status("predict", photos, "--out", tmp_path / "maps", "--method", "rbd", "--quiet") == 1
    assert len(list((tmp_path / "maps").iterdir())) == 3
    scores = tmp_path / "scores.csv"
    assert status("evaluate", tmp_path / "maps", tmp_path / "maps", "--csv", scores, "--quiet") == 0
    assert b"bad\xff" in scores.read_bytes()


def test_a_pipe_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert status("predict", "-", "--quiet") == 2
    assert only_line(capsys) == "act2sal: standard input or standard output is closed"
