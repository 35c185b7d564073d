"""Peak resident memory of `act2sal label` (stage 1 alone) and of `act2sal train` on few and on many small photos.

    python benchmarks/memory.py --out recipes/results/memory.json

Each command runs in a process of its own on a tiny encoder with random weights; the peak is the kernel's count of
that process, pages of mapped files included.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from act2sal.hardware import hardware
from act2sal.images import write_atomic, write_gray_png

COMMANDS = ("label", "train")
STAGE1 = {
    "encoder": "test_efficientnet",
    "encoder-weights": "random",
    "device": "cpu",
    "workers": "1",
    "stage1.epochs": "1",
    "stage1.channels": "8",
    "stage1.rounds": "1",
    "stage1.round-epochs": "1",
}
STAGE2 = {
    "stage2.epochs": "1",
    "stage2.channels": "8",
}


def main() -> None:
    """Measure both commands on both numbers of photos and print the peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--few", type=int, default=300, help="photos")
    parser.add_argument("--many", type=int, default=3000, help="photos")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    result: dict[str, object] = {
        "command": f"python benchmarks/memory.py --few {options.few} --many {options.many} "
        f"--size {options.size}",
        "hardware": hardware(),
    }
    for command in COMMANDS:
        few, many = (peak(command, count=count, size=options.size) for count in (options.few, options.many))
        result[command] = {
            f"MiB, {options.few} photos": round(few, 1),
            f"MiB, {options.many} photos": round(many, 1),
            "growth": f"{100 * (many / few - 1):+.1f} %",
        }
        print(command, result[command], flush=True)
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def peak(command: str, *, count: int, size: int) -> float:
    """Peak resident MiB of a command on `count` squares of smooth noise."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        for number in range(count):
            coarse = generator.integers(0, 256, (size // 8, size // 8), dtype=np.uint8)
            write_gray_png(photos / f"{number:06d}.png", coarse.repeat(8, axis=0).repeat(8, axis=1))
        values = STAGE1 | (STAGE2 if command == "train" else {})
        options = [word for name, value in values.items() for word in (f"--{name}", value)]
        arguments = [str(photos), "--out", str(Path(folder) / "out"), "--size", str(size), "--quiet"]
        program = [sys.executable, "-m", "act2sal.cli", command, *arguments, *options]
        child = os.posix_spawn(sys.executable, program, os.environ)
        _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"act2sal {command} failed")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
