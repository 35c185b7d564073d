"""Where a training step of PiCANet spends its time on one core, and local attention beside `functional.unfold`.

    python benchmarks/picanet.py --out recipes/results/picanet_speed.json

A step is forward and backward of the published loss over random photos of 224 x 224. The parts are timed by
themselves, on inputs of the shapes that they have in the network; what is left over is the decoder's 1x1 convolutions
and the loss.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from act2sal.data.images import write_atomic
from act2sal.networks.contextual_attention import (
    WINDOW,
    WINDOW_DILATION,
    GlobalAttention,
    LocalAttention,
    weighted_neighbourhood,
)
from act2sal.networks.encoders import build_encoder
from act2sal.networks.picanet import SIDE, PiCANet
from act2sal.runtime.hardware import hardware


def main() -> None:
    """Time the step, its parts and the two forms of local attention."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="photos")
    parser.add_argument("--encoders", nargs="+", default=["resnet50", "mobilenetv2"])
    parser.add_argument("--repeats", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures = {
        "command": "python benchmarks/picanet.py --out recipes/results/picanet_speed.json",
        "hardware": hardware(),
        "threads": 1,
        "batch": options.batch,
        "steps": {name: step(name, options) for name in options.encoders},
        "weighted_sum": neighbourhoods(options),
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def step(encoder: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step and of its parts, forward and backward."""
    network = PiCANet(build_encoder(encoder, "random")).train()
    photos = torch.rand(options.batch, 3, SIDE, SIDE)
    target = (torch.rand(options.batch, 1, SIDE, SIDE) > 0.5).float()
    seconds = {
        "step": fastest(lambda: network.own_loss(network.outputs(photos), target).backward(), options),
        "encoder": fastest(lambda: added_up(network.encoder(photos)).backward(), options),
        "recurrent attention": 0.0,
        "local attention": 0.0,
        "of that, weighted sums": 0.0,
    }
    levels = [level.detach() for level in network.encoder(photos)]
    for attended, level in zip(network.levels, levels, strict=True):
        attention = attended.attention
        maps = level.requires_grad_()
        if isinstance(attention, GlobalAttention):
            seconds["recurrent attention"] += fastest(lambda: attention(maps).sum().backward(), options)  # noqa: B023
        elif isinstance(attention, LocalAttention):
            seconds["local attention"] += fastest(lambda: attention(maps).sum().backward(), options)  # noqa: B023
            seconds["of that, weighted sums"] += sum_seconds(weighted_neighbourhood, maps, options)
    return {part: round(time, 4) for part, time in seconds.items()}


def neighbourhoods(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the weighted sum at the finest level of the ResNet, our way and with all windows side by side."""
    maps = torch.rand(options.batch, 64, SIDE // 2, SIDE // 2, requires_grad=True)
    ours, theirs = (sum_seconds(way, maps, options) for way in (weighted_neighbourhood, unfolded))
    return {"ours": round(ours, 4), "unfold": round(theirs, 4), "ratio": round(theirs / ours, 2)}


def unfolded(maps: Tensor, weights: Tensor) -> Tensor:
    """As `weighted_neighbourhood`, from all windows side by side."""
    margin = WINDOW // 2 * WINDOW_DILATION
    windows = functional.unfold(maps, WINDOW, dilation=WINDOW_DILATION, padding=margin)
    windows = windows.view(*maps.shape[:2], WINDOW**2, *maps.shape[2:])
    return (windows * weights[:, None]).sum(dim=2)


def sum_seconds(way: Callable[[Tensor, Tensor], Tensor], maps: Tensor, options: argparse.Namespace) -> float:
    """Seconds of one way to sum up, forward and backward, with random weights."""
    weights = torch.rand(len(maps), WINDOW**2, *maps.shape[2:], requires_grad=True)
    return fastest(lambda: way(maps, weights).sum().backward(), options)


def added_up(levels: list[Tensor]) -> Tensor:
    """One number that depends on all levels."""
    return torch.stack([level.sum() for level in levels]).sum()


def fastest(work: Callable[[], None], options: argparse.Namespace) -> float:
    """Seconds of the fastest of some repeats, after one that does not count."""
    work()
    seconds = []
    for _ in range(options.repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    main()
