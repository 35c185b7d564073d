"""Nothing is sent and nothing is kept to be sent, by C code neither."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from act2sal.networks import model_files
from act2sal.runtime import telemetry
from no_network import AVAILABLE, without_internet
from tiny import tiny_arguments

MINE = (*telemetry.SWITCHES, "CI", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
"""Variables without which a command runs here; some libraries keep quiet where CI is set."""

linux = pytest.mark.skipif(
    not AVAILABLE, reason="seccomp is Linux, and its numbers are known for two processors"
)


def at_home(home: Path) -> dict[str, str]:
    """An environment as a user's, with an empty home."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in MINE}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home)}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(not model_files.BUILTIN_ONNX_PATH.is_file(), reason="no ONNX file is shipped")
def test_predict_leaves_nothing_at_home(scenes: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ["predict", scenes / "photos", "--backend", "onnx", "--out", tmp_path / "maps", "--quiet"]
    command = [sys.executable, "-m", "act2sal", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=at_home(home))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(home) == []


@linux
def test_the_kernel_would_end_what_opens_a_socket() -> None:
    code = "import socket; socket.socket(socket.{}, socket.SOCK_STREAM); print('open')"
    for family in ("AF_INET", "AF_INET6"):
        assert without_internet("-c", code.format(family)).returncode == -signal.SIGSYS
    assert without_internet("-c", code.format("AF_UNIX")).stdout == "open\n"


@linux
def test_no_command_opens_a_socket(scenes: Path, tmp_path: Path) -> None:
    home, photos, masks = tmp_path / "home", scenes / "photos", scenes / "masks"
    environment = at_home(home)
    short = ["--stage1.epochs", "1", "--stage2.epochs", "1"]
    commands = [
        ["train", photos, "--out", tmp_path / "run", *tiny_arguments(), *short],
        ["predict", photos, "--out", tmp_path / "maps"],
        ["evaluate", tmp_path / "maps", masks, "--plot", tmp_path / "plots"],
    ]
    for words in commands:
        done = without_internet("-m", "act2sal", *words, "--quiet", environment=environment)
        assert (done.returncode, done.stderr) == (0, "")
    caches = ("matplotlib", "numba")
    left = [path for path in files(home) if not any(name in str(path) for name in caches)]
    assert left == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_strace_sees_no_socket(scenes: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = ["predict", scenes / "photos", "--out", tmp_path / "maps", "--quiet"]
    strace = ["strace", "-f", "-qq", "-e", "trace=socket,connect", "-o", trace]
    command = [*strace, sys.executable, "-m", "act2sal", *words]
    environment = at_home(tmp_path / "home")
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False, env=environment)
    if b"PTRACE" in done.stderr.upper():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0
    assert "AF_INET" not in trace.read_text()


def test_what_tensorboard_tries_of_amazon_stays_out_and_can_be_imported_later() -> None:
    code = "import sys, act2sal.runs.event_file; print('boto3' in sys.modules); import boto3; print(boto3.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "boto3"]
