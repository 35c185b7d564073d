"""A step of the detector, and the gradients of two kinds of its layers, by PyTorch's own code and by ours.

    python benchmarks/gradients.py --out recipes/results/gradients_speed.json

Layers: the strided depthwise convolutions of MobileNetV2 and GroupNorms of the decoders, at the sizes that they have
in a batch of 8 photos of 320 x 320; milliseconds of a forward and a backward pass.

Steps: the default detector with random weights on random photos, its loss, its backward pass and its optimiser, in
the arithmetic that a run on this CPU takes by default; seconds a photo, and those of the first step, in which
`torch.compile` compiles. The median of many tries counts.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from floor import cpu_fabric, ours
from torch import Tensor, nn

from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.data.images import write_atomic
from act2sal.networks.encoders import build_encoder
from act2sal.presets import PRESETS
from act2sal.runtime.allocator import keep_freed_memory
from act2sal.runtime.cpu_gradients import with_fast_gradients
from act2sal.runtime.hardware import hardware
from act2sal.training.stage2.optimizer import make_optimizer

SIZE, BATCH = 320, 8
STRIDED = ((96, 160), (144, 80), (192, 40), (576, 20))
"""Channels and side of the map that each takes."""
NORMED = ((32, 80), (32, 40), (64, 20), (64, 160))
"""The last one is of the paper's decoder."""
TRIES = 12
DTYPES = (torch.bfloat16, torch.float32)
WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "PyTorch": lambda network: network,
    "ours": with_fast_gradients,
    "ours, torch.compile": lambda network: cast(nn.Module, torch.compile(with_fast_gradients(network))),
}
"""What is done to the network before its steps."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of the photos of a step")
    parser.add_argument("--batch", type=int, default=BATCH, help="photos")
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of computing a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(options.seed)
    result: dict[str, Any] = {
        "command": f"python benchmarks/gradients.py --seed {options.seed}",
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "milliseconds": {str(dtype).removeprefix("torch."): layers(dtype, options) for dtype in DTYPES},
        "numbers_of_a_step": str(ours()).removeprefix("torch."),
        "step": {way: step(WAYS[way], options) for way in options.ways},
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def layers(dtype: torch.dtype, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Of each layer, by its name."""
    kinds: dict[str, tuple[nn.Module, int, int]] = {}
    for channels, side in STRIDED:
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        kinds[f"depthwise 3x3 stride 2, {channels} x {side} x {side}"] = (conv, channels, side)
    for channels, side in NORMED:
        norm = nn.GroupNorm(channels // 2, channels)
        kinds[f"GroupNorm, {channels} x {side} x {side}"] = (norm, channels, side)
    return {name: layer(*kind, dtype, options) for name, kind in kinds.items()}


def layer(
    module: nn.Module, channels: int, side: int, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, float]:
    """Milliseconds of both ways, and their ratio."""
    maps = (
        torch.randn(options.batch, channels, side, side)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
    )
    maps.requires_grad_()

    def passes() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            answer = module(maps)
        torch.autograd.grad(answer, [maps, *module.parameters()], torch.ones_like(answer))

    before = 1e3 * seconds(passes, options.tries)
    with_fast_gradients(module)
    after = 1e3 * seconds(passes, options.tries)
    return {"PyTorch": round(before, 2), "ours": round(after, 2), "ratio": round(before / after, 1)}


def step(prepared: Callable[[nn.Module], nn.Module], options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step of the default detector."""
    config = PRESETS["default"].stage2
    detector = DetectorNetwork(
        build_encoder("mobilenetv2", "random"), channels=config.channels, finest_stride=config.finest_stride
    )
    network = prepared(detector.to(memory_format=torch.channels_last).train())
    optimizer = make_optimizer(detector, config)
    photos = torch.rand(options.batch, 3, options.size, options.size).contiguous(
        memory_format=torch.channels_last
    )
    labels = (torch.rand(options.batch, 1, options.size, options.size) > 0.5).float()
    fabric = cpu_fabric("auto")

    def once() -> None:
        with fabric.autocast():
            logits: Tensor = network(photos)
        loss = detector_loss(
            logits.float(), labels, bce=config.loss_bce, ssim=config.loss_ssim, iou=config.loss_iou
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    start = time.perf_counter()
    once()
    first = time.perf_counter() - start
    return {
        "seconds_a_photo": round(seconds(once, options.tries) / options.batch, 4),
        "seconds_of_the_first_step": round(first, 1),
    }


def seconds(work: Callable[[], object], tries: int) -> float:
    """The median of so many tries, after one that warms up."""
    work()
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    main()
