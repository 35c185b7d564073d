"""Options that would do nothing are refused before any work, in one line that names them and why."""

from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from act2sal.cli import main
from act2sal.cli.contradictions import CONTRADICTIONS, given_names
from act2sal.config import LabelConfig, RivalConfig, Stage1Config, Stage2Config
from act2sal.data.images import write_gray_png

VALUES = {
    "side-weights": "1 1 1",
    "soft": "all",
    "detector": "cpd",
    "encoder": "resnet50",
    "encoder-weights": "random",
    "boundary": "db1",
    "sign": "corners",
    "distance": "eq4",
    "mirror": "photos",
    "precision": "int8",
    "threshold": "otsu",
    "grow": "-3",
    "annotations": "coco",
    "matting": "knn",
    "finest-stride": "2",
    "fusion-stride": "8",
    "lr": "0.5",
    "alpha": "0.5",
    "gt-prob": "0.6",
    "median": "3",
    "batch-size": "4",
    "size": "64",
    "device": "cpu",
    "backend": "torch",
    "sheet": "s.png",
    "json": "r.json",
    "out": "folder",
    "hma-momentum": "0.5",
    "rectify-lambda": "1",
    "view": "64",
    "channels": "16",
    "min-confidence": "0.5",
    "momentum": "0.5",
    "devices": "2",
    "num-nodes": "2",
    "exclude": "none",
    "drop-pixels": "0.2",
    "round-trim": "0.2",
    "average": "0.9",
    "trim": "0.2",
    "view-sides": "64 96",
    "store": "parquet",
}
"""A value of each option that needs a particular one, by the last part of its name."""

SECTIONS = {"stage1": Stage1Config, "labels": LabelConfig, "stage2": Stage2Config, "rival": RivalConfig}

FLAGS = {"public", "watch", "overwrite", "skip-existing", "resume"}

SITUATIONS: dict[str, dict[str, str]] = {
    "train": {
        "torchrun": "",
        "--resume": "--resume",
        "--teacher, whose": "--teacher x.safetensors",
        "--teacher and": "--teacher x.safetensors --given-labels d",
        "--given-labels": "--given-labels d",
        "--given-labels, which": "--given-labels d --generations 2",
        "--given-labels without": "--given-labels d --stage2.rectifier olr",
        "--teacher, which": "--teacher x.safetensors",
        "--stage2.optimizer adamw": "",
        "--stage2.rectifier olr": "",
        "--stage2.scale-consistency 0": "",
        "--stage2.schedule other": "--stage2.schedule triangle",
        "--stage2.own-loss": "--detector cpd --stage2.own-loss",
        "--detector other": "--detector cpd",
        "--masks": "--masks d",
        "--method a2s": "",
        "--method other": "--method mnl",
        "--method other than usps": "--method sbf",
        "--stage2.view-sides": "--stage2.view-sides 64 96",
    },
    "label": {
        "--run": "--run r",
        "--run, whose stage 1 is fitted": "--engine ray --run r",
        "--stage1.scale-consistency 0": "",
        "--engine local": "",
    },
    "predict": {
        "--engine local": "",
        "--watch,": "--watch",
        "--kind map": "",
        "a video": "--out x.mp4",
        "--annotations, which": "--annotations yolo",
        "--method other": "--method rbd",
        "- (standard input)": "",
        "an --out": "--out x.png",
        "- (standard input) unless": "",
        "- (standard input) without": "",
    },
    "serve": {
        "no --run": "",
        "no --photos": "--run r",
        "--token-file": "--token-file t",
        "a --host that only": "",
        "a --host that other": "--host 0.0.0.0",
    },
    "compare": {"--methods without": "--methods dsr,rbd"},
    "evaluate": {"--worst 0": "", "--engine local": ""},
}
"""What else stands on the command line, by how the words of a rule begin, where these are not options themselves."""

INPUTS = {
    "train": "photos --out run",
    "label": "photos --out labels",
    "predict": "a.png",
    "serve": "",
    "compare": "photos --out s.png",
    "evaluate": "maps masks",
}


def situation(command: str, beside: str) -> list[str]:
    known = {start: words for start, words in SITUATIONS[command].items() if beside.startswith(start)}
    if known:
        return known[max(known, key=len)].split()
    words = [part for part in beside.split(" and ") if part.startswith("--")]
    return [
        word
        for part in words
        for word in (f"{part} {VALUES[last(part)]}" if last(part) in VALUES else part).split()
    ]


def last(option: str) -> str:
    return option.removeprefix("--").rpartition(".")[2]


def pairs(*, refused: bool) -> list[tuple[str, str, str]]:
    """Command, option, and what it cannot go with."""
    return [
        (command, name, rule.beside)
        for command, rules in CONTRADICTIONS.items()
        for rule in rules
        if rule.refused == refused
        for name in rule.options
    ]


