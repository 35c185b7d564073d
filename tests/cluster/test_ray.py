"""Commands on a Ray cluster of two nodes: the results of the local commands, whatever is killed on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act2sal.data.images import write_gray_png
from act2sal.scenes import write_scenes
from tiny import files_of

START = 120.0
"""Seconds after which Ray is taken not to start."""

PLAN = ("worker", "driver", "worker", "node", "worker") * 2
"""What is killed, one after the other."""


class Nodes:
    """The cluster of `ray_nodes`."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self.process, self.address = process, address

    def kill_node(self) -> None:
        """Kill a node and start another."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"

    def kill_worker(self) -> bool:
        """Kill a process that does shards, if there is one."""
        workers = [pid for pid in below(self.process.pid) if "MapWorker" in title(pid)]
        if not workers:
            return False
        with suppress(ProcessLookupError):
            os.kill(random.choice(workers), signal.SIGKILL)
        return True


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def below(root: int) -> list[int]:
    """Processes that a process has started, and those that these have."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found[1:]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    words = [sys.executable, str(Path(__file__).parents[1] / "ray_nodes.py")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    timer = signal.getsignal(signal.SIGALRM)

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, START)
    address = ""
    with suppress(TimeoutError):
        address = process.stdout.readline().strip()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, timer)
    if not address:
        process.kill()
        process.communicate()
        if os.environ.get("ACT2SAL_RAY") == "required":
            pytest.fail("Ray does not start on this machine")
        pytest.skip("Ray does not start on this machine")
    with process:
        yield Nodes(process, address)
        process.communicate(timeout=60)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "act2sal", *map(str, words)]


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_scenes(folder, 40, seed=5, size=(72, 96))
    return folder


def on(nodes: Nodes) -> list[str]:
    return ["--engine", "ray", "--address", nodes.address]


def test_predictions_are_the_bytes_of_the_local_command(nodes: Nodes, photos: Path, tmp_path: Path) -> None:
    words = ("predict", photos / "photos", "--kind", "mask", "cutout", "--json")
    run(*words, tmp_path / "here.json", "--out", tmp_path / "here", "--quiet")
    for _ in range(2):  # the second call finds all done
        said = run(
            *words, tmp_path / "there.json", "--out", tmp_path / "there", "--shard-size", "8", *on(nodes)
        )
        assert said.stdout == f"40 done, in {tmp_path / 'there'}\n"
        assert ("5/5" in said.stderr) == (_ == 0)
    notes = tmp_path / "there" / ".act2sal"
    assert len(list((notes / "done").iterdir())) == 5
    there = {
        name: content for name, content in files_of(tmp_path / "there").items() if ".act2sal" not in name
    }
    assert there == files_of(tmp_path / "here")
    facts = [
        [{**record, "files": 0} for record in json.loads((tmp_path / name).read_text())]
        for name in ("here.json", "there.json")
    ]
    assert facts[0] == facts[1]


def test_scores_are_those_of_the_local_command(nodes: Nodes, photos: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    random_levels = np.random.default_rng(0)
    for mask in (photos / "masks").iterdir():
        write_gray_png(maps / mask.name, random_levels.integers(0, 256, (72, 96), np.uint8))
    words = ("evaluate", maps, photos / "masks", "--json")
    here = run(*words, tmp_path / "here.json", "--csv", tmp_path / "here.csv", "--quiet")
    there = run(*words, tmp_path / "there.json", "--csv", tmp_path / "there.csv", *on(nodes))
    assert here.stdout == there.stdout
    for name in ("json", "csv"):
        assert (tmp_path / f"here.{name}").read_bytes() == (tmp_path / f"there.{name}").read_bytes()


def test_labels_are_the_bytes_of_the_local_command(
    nodes: Nodes, trained: Path, photos: Path, tmp_path: Path
) -> None:
    words = ("label", photos / "photos", "--run", trained, "--out")
    run(*words, tmp_path / "here", "--quiet")
    run(*words, tmp_path / "there", "--shard-size", "8", *on(nodes))
    there = {
        name: content for name, content in files_of(tmp_path / "there").items() if ".act2sal" not in name
    }
    assert there == files_of(tmp_path / "here")


def test_what_is_wrong_with_a_cluster_is_said_in_one_line(photos: Path, tmp_path: Path) -> None:
    words = (
        "predict",
        photos / "photos",
        "--out",
        tmp_path / "out",
        "--engine",
        "ray",
        "--address",
        "127.0.0.1:1",
    )
    failed = subprocess.run(command(*words), capture_output=True, text=True, timeout=600)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("act2sal: --address 127.0.0.1:1: ")


def test_killed_workers_nodes_and_drivers_leave_no_hole_and_nothing_twice(
    nodes: Nodes, photos: Path, tmp_path: Path
) -> None:
    """Ten kills, each while shards are done; the last call runs to its end."""
    words: list[Any] = ["predict", photos / "photos", "--store", "webdataset", "--shard-size", "1", "--out"]
    run(*words, tmp_path / "undisturbed", *on(nodes))
    draw, out = random.Random(0), tmp_path / "out"
    driver: subprocess.Popen[str] | None = None
    kills = dict.fromkeys(("worker", "node", "driver"), 0)
    notes = out / ".act2sal" / "done"
    while sum(kills.values()) < len(PLAN):
        if driver is None or driver.poll() is not None:
            for note in sorted(notes.glob("*.json"))[::2] if notes.is_dir() else []:
                note.unlink()  # so that something is left to do
            driver = subprocess.Popen(command(*words, out, *on(nodes)), stderr=subprocess.DEVNULL, text=True)
        before = len(list(notes.glob("*.json"))) if notes.is_dir() else 0
        deadline = time.monotonic() + 60
        while driver.poll() is None and time.monotonic() < deadline:
            if notes.is_dir() and len(list(notes.glob("*.json"))) > before:
                break
            time.sleep(0.02)
        time.sleep(draw.random())
        kind = PLAN[sum(kills.values())]
        if kind == "node":
            nodes.kill_node()
        elif kind == "driver" and driver.poll() is None:
            driver.kill()
            driver.wait()
        elif kind == "driver" or not nodes.kill_worker():
            continue
        kills[kind] += 1
    with suppress(subprocess.TimeoutExpired):
        driver.wait(300)
    run(*words, out, *on(nodes))
    ours, theirs = (
        {name: content for name, content in files_of(folder).items() if ".act2sal" not in name}
        for folder in (out, tmp_path / "undisturbed")
    )
    assert ours == theirs
    assert len(ours) == 40
