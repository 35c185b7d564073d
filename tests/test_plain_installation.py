"""What works without PyTorch, as plain `pip install act2sal` leaves it."""

from pathlib import Path

import pytest

from plain import plainly


def test_evaluate(scenes: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("scores.json", "scores.csv", "plots")]
    options = ["--json", files[0], "--csv", files[1], "--plot", files[2], "--quiet"]
    done = plainly("evaluate", scenes / "masks", scenes / "masks", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(file.exists() for file in files)


def test_the_worst_images(scenes: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "worst.png"
    options = ["--worst", "2", "--sheet", sheet, "--photos", scenes / "photos", "--quiet"]
    done = plainly("evaluate", scenes / "masks", scenes / "masks", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert sheet.exists()


def test_compare(scenes: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    options = ["--methods", "mc,rbd", "--masks", scenes / "masks", "--limit", "2", "--out", sheet, "--quiet"]
    done = plainly("compare", scenes / "photos", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert sheet.exists()


@pytest.mark.parametrize("command", ["label", "train", "export"])
def test_what_needs_pytorch_says_so(command: str, scenes: Path, tmp_path: Path) -> None:
    inputs = () if command == "export" else (scenes / "photos",)
    done = plainly(command, *inputs, "--out", tmp_path / "out.onnx")
    assert done.returncode == 2
    assert done.stderr == f'act2sal: {command} needs PyTorch: pip install "act2sal[train]"\n'
