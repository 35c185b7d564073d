"""Compilation of the CRF: kept on disk where possible, announced, and safe from several threads."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal import config, errors, limits
from act2sal.a2s import crf
from act2sal.runtime import compiled

SOURCE = Path(crf.__file__).parent

SCRIPT = """
import numba.core.event
import numpy as np
from act2sal.runtime import compiled
from act2sal.a2s.crf import inference
spin = np.empty(3, np.float32)
with numba.core.event.install_listener("numba:compile", compiled.Announce("compiling")):
    inference.to_spin(np.array([0, 2, -200], np.float32), spin)
print([round(float(value), 3) for value in spin])
"""


def copy_package(folder: Path) -> None:
    """The CRF and what it needs of the package, without machine code."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, folder / "act2sal" / "a2s" / "crf", ignore=ignored)
    (folder / "act2sal" / "runtime").mkdir()
    for module in (config, limits, errors):
        shutil.copy(module.__file__, folder / "act2sal")
    shutil.copy(compiled.__file__, folder / "act2sal" / "runtime")


def run_copy(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one kernel in a new process, from a copy of the package in `folder`."""
    if not (folder / "act2sal").is_dir():
        copy_package(folder)
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        check=True,
    )


def test_machine_code_is_kept_between_processes(tmp_path):
    cache = str(tmp_path / "cache")
    first, second = (run_copy(tmp_path, NUMBA_CACHE_DIR=cache) for _ in range(2))
    assert first.stdout == second.stdout == "[0.0, 0.762, -1.0]\n"
    assert first.stderr == "compiling\n"
    assert second.stderr == ""


def test_works_without_any_writable_cache(tmp_path):
    """A plain file in the place of each cache folder stops even the superuser from writing there."""
    nowhere = tmp_path / "nowhere"
    nowhere.touch()
    environment = {name: str(nowhere / "x") for name in ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME")}
    copy_package(tmp_path)
    (tmp_path / "act2sal" / "a2s" / "crf" / "__pycache__").touch()
    assert run_copy(tmp_path, **environment).stdout == "[0.0, 0.762, -1.0]\n"


def test_first_use_from_several_threads():
    crf.compile_kernels.cache_clear()
    photo, mask = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    started = threading.Barrier(3)

    def first_use(_: int) -> NDArray[np.float32]:
        started.wait()
        return crf.mean_field(photo, crf.unary_from_labels(mask))

    with ThreadPoolExecutor(3) as pool:
        maps = list(pool.map(first_use, range(3)))
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
