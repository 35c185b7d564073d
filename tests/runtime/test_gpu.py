"""Where PyTorch would find a GPU, and that it is not loaded to learn that there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from act2sal.networks import model_files
from act2sal.runtime import gpu

FOUND = torch.cuda.is_available() or torch.backends.mps.is_available()


def test_where_pytorch_finds_one_it_is_possible() -> None:
    assert gpu.gpu_is_possible() or not FOUND


@pytest.mark.parametrize(
    ("system", "machine", "library", "device", "expected"),
    [
        ("linux", "x86_64", None, "no-device", False),
        ("linux", "x86_64", "libcuda.so.1", "no-device", True),
        ("linux", "x86_64", None, ".", True),  # AMD
        ("win32", "AMD64", None, "no-device", False),
        ("win32", "AMD64", "nvcuda.dll", "no-device", True),
        ("darwin", "arm64", None, "no-device", True),
        ("darwin", "x86_64", None, "no-device", False),
        ("freebsd14", "amd64", None, "no-device", True),  # not known: PyTorch is asked
    ],
)
def test_every_system(
    system: str,
    machine: str,
    library: str | None,
    device: str,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(name: str) -> None:
        if name != library:
            raise OSError(name)

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("ctypes.CDLL", opened)
    monkeypatch.setattr(gpu, "ROCM_DEVICE", Path(device))
    assert gpu.gpu_is_possible() == expected


@pytest.mark.skipif(FOUND, reason="PyTorch computes on the GPU here")
@pytest.mark.skipif(not model_files.BUILTIN_ONNX_PATH.is_file(), reason="no ONNX file is shipped")
def test_predict_loads_no_pytorch_where_there_is_no_gpu(scenes: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(scenes / "photos"), "--out", str(tmp_path), "--kind", "cutout", "--quiet"]
    code = (
        "import sys; from act2sal.cli import main; "
        f"status = main({arguments}); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.iterdir())) == 6
