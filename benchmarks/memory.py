"""Peak resident memory of `act2sal label` (stage 1 alone), `train` and `predict` on few and on many small photos.

    python benchmarks/memory.py --out recipes/results/memory.json
    python benchmarks/memory.py --commands predict --few 500 --many 5000 --out recipes/results/predict_memory.json

Each command runs in a process of its own; the peak is the kernel's count of that process, pages of mapped files
included. Training is that of a tiny encoder with random weights; `predict` is the shipped detector on the CPU, whose
photos are links to a few files.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from act2sal.data.images import write_atomic, write_gray_png

COMMANDS = ("label", "train", "predict")
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
LINKED = 8
"""Files that the photos of `predict` are links to."""


def main() -> None:
    """Measure the commands on both numbers of photos and print the peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=["label", "train"])
    parser.add_argument("--few", type=int, default=300, help="photos")
    parser.add_argument("--many", type=int, default=3000, help="photos")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    result: dict[str, object] = {
        "command": f"python benchmarks/memory.py --commands {' '.join(options.commands)} --few {options.few} "
        f"--many {options.many} --size {options.size}",
    }
    for command in options.commands:
        few, many = (peak(command, count=count, size=options.size) for count in (options.few, options.many))
        result[command] = {
            f"MiB, {options.few} photos": round(few, 1),
            f"MiB, {options.many} photos": round(many, 1),
            "growth": f"{100 * (many / few - 1):+.1f} %",
        }
        print(command, result[command], flush=True)
    # A child's peak starts from the memory of the process that started it, and this import loads PyTorch.
    from act2sal.runtime.hardware import hardware

    result["hardware"] = hardware()
    if options.out:
        write_atomic(options.out, (json.dumps(result, indent=1) + "\n").encode())


def peak(command: str, *, count: int, size: int) -> float:
    """Peak resident MiB of a command on `count` squares of smooth noise."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        write_photos(photos, LINKED if command == "predict" else count, size)
        for number in range(LINKED, count if command == "predict" else 0):
            (photos / f"{number:06d}.png").symlink_to(f"{number % LINKED:06d}.png")
        values = values_of(command, size)
        options = [word for name, value in values.items() for word in (f"--{name}", value)]
        arguments = [str(photos), "--out", str(Path(folder) / "out"), "--quiet"]
        program = [sys.executable, "-m", "act2sal.cli", command, *arguments, *options]
        child = os.posix_spawn(sys.executable, program, os.environ)
        _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"act2sal {command} failed")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def write_photos(folder: Path, count: int, size: int) -> None:
    """Squares of smooth noise."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (size // 8, size // 8), dtype=np.uint8)
        write_gray_png(folder / f"{number:06d}.png", coarse.repeat(8, axis=0).repeat(8, axis=1))


def values_of(command: str, size: int) -> dict[str, str]:
    """The options of a command."""
    if command == "predict":
        return {"device": "cpu"}
    return {"size": str(size)} | STAGE1 | (STAGE2 if command == "train" else {})


if __name__ == "__main__":
    main()
