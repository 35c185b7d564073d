"""Words of the command line: what is misspelt, missing or in another order; and the help."""

import re
from pathlib import Path

import pytest

from act2sal.cli import COMMANDS, main
from act2sal.cli.help import GROUPS
from act2sal.cli.parsing import inputs_first


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_plain_words(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(command, capsys)
    assert shown.startswith(f"usage: act2sal {command} [OPTIONS]")
    for word in ("STR", "INT", "FLOAT", "None", "MISSING", "False", "True", "(default: )"):
        assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", shown), word
    assert "[[" not in shown
    assert re.search(r"^  --debug +Say also where", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100


def test_examples_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.strip() for line in help_of("predict", capsys).splitlines()]
    assert "act2sal predict photo.jpg --out cutout.png --kind cutout" in lines
    assert "act2sal predict - < photo.jpg > map.png" in lines


def test_the_help_of_train_shows_what_a_preset_sets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--preset", "paper", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--stage1.epochs N Passes over the photos. Paper: 20. \(default: 20\)", shown)
    assert "--stage1.flip, --stage1.no-flip Mirror half of the photos at random. (default: on)" in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "train p --out r --sise 3",
            "train has no option --sise; did you mean --size?; act2sal train --help",
        ),
        (
            "train p --out r --stage1.epoch 3",
            "train has no option --stage1.epoch; did you mean --stage1.epochs?",
        ),
        ("predict a.jpg --knid cutout", "predict has no option --knid; did you mean --kind?"),
        ("evaluate a b --jsno=x", "evaluate has no option --jsno; did you mean --json?"),
        ("demo --xyzzy", "demo has no option --xyzzy; act2sal demo --help"),
        ("train", "train needs PHOTOS and --out RUN; act2sal train --help"),
        ("train p", "train needs --out RUN; act2sal train --help"),
        ("convert --out m.safetensors", "convert needs CHECKPOINT.pth; act2sal convert --help"),
        ("train p --out r --size x", "--size: 'x' is no whole number"),
        ("train p --out r --stage1.lr x", "--stage1.lr: 'x' is no number"),
        ("train p --out r --preset best", "--preset: invalid choice: 'best' (choose from"),
        ("train p --out r --config", "--config: expected one argument"),
        ("predict a.jpg --device gpu", "--device: 'gpu' is none of 'auto', 'cpu', 'cuda', 'mps'; act2sal"),
        (
            "predict",
            "predict has nothing to do; name a photo, a folder or a pattern, or - for standard input",
        ),
        ("predict a.jpg --workers", "--workers: its value is missing; act2sal predict --help"),
        ("predict a.jpg -q", "predict has no option -q"),
        ("predict a.jpg --quiet=yes", "not understood: yes"),
        ("train p --out r --stage1.milestones 1 x", "--stage1.milestones: '1', 'x' cannot be its value"),
        ("predict --overwrite --kind", "predict has nothing to do"),
        ("predict a.jpg --kind", "--kind needs a kind"),
        ("compare --out s.png", "compare has nothing to do; name a photo, a folder or a pattern"),
    ],
)
def test_what_is_wrong_is_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split(" ")) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"act2sal: {line}")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict", ""], "an argument is empty"),
        (["predict", "a.jpg", "--out", ""], "--out is given nothing"),
        (["predict", "a.jpg", "--out="], "--out is given nothing"),
        (["train", "", "--out", "r"], "an argument is empty"),
        (["compare", "", "--out", "s.png"], "an argument is empty"),
        (["convert", "", "--out", "m.safetensors"], "an argument is empty"),
    ],
)
def test_an_empty_argument_is_no_folder(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"act2sal: {line}; name a file, a folder or a value\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--kind cutout a.jpg", "a.jpg --kind cutout"),
        ("--kind mask cutout a.jpg b --quiet", "a.jpg b --kind mask cutout --quiet"),
        ("a.jpg --kind color:#fff b.jpg --out o", "a.jpg b.jpg --kind color:#fff --out o"),
        ("--kind image:x.png photos/*.jpg", "photos/*.jpg --kind image:x.png"),
        ("--kind=mask a.jpg", "a.jpg --kind=mask"),
        ("--kind map -", "- --kind map"),
        ("--kind cutuot --quiet", "--kind cutuot --quiet"),
        ("--stage1.milestones 2 3 a/photos --out r", "a/photos --stage1.milestones 2 3 --out r"),
        ("--stage2.second-sizes -64 64 ./p --out r", "./p --stage2.second-sizes -64 64 --out r"),
        ("--stage1.milestones 1 2.5 --out r", "--stage1.milestones 1 2.5 --out r"),
        ("--out a.png --kind cutout", "--out a.png --kind cutout"),
    ],
)
def test_inputs_behind_an_option_of_many_values(words: str, expected: str) -> None:
    assert inputs_first(words.split()) == expected.split()


def test_a_folder_that_is_there_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert inputs_first(["--kind", "cutout", "photos"]) == ["photos", "--kind", "cutout"]


def test_the_usual_order_of_words_works(scenes: Path, tmp_path: Path) -> None:
    photo = str(scenes / "photos" / "scene0000.jpg")
    target = tmp_path / "cutout.png"
    assert main(["predict", "--out", str(target), "--quiet", "--kind", "cutout", photo]) == 0
    assert target.is_file()


def test_a_mistyped_kind(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(scenes / "photos"), "--kind", "cutuot"]) == 2
    assert capsys.readouterr().err.endswith("not 'cutuot'; did you mean cutout?\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_examples_one_a_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of(command, capsys).splitlines()
    examples = [line for line in lines if line.startswith(f"  act2sal {command} ")]
    assert examples
    assert all(line.count("act2sal ") == 1 for line in examples)


def test_many_options_are_shown_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^(\S.*):$", help_of("predict", capsys), re.MULTILINE)
    assert shown == ["positional arguments", "options", *GROUPS]
    assert "the result:" not in help_of("export", capsys)


def test_groups_name_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    shown = "".join(help_of(command, capsys) for command in COMMANDS)
    missing = {name for names in GROUPS.values() for name in names if f"--{name}" not in shown}
    assert missing <= {"matting"}
