"""`act2sal predict --engine ray` beside the local command: photos a second, from one core to two, and memory.

    python benchmarks/cluster.py PHOTOS --no-memory --out recipes/results/cluster_speed.json
    python benchmarks/cluster.py PHOTOS --ways --out recipes/results/cluster_memory.json

Each way does a few photos and then many; the rate is that of the difference, and what is left is the start-up. Photos
are links to those of the folder, as many as are asked for. Memory is the largest that any process that does shards,
and the command itself, reached by the kernel's count, over few and over many links to small pictures, with a small
network that takes next to no time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from memory import LINKED, write_photos

from act2sal.a2s.detector import DetectorNetwork
from act2sal.data.images import write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.networks.checkpoint import save_detector
from act2sal.networks.encoders import build_encoder
from act2sal.predict.export import export
from act2sal.runtime.hardware import hardware

WAYS = {
    "local, all cores": [],
    "ray, 2 cores": ["--engine", "ray", "--num-cpus", "2"],
    "ray, 1 core": ["--engine", "ray", "--num-cpus", "1"],
}
WATCHED = ("a process that does shards", "the command")
SMALL = 64
"""Side of the pictures over which memory is measured, in pixels."""


def main() -> None:
    """Time the ways and print the rates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--few", type=int, default=128, help="photos of the short run")
    parser.add_argument("--many", type=int, default=1152, help="photos of the long run")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="only these")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--memory", type=int, nargs=2, default=(2000, 20000), metavar="N", help="photos")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    rated = f"--few {options.few} --many {options.many}" if options.ways else "--ways"
    watched = "--no-memory" if options.no_memory else f"--memory {options.memory[0]} {options.memory[1]}"
    result: dict[str, object] = {"command": f"python benchmarks/cluster.py PHOTOS {rated} {watched}"}
    files = [photo.path for photo in find_photos(options.photos)]
    rates: dict[str, float] = {}
    for name in options.ways:
        few, many = (seconds_of(files, count, WAYS[name])[0] for count in (options.few, options.many))
        rates[name] = (options.many - options.few) / (many - few)
        start = few - options.few / rates[name]
        result[name] = {"photos a second": round(rates[name], 2), "seconds to start": round(start, 1)}
        print(name, result[name], flush=True)
    if set(rates) == set(WAYS):
        result["share of the local rate"] = round(rates["ray, 2 cores"] / rates["local, all cores"], 3)
        result["from one core to two"] = round(rates["ray, 2 cores"] / rates["ray, 1 core"], 3)
    if not options.no_memory:
        result["memory"] = memory_of(tuple(options.memory))
    print({key: value for key, value in result.items() if key not in WAYS}, flush=True)
    result["hardware"] = hardware()
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def memory_of(counts: tuple[int, int]) -> dict[str, object]:
    """Peak MiB of a process that does shards, and of the command, over few and over many small pictures."""
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photos").mkdir()
        write_photos(Path(folder) / "photos", LINKED, SMALL)
        files = sorted((Path(folder) / "photos").iterdir())
        words = [*WAYS["ray, 2 cores"], "--model", str(small_model(Path(folder)))]
        few, many = (seconds_of(files, count, words)[1] for count in counts)
    for who in WATCHED:
        growth = f"{100 * (many[who] / few[who] - 1):+.1f} %"
        result[who] = {f"MiB, {counts[0]} photos": few[who], f"MiB, {counts[1]} photos": many[who]}
        result[who] |= {"growth": growth}  # type: ignore[operator]
    return result


def small_model(folder: Path) -> Path:
    """A detector that takes next to no time, with random weights: what grows with the photos is not in it."""
    network = DetectorNetwork(build_encoder("test_efficientnet", "random"), channels=8, finest_stride=4)
    save_detector(folder / "small.safetensors", network.eval())
    export(folder / "small.safetensors", folder / "small.onnx", size=SMALL)
    return folder / "small.onnx"


def seconds_of(files: list[Path], count: int, words: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of a command over so many links to files, and the peak MiB of its processes."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number in range(count):
            file = files[number % len(files)]
            (photos / f"{number:06d}{file.suffix}").symlink_to(file.resolve())
        command = [sys.executable, "-m", "act2sal", "predict", str(photos), "--out", f"{folder}/out"]
        begun, ended, peaks = time.perf_counter(), threading.Event(), dict.fromkeys(WATCHED, 0.0)
        watcher = threading.Thread(target=watch, args=(ended, peaks, folder))
        watcher.start()
        try:
            subprocess.run([*command, *words, "--device", "cpu", "--quiet"], check=True, capture_output=True)
        finally:
            ended.set()
            watcher.join()
        return time.perf_counter() - begun, peaks


def watch(ended: threading.Event, peaks: dict[str, float], folder: str) -> None:
    """Note the peak MiB of the processes that do shards and of the command, until the work has ended."""
    marks = {"a process that does shards": b"MapWorker", "the command": f"{folder}/out".encode()}
    while not ended.wait(0.5):
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                told = (process / "cmdline").read_bytes()
                for who in (who for who, mark in marks.items() if mark in told):
                    status = dict(
                        line.split(":", 1)
                        for line in (process / "status").read_text().splitlines()
                        if ":" in line
                    )
                    peaks[who] = max(peaks[who], round(int(status["VmHWM"].split()[0]) / 2**10, 1))


if __name__ == "__main__":
    main()
