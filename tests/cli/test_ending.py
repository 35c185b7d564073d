"""What ends a command: one line and a status, whatever was raised; silence where nobody reads."""

import ast
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch

from act2sal import cli, demo
from act2sal.cli import COMMANDS, ending, main
from act2sal.data import set_check
from act2sal.evaluation import comparison as comparisons
from act2sal.evaluation import scoring
from act2sal.networks import official
from act2sal.predict import export, job
from act2sal.reproduce import reproduction
from act2sal.serve import server
from act2sal.training import labelling, pipeline
from tiny import tiny_arguments

FOREIGN: list[BaseException] = [
    ValueError("a value"),
    RuntimeError("two\nlines and \x1b[31mred"),
    MemoryError(),
    AssertionError(),
    KeyError("key"),
    IndexError("list index out of range"),
    TypeError("unsupported operand"),
    AttributeError("no attribute"),
    RecursionError("maximum recursion depth exceeded"),
    ZeroDivisionError("division by zero"),
    OverflowError("int too large"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    StopIteration(),
    EOFError(),
    NotImplementedError(),
    ModuleNotFoundError("No module named 'nowhere'", name="nowhere"),
    zlib.error("incorrect header check"),
    torch.OutOfMemoryError("CUDA out of memory"),
    torch.linalg.LinAlgError("singular"),
    subprocess.CalledProcessError(1, "tool"),
]

WORDS = {
    "train": ["photos", "--out", "run"],
    "label": ["photos", "--out", "labels"],
    "predict": ["photos"],
    "compare": ["photos", "--out", "sheet.png", "--methods", "rbd"],
    "evaluate": ["maps", "masks"],
    "export": ["--out", "model.onnx"],
    "convert": ["model.pth", "--out", "model.safetensors"],
    "demo": [],
    "serve": [],
    "reproduce": ["table1", "--out", "reproduced"],
    "data": ["check", "."],
}


def planted(reason: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command calls raises `reason`."""

    def broken(*_: object, **__: object) -> None:
        raise reason

    functions = [
        *((pipeline, "train"), (labelling, "label"), (job, "rendering_of"), (comparisons, "compare")),
        *((scoring, "map_sets_of"), (export, "export"), (official, "convert_official"), (demo, "demo")),
        *((server, "require_serve"), (reproduction, "reproduce"), (set_check, "check_sets")),
    ]
    for module, name in functions:
        monkeypatch.setattr(module, name, broken)


def test_every_command_is_asked() -> None:
    assert set(WORDS) == set(COMMANDS)


@pytest.mark.parametrize("reason", FOREIGN, ids=lambda reason: type(reason).__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_any_error_is_one_line(
    command: str,
    reason: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planted(reason, monkeypatch)
    assert main([command, *WORDS[command]]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"act2sal: {command} ")
    assert "\x1b" not in told
    assert type(reason).__name__ in told or "memory" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_debug_shows_the_traceback_above_the_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(KeyError("key"), monkeypatch)
    assert main([command, *WORDS[command], "--debug"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert "in broken\n    raise reason\nKeyError: 'key'\n" in told
    assert told.splitlines()[-1].startswith(f"act2sal: {command} broke off")


def test_nothing_in_cli_ends_the_process_or_catches_by_itself() -> None:
    """Only `ending` turns errors into lines, so that no command can leave one out."""
    for path in Path(cli.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and path.name != "__main__.py":
                called = ast.unparse(node.func)
                assert called not in ("sys.exit", "exit", "quit", "os._exit", "os.abort"), path
            if isinstance(node, ast.ExceptHandler) and path.stem != "ending":
                assert node.type is not None, f"{path.name}:{node.lineno} catches everything"
                assert "Exception" not in ast.unparse(node.type).split("."), path
    caught = [
        ast.unparse(node.type)
        for node in ast.walk(ast.parse(Path(ending.__file__).read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler) and node.type is not None
    ]
    assert "(Exception, KeyboardInterrupt)" in caught


def act2sal(*words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "act2sal", *words]
    return subprocess.run(command, capture_output=True, check=False, **more)  # type: ignore[call-overload]


def test_the_package_runs_as_a_module() -> None:
    assert act2sal("--version").stdout.startswith(b"act2sal ")


def test_nothing_is_said_to_a_reader_that_has_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    for words in (["--help"], ["predict", "--help"]):
        command = [sys.executable, "-m", "act2sal", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
        assert done.stderr == b""
    os.close(write)


def test_characters_that_the_output_cannot_hold_are_replaced(scenes: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    masks = str(scenes / "masks")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = act2sal("evaluate", masks, masks, "--json", str(scores), "--quiet", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?" in done.stdout
    assert scores.is_file()


def test_files_that_are_asked_for_are_there_though_nobody_reads_the_table(
    scenes: Path, tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.close(read)
    masks = str(scenes / "masks")
    files = [tmp_path / "scores.json", tmp_path / "scores.csv"]
    words = ["evaluate", masks, masks, "--json", str(files[0]), "--csv", str(files[1]), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "act2sal", *words], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("word", "hint"), [("trian", "did you mean train?"), ("xyzzy", "possible: train, label")]
)
def test_a_mistyped_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("command", ["train", "label", "predict", "compare"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    command: str,
    device: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("act2sal.runtime.gpu._gpus", lambda device: 0)
    words = ["nowhere", "--out", str(tmp_path / "out.png"), "--device", device]
    assert main([command, *words]) == 2
    assert capsys.readouterr().err == f"act2sal: no {device} device on this machine; --device auto or cpu\n"
    assert list(tmp_path.iterdir()) == []


def test_more_processes_than_there_are_gpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("act2sal.runtime.gpu._gpus", lambda device: 2)
    assert main(["train", "photos", "--out", "run", "--device", "cuda", "--devices", "4"]) == 2
    assert capsys.readouterr().err == "act2sal: --devices 4: this machine has 2 cuda devices\n"


@pytest.mark.parametrize(
    ("words", "device"),
    [
        (["predict", "--backend", "torch", "--device", "cpu"], r"CPU, \d+ threads? \(PyTorch\)"),
        (["predict", "--backend", "onnx"], r"CPU, \d+ threads? \(onnxruntime\)"),
        (["predict", "--method", "rbd"], r"CPU, \d+ threads?"),
        (["compare", "--methods", "a2s", "--device", "cpu"], r"CPU, \d+ threads? \((onnxruntime|PyTorch)\)"),
        (["label", *tiny_arguments()[:8], "--stage1.rounds", "0"], r"CPU, \d+ threads? \(PyTorch\)"),
    ],
)
def test_the_device_is_said_in_one_line(
    words: list[str],
    device: str,
    scenes: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / ("sheet.png" if words[0] == "compare" else "out")
    command = [words[0], str(scenes / "photos"), *words[1:], "--out", str(out)]
    for quiet, count in (([], 1), (["--quiet", "--overwrite"], 0)):
        caplog.clear()
        with caplog.at_level("INFO", logger="act2sal"):
            assert main([*command, *quiet]) == 0
        told = [*capfd.readouterr().err.splitlines(), *caplog.messages]
        assert len({line for line in told if re.fullmatch(f"device: {device}", line)}) == count
