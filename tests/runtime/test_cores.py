"""How many threads there are: by the scheduler's mask, by control groups, by --workers; in every pool."""

import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from act2sal.cli import main
from act2sal.data import photo_bank
from act2sal.predict import maps
from act2sal.runtime import cores

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tree(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A pretended /proc/self/cgroup and /sys/fs/cgroup."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        file = folder / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "own", folder / "mount"


V1 = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/not/seen/here\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/../a\n", {"a/cpu.max": "100000 100000\n"}, 1),
        (
            V1,
            {
                f"cpu,cpuacct/docker/a/cpu.cfs_{n}": t
                for n, t in (("quota_us", "250000"), ("period_us", "100000"))
            },
            2.5,
        ),
        (V1, {f"cpu/cpu.cfs_{n}": t for n, t in (("quota_us", "100000"), ("period_us", "50000"))}, 2),
        (
            V1,
            {f"cpu/docker/a/cpu.cfs_{n}": t for n, t in (("quota_us", "-1"), ("period_us", "100000"))},
            math.inf,
        ),
        (V1 + "0::/\n", {"unified/cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "\n"}, math.inf),
        ("0::/\n", {"cpu.max": "x y\n"}, math.inf),
        ("0::/\n", {"cpu.max": "0 0\n"}, math.inf),
        ("", {}, math.inf),
        ("nonsense\n", {}, math.inf),
    ],
)
def test_control_groups(own: str, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    assert cores.cgroup_cores(*tree(tmp_path, own, files)) == expected


def test_without_control_groups_all_are_granted(tmp_path: Path) -> None:
    assert cores.cgroup_cores(tmp_path / "none", tmp_path) == math.inf


@pytest.mark.parametrize(("granted", "expected"), [(0.5, 1), (1.0, 1), (1.5, min(2, ALL)), (math.inf, ALL)])
def test_the_least_counts(granted: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cgroup_cores", lambda: granted)
    assert cores.usable() == expected
    assert cores.threads(0) == cores.threads(None) == cores.threads(10**9) == expected
    assert cores.threads(1) == 1


def test_what_is_lowered_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_by_mask", lambda: 8)
    monkeypatch.setattr(cores, "cgroup_cores", lambda: math.inf)
    monkeypatch.delenv(cores.ASKED)
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(4)
    cv2.setNumThreads(4)
    with cores.at_most(0):
        assert (cores.usable(), torch.get_num_threads(), cv2.getNumThreads()) == (8, 4, 4)
        with cores.at_most(3):
            assert (cores.usable(), torch.get_num_threads(), cv2.getNumThreads()) == (3, 3, 3)
            assert os.environ[cores.ASKED] == "3"
            cores.lower(2)
            cores.lower(5)
            assert (cores.usable(), torch.get_num_threads(), cv2.getNumThreads()) == (2, 2, 2)
        assert (cores.usable(), torch.get_num_threads(), cv2.getNumThreads()) == (8, 4, 4)
    assert cores.ASKED not in os.environ
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


class Widths:
    """Takes the place of a thread pool's class and keeps how wide each pool was."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.found: list[int] = []

    def __call__(self, workers: int, *rest: object, **named: object) -> object:
        self.found.append(workers)
        return self.kind(workers, *rest, **named)


@pytest.mark.parametrize("command", ["predict", "compare", "label"])
def test_workers_reach_the_pools(
    command: str, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "_by_mask", lambda: 4)
    monkeypatch.setattr(cores, "cgroup_cores", lambda: math.inf)
    from act2sal.a2s import pseudo_labels
    from act2sal.evaluation import comparison

    pools = {}
    for module in (maps, comparison, pseudo_labels, photo_bank):
        pools[module.__name__] = Widths(module.ThreadPoolExecutor)
        monkeypatch.setattr(module, "ThreadPoolExecutor", pools[module.__name__])
    tiny = [
        "--encoder",
        "test_efficientnet",
        "--encoder-weights",
        "random",
        "--size",
        "64",
        "--device",
        "cpu",
    ]
    words = {
        "predict": ["--out", str(tmp_path / "maps"), "--method", "rbd"],
        "compare": ["--out", str(tmp_path / "sheet.png"), "--methods", "rbd"],
        "label": ["--out", str(tmp_path / "labels"), *tiny, "--stage1.epochs", "1", "--stage1.rounds", "0"],
    }
    assert main([command, str(scenes / "photos"), *words[command], "--workers", "3", "--quiet"]) == 0
    found = [width for pool in pools.values() for width in pool.found]
    assert found
    assert set(found) <= {1, 3}
    assert 3 in found


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no masks")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_process_bound_to_one_core_computes_in_one_thread(
    backend: str, scenes: Path, tmp_path: Path
) -> None:
    """As `taskset -c 0` would start it: no library has a thread beside its caller's."""
    code = f"""
import os, sys
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
from act2sal.runtime import cores
from act2sal.cli import main
words = ["predict", {str(scenes / "photos")!r}, "--out", {str(tmp_path)!r}, "--backend", "{backend}", "--quiet"]
def counted():
    import cv2
    torch = sys.modules.get("torch")
    return cores.usable(), cv2.getNumThreads(), torch.get_num_threads() if torch else 1
from act2sal.predict import job
run = job.Job.run
def watched(job, inputs):
    outcome = run(job, inputs)
    print(*counted())
    return outcome
job.Job.run = watched
sys.exit(main(words))
"""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "1 1 1"