def line_of(command: str, option: str, beside: str) -> list[str]:
    inputs = "-" if beside.startswith("- ") else INPUTS[command]
    return [command, *inputs.split(), *situation(command, beside), f"--{option}", *values_of(option)]


def values_of(option: str) -> list[str]:
    """Some value of an option; those of the training say by their types what they take."""
    section, _, name = option.replace("-", "_").rpartition(".")
    kind = get_type_hints(SECTIONS[section])[name] if section else None
    if last(option) in FLAGS or kind is bool:
        return []
    if last(option) not in VALUES and get_origin(kind) is Literal:
        return [str(get_args(kind)[0])]
    return VALUES.get(last(option), "1").split()


@pytest.mark.parametrize(("command", "option", "beside"), pairs(refused=True))
def test_an_option_without_effect_is_refused(
    command: str,
    option: str,
    beside: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if beside.startswith("torchrun"):
        for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "4"), ("WORLD_SIZE", "4")):
            monkeypatch.setenv(name, value)
    assert main(line_of(command, option, beside)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"act2sal: --{option} has no effect beside {beside}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("command", "option", "beside"), pairs(refused=False))
def test_an_option_of_a_stage_that_does_not_run_is_named(
    command: str,
    option: str,
    beside: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line_of(command, option, beside)) == 2  # there are no photos
    assert f"--{option} has no effect beside {beside}" in [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["photos", "--stage2.finest_stride", "2"], {"stage2.finest-stride"}),
        (["--stage1.no-flip", "--json=x"], {"stage1.flip", "json"}),
        (["--no-watch", "--out", "x"], {"out"}),
    ],
)
def test_what_a_command_line_names(words: list[str], names: set[str]) -> None:
    assert given_names(words) == names


def test_the_names_are_those_of_options() -> None:
    known = {f"stage1.{name}" for name in vars(Stage1Config())} | {
        f"labels.{name}" for name in vars(LabelConfig())
    }
    named = {name.replace("-", "_") for _, name, beside in pairs(refused=False) if "--given" in beside}
    assert named == known | {"cache_size"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict a.png --out x.png --format jpg", "--out x.png and --format jpg contradict each other"),
        (
            "predict a.png --out x.mp4 --format png",
            "--format png is for pictures, and --out x.mp4 is a video",
        ),
        ("predict a.png --out x.bmp", "x.bmp: a picture is written as .png, .jpg"),
        ("predict a.png --out x.avi", "x.avi: a video is written as .mp4, .mov"),
        ("predict a.png --out file", "--out file: file is no folder"),
        ("predict a.png --json folder", "--json folder: is a folder"),
        ("predict a.png --json file/r.json", "--json file/r.json: file is no folder"),
        ("predict a.png --json /proc/r.json", "--json /proc/r.json: nothing can be written to /proc ("),
        ("predict a.png --out x.png --json x.png", "--out and --json name the same file"),
        (f"predict a.png --json {'x' * 300}", "file name too long"),
        ("compare a.png --out s.jpg", "--out s.jpg: the name of the file has to end with .png"),
        ("compare a.png --out file/s.png", "--out file/s.png: file is no folder"),
        ("evaluate m m --json folder", "--json folder: is a folder"),
        ("evaluate m m --csv /proc/x/s.csv", "nothing can be written to /proc"),
        ("evaluate m m --csv m/a.png", "--csv m/a.png: is the name of a picture"),
        ("predict - a.png", "- (standard input) is one photo, and takes no other inputs"),
        ("predict a.png --json -", "--json -: needs the name of a file"),
        ("predict a.png --json a.png", "--json a.png: is the name of a picture"),
        ("evaluate m m --worst 3 --photos none", "--photos none: no such folder"),
        ("evaluate m m --csv s --json s", "--json and --csv name the same file, s"),
        ("evaluate m m --plot file", "--plot file: file is no folder"),
        ("evaluate m m --worst 3 --sheet s.jpg", "--sheet s.jpg: the name of the file has to end with .png"),
        ("export --out m.pt", "--out m.pt: the name of the file has to end with .onnx"),
        ("export --out folder", "--out folder: the name of the file has to end with .onnx"),
        ("convert c.pth --out m.pth", "--out m.pth: the name of the file has to end with .safetensors"),
        ("label photos --out file/labels", "--out file/labels: file is no folder"),
        ("train photos --out file/run", "--out file/run: file is no folder"),
        (
            "train photos --out run --teacher r --stage1.rounds 0",
            "a teacher needs stage1.rounds of 1 or more",
        ),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    write_gray_png(Path("a.png"), np.zeros((8, 8), np.uint8))
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert message.lower() in said.err.lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "file", "folder"]
