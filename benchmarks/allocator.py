"""Seconds a photo of a training step of the detector, with glibc's malloc as it comes and as the package sets it.

    python benchmarks/allocator.py --out recipes/results/allocator_speed.json

Each setting runs in a process of its own, in turns; the median over the turns counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.data.images import write_atomic
from act2sal.networks.encoders import build_encoder
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.hardware import hardware

SIZE, BATCH, STEPS, TURNS = 256, 8, 12, 3
SETTINGS = ("as it comes", "freed memory kept")


def main() -> None:
    """Measure both settings in turns and print, or measure the one that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    parser.add_argument("--batch", type=int, default=BATCH, help="photos a step")
    parser.add_argument("--steps", type=int, default=STEPS, help="measured steps; two more warm up")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        print(json.dumps(measured(options)))
        return
    turns = {setting: [child(setting) for _ in range(options.turns)] for setting in SETTINGS}
    result: dict[str, Any] = {
        "command": "python benchmarks/allocator.py --out recipes/results/allocator_speed.json",
        "hardware": hardware(),
        "size": options.size,
        "batch": options.batch,
    }
    for setting, figures in turns.items():
        medians = {name: round(statistics.median(f[name] for f in figures), 4) for name in figures[0]}
        result[setting] = medians
    result["ratio"] = round(result[SETTINGS[0]]["seconds"] / result[SETTINGS[1]]["seconds"], 2)
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def child(setting: str) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--setting", setting]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Wall and kernel seconds a photo, after two steps to warm up."""
    if options.setting == SETTINGS[1] and not keep_freed_memory():
        raise SystemExit("this needs glibc")
    detector = DetectorNetwork(build_encoder("mobilenetv2", "random"), channels=32, finest_stride=4)
    detector = detector.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
    photos = torch.rand(options.batch, 3, options.size, options.size).contiguous(
        memory_format=torch.channels_last
    )
    labels = (torch.rand(options.batch, 1, options.size, options.size) > 0.5).float()
    for step in range(options.steps + 2):
        if step == 2:
            wall, kernel = time.perf_counter(), os.times().system
        detector_loss(detector(photos), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    count = options.steps * options.batch
    return {"seconds": (time.perf_counter() - wall) / count, "kernel": (os.times().system - kernel) / count}


if __name__ == "__main__":
    main()
